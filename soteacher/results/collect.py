"""All measures of runs with the same data, one row per run."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.core.hashing import json_sha256
from soteacher.data.prepared import Prepared
from soteacher.measures import calibration, fidelity
from soteacher.measures.accuracy import bootstrap_interval, top_k
from soteacher.measures.calibrated_null import ece_null
from soteacher.measures.softmax import probabilities
from soteacher.results.columns import COLUMNS, RELIABILITY
from soteacher.results.teachers import Teachers
from soteacher.results.truth import Truth
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import fingerprint_of


@dataclass(frozen=True)
class Measured:
    """Rows of the four tidy tables that all reports use."""

    runs: list[dict[str, Any]]
    """`COLUMNS`: one row per run."""
    epochs: list[dict[str, Any]]
    """`EPOCHS`: one row per finished run and epoch; accuracies are shares, `loss` is the sum of all
    losses."""
    reliability: list[dict[str, Any]]
    """`RELIABILITY`: one row per finished run and bin of confidence, before (0) and after (1)
    temperature scaling."""
    disagreement: list[dict[str, Any]]
    """`DISAGREEMENT`: one row per finished run and tenth of the training images."""


def check_planned(path: Path, manifest: dict[str, Any], planned: dict[str, str]) -> None:
    """Refuse a manifest without the planned runs; `planned` is run id to (short) spec hash.

    path : the manifest's file, for the message.
    """
    for run_id, spec_sha256 in planned.items():
        entry = manifest["runs"].get(run_id)
        if entry is None:
            raise UserError(
                f"{path} lacks '{run_id}', which the study needs; rerun the same snakemake command "
                "to train it, with `--forcerun teach distill` if that changes nothing"
            )
        if not entry["spec_sha256"].startswith(spec_sha256):
            raise UserError(
                f"{path} has '{run_id}' with other settings than the study needs; rerun the same "
                "snakemake command to train it"
            )


def measure(entries: dict[str, dict[str, Any]], data: Prepared, store: Path) -> Measured:
    """Measure runs with the same data; their files must have the hashes in their entries.

    Raises `Damaged` if an entry does not agree with its spec, the data and the store's record.

    entries : run id to the run's entry in a manifest.
    """
    measured = Measured([], [], [], [])
    teachers, truth = Teachers(store), Truth(data)
    for run_id, entry in sorted(entries.items()):
        record = _check(run_id, entry, data, store)
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
            run = _Artifacts(run_id, entry, record, data, teachers, truth)
            epochs = run.epochs()
            row |= {"classes": data.n_classes}
            # an oracle and an imported teacher have no epochs
            tested = [epoch["test_top1"] for epoch in epochs if epoch["test_top1"] != ""]
            row |= {"best_top1": max(tested, default="")}
            row |= run.measures()
            row |= run.trained_on()
            measured.epochs.extend(epochs)
            measured.reliability.extend(run.reliability())
            measured.disagreement.extend({"run": run_id} | tenth for tenth in run.tenths)
        measured.runs.append(row)
    return measured


def _check(run_id: str, entry: dict[str, Any], data: Prepared, store: Path) -> dict[str, Any]:
    """Return a run's record in the store, which its entry in the manifest must agree with.

    The entry must also agree with its spec and the data. The record of a blocked run is empty.
    """
    own = (json_sha256(entry["spec"]), fingerprint_of(entry["spec"], data.sha256))
    if own != (entry["spec_sha256"], entry["fingerprint"]):
        raise Damaged(
            f"the manifest's entry of {run_id} is of another run or other data than its spec says; "
            f"{files.AGAIN}"
        )
    if entry["status"] == "blocked":
        return {}
    folder = RunFolder(store, entry["fingerprint"], run_id)
    record = folder.record()
    if record is None:
        raise Damaged(f"{run_id} is not finished in the store: {folder.path}; {files.AGAIN}")
    for key in ("status", "artifacts", "diverged"):
        if entry.get(key) != record.get(key):
            raise Damaged(
                f"the manifest and the store have different runs '{run_id}', with "
                f"{entry.get(key)!r} and {record.get(key)!r} as {key}; {files.AGAIN}"
            )
    return record


class _Artifacts:
    """The files of a finished run in the store, each checked with its hash in the manifest."""

    def __init__(
        self,
        run_id: str,
        entry: dict[str, Any],
        record: dict[str, Any],
        data: Prepared,
        teachers: Teachers,
        truth: Truth,
    ) -> None:
        self.id, self.entry, self.record, self.data = run_id, entry, record, data
        self.teachers, self.truth = teachers, truth
        self.folder = RunFolder(teachers.store, entry["fingerprint"], run_id)
        self.logits = np.load(self._file("test_logits.npy"))
        self.labels = np.asarray(data.array("test_labels"))
        scaled, self.temperatures = calibration.scale(self.logits, self.labels)
        self.predicted, self.logs = probabilities(self.logits)
        self.scaled_predicted, self.scaled_logs = probabilities(scaled)
        self.bins = [
            calibration.reliability(predicted, self.labels)
            for predicted in (self.predicted, self.scaled_predicted)
        ]
        """Reliability before and after temperature scaling."""
        if truth.known:
            self.train_logits = np.load(self._file("train_logits.npy"))
        self.tenths = truth.of("train").by_tenth(self.train_logits) if truth.known else []
        """Measures of each tenth of the training images, without the run's id."""

    def _file(self, name: str) -> Path:
        known = self.entry["artifacts"][name]
        return files.checked(self.folder.path / name, known, f"{name} of {self.id}")

    def measures(self) -> dict[str, float]:
        top1 = top_k(self.logits, self.data.test_classes, 1)
        low, high = bootstrap_interval(top1, len(self.labels))
        row = {
            "top1": top1,
            "top1_low": low,
            "top1_high": high,
            "top5": top_k(self.logits, self.data.test_classes, 5),
            "nll": calibration.nll(self.logs, self.labels),
            "ece": calibration.ece(self.bins[0]),
            "ece_null": ece_null(self.predicted),
            "nll_scaled": calibration.nll(self.scaled_logs, self.labels),
            "ece_scaled": calibration.ece(self.bins[1]),
            "ece_scaled_null": ece_null(self.scaled_predicted),
            "temperature_first": self.temperatures[0],
            "temperature_second": self.temperatures[1],
        }
        if "teacher" in self.entry:
            teacher = self.teachers.of(self.id, self.entry)
            row["agreement"] = fidelity.agreement(teacher.logits, self.logits)
            row["predictive_kl"] = fidelity.predictive_kl(teacher.logs, self.logs)
        if self.truth.known:
            of_train = self.truth.of("train")
            if self.truth.known_of_test:
                of_test = self.truth.of("test")
                row |= of_test.measured(self.predicted, self.logs, self.scaled_predicted)
            temperature = math.sqrt(math.prod(self.temperatures))
            row |= of_train.measured_from(self.train_logits, temperature)
        if self.tenths:
            for name in ("distance", "excess_nll"):
                row[f"train_{name}_hardest"] = self.tenths[-1][name]
        return row

    def epochs(self) -> list[dict[str, Any]]:
        with open(self._file("history.csv"), newline="", encoding="utf-8") as file:
            history = [row for row in csv.DictReader(file) if row["stage"] == "main"]
        return [
            {
                "run": self.id,
                "epoch": int(row["epoch"]),
                **{name: float(row[name]) for name in ("lr", "train_top1")},
                "test_top1": float(row["test_top1"]) if row["test_top1"] else "",
                "loss": sum(float(v) for k, v in row.items() if k.startswith("loss_") and v),
            }
            for row in history
        ]

    def reliability(self) -> list[dict[str, Any]]:
        rows = []
        for scaled, bins in enumerate(self.bins):
            for index, (images, confidence, accuracy) in enumerate(bins):
                edges = (index / len(bins), (index + 1) / len(bins))
                values = (scaled, index + 1, *edges, int(images), confidence, accuracy)
                rows.append(dict(zip(RELIABILITY, (self.id, *values), strict=True)))
        return rows

    def trained_on(self) -> dict[str, Any]:
        facts = self.record["trained_on"]
        return {
            "device": facts["device"],
            "capability": facts.get("cpu_capability", "") if facts["device_type"] == "cpu" else "",
            "threads": facts["threads"],
            "precision": facts["precision"],
            "torch": facts["versions"]["torch"],
            "soteacher": self.record["soteacher"],
        }
