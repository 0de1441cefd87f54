"""The runs that are timed: the paper's, on generated images, set up as every job sets them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.random import key, seeded
from soteacher.data.prepared import Prepared, prepare
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.store.run_folder import RunFolder
from soteacher.study.expand import expand_possible
from soteacher.study.load import merged, overridden, read
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.specs import fingerprint
from soteacher.training.members import Member

HERE = Path(__file__).parent
DATA = "cifar100"
"""Name of the timed data set in the study."""


class UntrainedTeacher(RunFolder):
    """A teacher in the store that was not trained: its weights are in a file of this bench."""

    weights: Path

    def artifact(self, name: str) -> Path:
        """Return the file of the weights, whichever artifact is asked for."""
        return self.weights


@dataclass(frozen=True)
class BenchStudy:
    """The paper's study on generated images, and a folder for their arrays.

    over : values that replace those of the study, for a smaller bench.
    """

    store: Path
    over: Mapping[str, Any]

    @cached_property
    def plan(self) -> Plan:
        """The plan of the study. Raises `UserError` if this version does not know a setting."""
        paper = merged(HERE.parent / "config/paper.yaml", HERE / "study.yaml")
        return expand_possible(read(overridden(paper, self.over)))

    @cached_property
    def data(self) -> Prepared:
        """The prepared images."""
        spec = self.plan.data_spec(DATA)
        manifest = prepare(spec, self.store)
        [folder] = (self.store / "data").glob(f"{spec.source}-{spec.sha256[:16]}*")
        return Prepared(folder, manifest)

    def teachers(self, network: str, *methods: str) -> list[Member]:
        """Return the runs of a teacher, one for each method, with the first seed."""
        return [self._member(self._run(f"{DATA}/{network}/{method}/seed0")) for method in methods]

    def students(self, teacher: str, student: str) -> list[Member]:
        """Return all students of one Standard teacher that share a pass: the 12 of Table 6.

        They are `kd` and the methods of Table 6 without `sskd`, which needs turned images, and
        without `rco`, which needs earlier checkpoints of the teacher.
        """
        kd = self._run(f"{DATA}/{teacher}/standard/seed0/{student}/kd")
        runs = (run for run in self.plan.runs.values() if run.role == "student")
        same = [
            run
            for run in runs
            if run.spec.network == kd.spec.network and run.spec.pass_key == kd.spec.pass_key
        ]
        return [self._member(run) for run in same if run.spec.teacher_epoch is None]

    def student(self, teacher: str, student: str) -> Member:
        """Return the student of a Standard teacher that learns by knowledge distillation alone."""
        return self._member(self._run(f"{DATA}/{teacher}/standard/seed0/{student}/kd"))

    def _run(self, run_id: str) -> Run:
        return self.plan.runs[run_id]

    def _member(self, run: Run) -> Member:
        folder = RunFolder(self.store, fingerprint(run.spec, self.data.sha256), run.id)
        if run.teacher is None:
            return Member(run.id, run.spec, folder)
        sha256 = fingerprint(run.teacher.spec, self.data.sha256)
        teacher = UntrainedTeacher(self.store, sha256, run.teacher.id)
        teacher.weights = self._weights(run.teacher)
        return Member(run.id, run.spec, folder, teacher=teacher)

    def _weights(self, run: Run) -> Path:
        """Write the initial weights of a teacher whose batch norms have seen one batch.

        Without that, the maps of a network in eval mode grow from block to block.
        """
        path = self.store / f"{run.spec.network.name}.safetensors"
        if not path.exists():
            with seeded(key(0, "bench", "teacher")), torch.no_grad():
                network = catalogue.build(run.spec.network.name, self.data.n_classes)
                for layer in network.modules():
                    if isinstance(layer, nn.BatchNorm2d):
                        layer.momentum = 1.0
                spec = run.spec
                stream = Stream(
                    self.data, spec.stream.augment, spec.recipe.batch, 0, "teacher", "cpu"
                )
                network.train()(stream.batch(Cursor(Stage.MAIN, 0, 0)).images)
            save_file(network.state_dict(), path)
        return path
