"""The paper's study with made-up records of all its runs, and the command that measures them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.processes import CORES, snakemake
from bench.study import HERE
from soteacher.core import files
from soteacher.core.hash_list import write_hash_list
from soteacher.core.hashing import json_sha256
from soteacher.core.random import key
from soteacher.core.sealed import write_sealed
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared, folder_of, prepare
from soteacher.study.expand import expand
from soteacher.study.load import merged, read
from soteacher.study.plan import Plan
from soteacher.training import device as devices
from soteacher.training.job import publish, run_job
from soteacher.training.members import JobOptions, Member, member_of
from soteacher.training.writers import array_writer, history_writer

STUDY = (HERE.parent / "config/paper.yaml", HERE / "finished.yaml")


def tables(folder: Path) -> list[str]:
    """Make up the runs in `folder`; return the command that measures them and makes all outputs.

    The command does this again in every call. What Snakemake does not make in it are manifests, and
    the times of steps of a table, which would be measured by training.
    """
    place = folder / "finished"
    if not place.exists():
        make_up(expand(read(merged(*STUDY))), place)
    return snakemake(place, CORES, STUDY, "--forcerun", "measure")


def make_up(plan: Plan, place: Path) -> None:
    """Write what the finished runs of a study leave in the folder that Snakemake works in.

    These are the prepared data, and each run's description, history, logits of test images and
    record, by the functions that jobs call. There are no weights, which no measure needs.
    """
    store, results = place / plan.study.store, place / "results" / plan.study.study
    data, random = {}, {}
    for name in plan.study.data:
        spec = plan.data_spec(name)
        manifest = prepare(spec, store)
        write_sealed(results / f"data/{name}.json", manifest)
        data[name] = Prepared(folder_of(spec, store), manifest)
        random[name] = _RandomLogits(data[name])
    options = JobOptions(store, "cpu", 1, True, math.inf)
    teachers: dict[str, Any] = {}
    for role, jobs in plan.jobs.items():  # teachers come first
        for job in jobs.values():
            of_job = data[job.data]
            for run_id, run in job.request.items():
                member = member_of(run_id, run, of_job, teachers, options)
                if not member.folder.finished():  # equal runs share a folder
                    _finish(member, of_job, random[job.data].next())
            manifest = run_job(job.request, of_job, teachers, options)
            publish(manifest, results / f"runs/{role}s/{job.name}.json", results / role, store)
            teachers |= manifest["runs"] if role == "teacher" else {}
    for name, request in plan.timed.items():
        _make_up_times(request, results / f"overhead/{name}.csv")


class _RandomLogits:
    """Logits that are higher for the right class, so that a network's accuracy is about half."""

    def __init__(self, data: Prepared) -> None:
        random = np.random.Generator(np.random.PCG64(key(0, "bench", "logits")))
        labels = np.asarray(data.array("test_labels"))
        self._right = 3 * np.eye(data.n_classes, dtype=np.float32)[labels]
        self._noise = random.standard_normal(self._right.shape, dtype=np.float32)

    def next(self) -> np.ndarray:
        """Return the logits of another network, (N, K) float32."""
        self._noise = np.roll(self._noise, 1, axis=0)
        return self._noise + self._right


def _finish(member: Member, data: Prepared, logits: np.ndarray) -> None:
    """Write the files of a run in the form of `training.records.finish`."""
    folder, spec = member.folder, member.spec
    facts = {"id": folder.id, "spec": spec.to_json(), "data_sha256": data.sha256}
    folder.describe(facts | member.taught_by)
    folder.begin_attempt({})
    epochs = [
        {"stage": "main", "epoch": epoch + 1, "lr": spec.recipe.lr_at(epoch)}
        | {"train_top1": 0.5, "test_top1": 0.5, "loss_cross_entropy": 1.0}
        for epoch in range(spec.recipe.epochs)
    ]
    record = {
        **folder.description(),
        "seconds": 1.0,
        "images_per_second": 1.0,
        "trained_on": devices.facts("cpu", spec.precision),
        "soteacher": VERSION,
    }
    artifacts = {
        "history.csv": history_writer(epochs),
        "test_logits.npy": array_writer(logits),
    }
    folder.finish("done", artifacts, record, {})


def _make_up_times(request: dict[str, Any], out: Path) -> None:
    """Write the times of steps in the form of `soteacher time-steps`."""
    random = np.random.Generator(np.random.PCG64(key(0, "bench", "times")))
    facts = devices.facts("cpu", "float32")
    where = {name: facts[name] for name in ("device", "threads", "precision")}
    where |= {"capability": facts["cpu_capability"], "torch": facts["versions"]["torch"]}
    steps, methods = [], []
    for network in request["networks"]:
        for run in network["runs"]:
            head = {"network": network["network"], "method": run["method"]}
            for number in range(request["steps"]):
                seconds = random.uniform(1.0, 1.1)
                times = {"step": number + 1, "seconds": seconds, "cpu_seconds": seconds}
                steps.append(head | times)
            of_method = {"spec_sha256": json_sha256(run["spec"]), "kept_mb": 1.0, "peak_mb": None}
            methods.append(head | of_method | where | {"soteacher": VERSION})
    methods_file = out.with_suffix(".methods.csv")
    files.write(methods_file, pd.DataFrame(methods).to_csv(index=False))
    files.write(out, pd.DataFrame(steps).to_csv(index=False))
    write_hash_list(out, (methods_file,))
