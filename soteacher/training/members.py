"""The runs of a job: their specs, their folders in the store, and the options of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soteacher.core.errors import Damaged, UserError
from soteacher.core.files import AGAIN
from soteacher.core.hashing import canonical_json
from soteacher.data.prepared import Prepared
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import RunSpec, fingerprint, fingerprint_of
from soteacher.training import gpu_slots


@dataclass(frozen=True)
class JobOptions:
    """Settings of a job that are not part of its runs' specs."""

    store: Path
    device: str
    threads: int
    deterministic: bool
    save_every: float
    """Seconds between saved states."""
    allow_cpu: bool = False
    """Whether to start long runs on a CPU."""
    one_by_one: bool = False
    """Whether runs that could share a pass are trained one after the other, with less memory."""
    jobs_per_gpu: int = 1
    """Number of training processes that may share a GPU, unless a scheduler gave this job one."""
    loggers: tuple[str, ...] = ()
    """Names of the loggers that the runs are logged with while they train."""
    results: Path = Path("results")
    """The folder of the study's results; loggers write into it."""

    def choose_gpu(self) -> None:
        """Take a GPU slot if the machine has GPUs; call it before torch is imported."""
        if self.device != "cpu":
            gpu_slots.take(self.jobs_per_gpu)


@dataclass(frozen=True)
class Member:
    """One run of a job, its folder in the store, and its teacher's folder."""

    id: str
    spec: RunSpec
    folder: RunFolder
    teacher: RunFolder | None = None
    blocked_by: str | None = None
    """The id of the diverged run that prevents this run, or None."""
    weights: str | None = None
    """Path of the file of an imported teacher's weights; None for every other run."""

    @property
    def taught_by(self) -> dict[str, Any]:
        """The entry about the run's teacher, for manifests and the store; empty for teachers."""
        if self.teacher is None:
            return {}
        return {"teacher": {"id": self.teacher.id, "fingerprint": self.teacher.fingerprint}}


def member_of(
    run_id: str, run: dict[str, Any], data: Prepared, teachers: dict[str, Any], options: JobOptions
) -> Member:
    """Return a run with its folder; raise `UserError` if data or teachers differ from its spec."""
    spec = RunSpec.from_json(run["spec"])
    if canonical_json(data.manifest["spec"]) != spec.data.canonical:
        raise UserError(
            f"{run_id} needs the data {spec.data.canonical}, but the data manifest describes "
            f"{canonical_json(data.manifest['spec'])}: prepare the data again"
        )
    if "teacher" not in run:
        folder = RunFolder(options.store, fingerprint(spec, data.sha256), run_id)
        return Member(run_id, spec, folder, weights=run.get("weights"))
    entry = teachers.get(run["teacher"])
    if entry is None or RunSpec.from_json(entry["spec"]).as_teacher() != spec.teacher:
        raise UserError(
            f"{run_id} learns from {run['teacher']}, which the teachers' manifests "
            f"{'do not contain' if entry is None else 'contain with other settings'}: "
            "train the teachers of this study first"
        )
    if fingerprint_of(entry["spec"], data.sha256) != entry["fingerprint"]:
        raise Damaged(
            f"the teachers' manifest has another fingerprint for {run['teacher']} than its spec "
            f"and the data have; {AGAIN}"
        )
    return Member(
        run_id,
        spec,
        RunFolder(options.store, fingerprint(spec, data.sha256), run_id),
        teacher=RunFolder(options.store, entry["fingerprint"], run["teacher"]),
        blocked_by=None if entry["status"] == "done" else run["teacher"],
    )
