"""All measures of the runs of one job, a row a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from soteacher.data.prepared import Prepared
from soteacher.errors import UserError
from soteacher.measures.accuracy import top_k
from soteacher.training.store import RunFolder

COLUMNS = ("run", "spec_sha256", "status", "note", "top1", "top5", "best_top1")
"""`top1`, `top5`: of the last epoch, shares in [0, 1]; `best_top1`: of the best epoch, for
information, since the test set chose it."""


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
            row["note"] = f"blocked by {entry['blocked_by']}"
        elif entry["status"] == "diverged":
            where = entry["diverged"]
            terms = ", ".join(f"{name}={value}" for name, value in where["terms"].items())
            row["note"] = f"diverged in epoch {where['epoch']}, step {where['step']} ({terms})"
        else:
            folder = RunFolder(store, entry["fingerprint"], run_id)
            logits = np.load(folder.artifact("test_logits.npy"))
            row |= {
                "top1": top_k(logits, data.test_classes, 1),
                "top5": top_k(logits, data.test_classes, 5),
                "best_top1": folder.record()["best_test_top1"],
            }
        rows.append(row)
    return rows
