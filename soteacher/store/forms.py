"""The entries that readers need of a run's records and of a job's manifest, with their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, model_validator

from soteacher.core.sealed import Form, read_sealed


class OfRun(Form):
    """The identity of a run, which every record in its folder has."""

    fingerprint: str


class _Spec(Form):
    role: Literal["teacher", "student", "preparation"]


class _Taught(Form):
    id: str
    fingerprint: str


class Description(OfRun):
    """`spec.json`."""

    id: str
    spec: _Spec
    data_sha256: str
    teacher: _Taught | None = None
    preparation: OfRun | None = None


class _Attempt(Form):
    host: str | None
    pid: int | None
    slurm_job: str | int | None
    started: str


class _Versions(Form):
    torch: str


class _TrainedOn(Form):
    device: str
    device_type: str
    threads: int
    precision: str
    versions: _Versions


class _Divergence(Form):
    epoch: int
    step: int
    terms: dict[str, str | float]


class _Ended(Form):
    """What a record and an entry of a manifest say about the end of a run."""

    artifacts: dict[str, str]
    diverged: _Divergence | None = None
    status: Literal["done", "diverged", "blocked"]
    blocked_by: str | None = None

    @model_validator(mode="after")
    def _has_reason(self) -> _Ended:
        reasons = {"done": "", "diverged": self.diverged, "blocked": self.blocked_by}
        if reasons[self.status] is None:
            raise ValueError(f"no reason for {self.status}")
        return self


class Record(Description, _Ended):
    """`run.json`."""

    status: Literal["done", "diverged"]
    attempts: list[_Attempt]
    trained_on: _TrainedOn
    seconds: float
    soteacher: str


class SavedState(OfRun):
    """`state-N.json`."""

    serial: int
    tensors_sha256: str
    saved: float
    cursor: tuple[Literal["PREPARE", "MAIN", "END"], NonNegativeInt, NonNegativeInt]
    history: list[dict[str, Any]]
    seconds: float
    images_per_second: float | None
    epochs: int
    images_left: int
    checkpoints: dict[str, str]


class Failure(OfRun):
    """`failed.json`."""

    why: str
    by: str
    when: str
    attempt: int


class _Entry(_Ended):
    spec: _Spec
    spec_sha256: str
    fingerprint: str
    teacher: _Taught | None = None

    @model_validator(mode="after")
    def _has_teacher(self) -> _Entry:
        if self.spec.role == "student" and self.teacher is None:
            raise ValueError("a student without a teacher")
        return self


class _Manifest(Form):
    runs: dict[str, _Entry]


def read_manifest(path: Path, what: str) -> dict[str, Any]:
    """Return the manifest of a job's runs; see `core.sealed.read_sealed` for errors."""
    manifest: dict[str, Any] = read_sealed(path, what, _Manifest)
    return manifest
