"""All measures of the runs of one job, a row a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from soteacher.data.prepared import Prepared
from soteacher.errors import UserError
from soteacher.measures import calibration, fidelity, truth
from soteacher.measures.accuracy import top_k
from soteacher.training.store import RunFolder

MEASURES = (
    "top1",
    "top5",
    "best_top1",
    "nll",
    "ece",
    "nll_scaled",
    "ece_scaled",
    "temperature_first",
    "temperature_second",
    "agreement",
    "predictive_kl",
    "test_distance",
    "test_distance_l1",
    "train_distance",
    "train_distance_l1",
)
"""Of the last epoch, on test images: shares in [0, 1] (`top1`, `top5`, `agreement`, `ece`), nats
(`nll`, `predictive_kl`). `best_top1` is the best epoch's, for information: the test set chose it.
`_scaled`: after temperature scaling, with the temperatures fitted on either half. `agreement` and
`predictive_kl` are a student's with its teacher. Distances are to the true label distributions,
l2 unless `_l1`, where those are known."""
COLUMNS = ("run", "spec_sha256", "status", "note", *MEASURES)


def check_planned(manifest: dict[str, Any], planned: dict[str, str]) -> None:
    """Refuse a manifest that is not of the planned runs; `planned` is id to (short) spec hash."""
    for run_id, spec_sha256 in planned.items():
        entry = manifest["runs"].get(run_id)
        if entry is None:
            raise UserError(f"the manifest does not hold '{run_id}', which the study asks for")
        if not entry["spec_sha256"].startswith(spec_sha256):
            raise UserError(
                f"the manifest holds '{run_id}' with other settings than the study asks for; "
                "its training has to run first (the same snakemake command does that)"
            )


def measure(manifest: dict[str, Any], data: Prepared, store: Path) -> list[dict[str, Any]]:
    """Measure every run of a job's manifest, from artifacts whose hashes are checked."""
    rows = []
    for run_id, entry in sorted(manifest["runs"].items()):
        row = dict.fromkeys(COLUMNS, "") | {
            "run": run_id,
            "spec_sha256": entry["spec_sha256"],
            "status": entry["status"],
        }
        if entry["status"] == "blocked":
            row["note"] = f"{run_id}: blocked by {entry['blocked_by']}"
        elif entry["status"] == "diverged":
            where = entry["diverged"]
            terms = ", ".join(f"{k}={float(v):.3g}" for k, v in where["terms"].items())
            row["note"] = (
                f"{run_id}: diverged in epoch {where['epoch']}, step {where['step']} ({terms})"
            )
        else:
            row |= _measured(run_id, entry, data, store)
        rows.append(row)
    return rows


def _measured(run_id: str, entry: dict[str, Any], data: Prepared, store: Path) -> dict[str, float]:
    folder = RunFolder(store, entry["fingerprint"], run_id)
    logits = np.load(folder.artifact("test_logits.npy"))
    labels = np.asarray(data.array("test_labels"))
    scaled, temperatures = calibration.scale(logits, labels)
    row = {
        "top1": top_k(logits, data.test_classes, 1),
        "top5": top_k(logits, data.test_classes, 5),
        "best_top1": folder.record()["best_test_top1"],
        "nll": calibration.nll(logits, labels),
        "ece": calibration.ece(logits, labels),
        "nll_scaled": calibration.nll(scaled, labels),
        "ece_scaled": calibration.ece(scaled, labels),
        "temperature_first": temperatures[0],
        "temperature_second": temperatures[1],
    }
    if "teacher" in entry:
        taught_by = RunFolder(store, entry["teacher"]["fingerprint"], entry["teacher"]["id"])
        teacher = np.load(taught_by.artifact("test_logits.npy"))
        row["agreement"] = fidelity.agreement(teacher, logits)
        row["predictive_kl"] = fidelity.predictive_kl(teacher, logits)
    for split in ("test", "train") if data.has_truth else ():
        known = np.asarray(data.array(f"{split}_truth"))
        predicted = np.load(folder.artifact(f"{split}_logits.npy"))
        row[f"{split}_distance"] = truth.distance(predicted, known)
        row[f"{split}_distance_l1"] = truth.distance(predicted, known, order=1)
    return row
