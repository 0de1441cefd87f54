"""The teachers that students are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soteacher.core import files
from soteacher.core.errors import Damaged
from soteacher.core.hashing import canonical_json
from soteacher.measures.softmax import probabilities
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import RunSpec


@dataclass(frozen=True)
class Teacher:
    """The predictions of a teacher for the test images."""

    folder: RunFolder
    spec: str
    """The canonical JSON of the teacher's spec, as its students' specs contain it."""
    logits: np.ndarray
    logs: np.ndarray
    """Logarithms of the probabilities."""


class Teachers:
    """Reads teachers from the store. It keeps the last one: its students follow each other."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._last: Teacher | None = None

    def of(self, student: str, entry: dict[str, Any]) -> Teacher:
        """Return the teacher that the manifest's entry of a student names.

        Raises `Damaged` if it is not the teacher in the student's spec.
        """
        fingerprint, run_id = entry["teacher"]["fingerprint"], entry["teacher"]["id"]
        teacher = self._last
        if teacher is None or (teacher.folder.fingerprint, teacher.folder.id) != (
            fingerprint,
            run_id,
        ):
            teacher = self._last = _read(RunFolder(self.store, fingerprint, run_id))
        if teacher.spec != canonical_json(entry["spec"]["teacher"]):
            raise Damaged(
                f"the manifest says that {student} was taught by {run_id}, which is not the "
                f"teacher in its spec; {files.AGAIN}"
            )
        return teacher


def _read(folder: RunFolder) -> Teacher:
    logits = np.load(folder.artifact("test_logits.npy"))
    record = folder.record()
    assert record is not None  # it has the artifact
    spec = RunSpec.from_json(record["spec"]).as_teacher()
    return Teacher(folder, spec.canonical, logits, probabilities(logits)[1])
