"""Run folders: the store keeps trained networks outside the files that Snakemake deletes.

A run's folder is named by its fingerprint. During training, the folder holds the two latest saved
states, and `progress.csv` for readers; afterwards it holds the artifacts and, written last,
`run.json`, which marks the run as finished. So neither a kill nor a rerun trains a finished network
again, and a killed run resumes from its last saved state. Every record and state contains the run's
fingerprint and the hash of its own content; both are checked whenever it is read, so nothing of
another run, and nothing that has changed, is used. Nothing here imports torch, except to read and
write states.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from soteacher.core import files
from soteacher.core.errors import Damaged
from soteacher.core.sealed import SEAL, read_sealed, write_sealed
from soteacher.store.forms import Description, Failure, OfRun, Record, SavedState
from soteacher.study.specs import fingerprint_of

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("soteacher")

STARTED = "%Y-%m-%dT%H:%M:%S%z"
"""The format of the time at which an attempt started, and of a failure."""


class RunFolder:
    """The folder of one run in the store."""

    def __init__(self, store: Path, fingerprint: str, run_id: str) -> None:
        self.path = Path(store) / "runs" / self._name(fingerprint)
        self.fingerprint, self.id = fingerprint, run_id

    @property
    def progress_file(self) -> Path:
        """The CSV file of the finished epochs, while the run is trained."""
        return self.path / "progress.csv"

    def record(self) -> dict[str, Any] | None:
        """Return `run.json`, or None if the run is not finished.

        Raises `Damaged` if it is not what was written for this run, `Unreadable` if reading failed.
        """
        try:
            return self._of_this_run("run.json", "the record", Record)
        except Damaged as damage:
            raise Damaged(f"{damage}; {self._retrain()}") from None

    def describe(self, facts: dict[str, Any]) -> None:
        """Write `spec.json`, which describes the folder's run; it identifies unfinished runs."""
        try:
            if self._of_this_run("spec.json", "the description", Description) is not None:
                return
        except Damaged as damage:
            log.warning("%s; it is written again", damage)
        write_sealed(self.path / "spec.json", facts | {"fingerprint": self.fingerprint})

    def description(self) -> dict[str, Any]:
        """Return the description that `describe` wrote, without its seal."""
        facts = self._of_this_run("spec.json", "the description", Description)
        if facts is None:
            raise Damaged(
                f"the description of {self.id} is missing: {self.path / 'spec.json'}; rerun the "
                "same command, which writes it again"
            )
        return {key: value for key, value in facts.items() if key != SEAL}

    def _of_this_run(self, name: str, what: str, form: type[OfRun]) -> dict[str, Any] | None:
        """Return the values of a sealed file, or None; `Damaged` if they are not of this run."""
        path = self.path / name
        facts: dict[str, Any] | None = read_sealed(
            path, f"{what} of {self.id}", form, missing_ok=True, remedy=""
        )
        if facts is None:
            return None
        of_run = facts["fingerprint"]
        if "spec" in facts:
            of_run = fingerprint_of(facts["spec"], facts["data_sha256"])
        if of_run != facts["fingerprint"] or self._name(of_run) != self.path.name:
            other = facts.get("id", f"that with the fingerprint {self._name(of_run)}")
            raise Damaged(f"{what} of {self.id}, {path}, is of another run: {other}")
        return facts

    def _retrain(self) -> str:
        return (
            f"delete the run with `soteacher forget {self.path.name[:12]} --store "
            f"{self.path.parents[1]} --yes`, then {files.AGAIN}"
        )

    @staticmethod
    def _name(of_run: Any) -> str:
        """Return the name of the folder of a fingerprint."""
        return str(of_run)[:32]

    def finished(self) -> bool:
        """Return whether the run has its record and every artifact that the record lists."""
        return self.finished_record() is not None

    def finished_record(self) -> dict[str, Any] | None:
        """Return the record if the run is finished, or None."""
        record = self.record()
        if record is None:
            return None
        complete = all(files.is_file(self.path / name, name) for name in record["artifacts"])
        return record if complete else None

    def lock(self) -> AbstractContextManager[None]:
        """Lock the run; a process holds the lock while it trains the run."""
        return files.locked(self.path, self.id)

    def begin_attempt(self, facts: dict[str, Any]) -> int:
        """Record which process trains from now on; return the 1-based number of the attempt."""
        (self.path / "failed.json").unlink(missing_ok=True)
        path = self.path / "attempts.jsonl"
        line = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "started": time.strftime(STARTED),
            "fingerprint": self.fingerprint,
            **facts,
        }
        before = files.read_bytes(path, f"the attempts of {self.id}", missing_ok=True) or b""
        cut = b"" if before.endswith(b"\n") or not before else b"\n"  # a kill truncated the line
        with open(path, "ab") as file:
            file.write(cut + json.dumps(line, sort_keys=True).encode() + b"\n")
        return len(self.attempts())

    def attempts(self) -> list[dict[str, Any]]:
        """Return all attempts in order; lines that are not attempts of this run are left out."""
        path = self.path / "attempts.jsonl"
        text = files.read_bytes(path, f"the attempts of {self.id}", missing_ok=True) or b""
        attempts = []
        for line in text.splitlines():
            try:
                attempt = json.loads(line)
                datetime.strptime(attempt["started"], STARTED)
                if self._name(attempt["fingerprint"]) != self.path.name:
                    raise ValueError("it is of another run")
                attempts.append({"host": None, "pid": None, "slurm_job": None} | attempt)
            except (ValueError, LookupError, TypeError, RecursionError):
                log.warning("%s: ignoring an unreadable line in %s", self.id, path)
        return attempts

    def note_failure(self, why: str) -> None:
        """Record why the run failed, in one line, until its next attempt starts."""
        note = {
            "fingerprint": self.fingerprint,
            "why": why,
            "by": files.process(),
            "when": time.strftime(STARTED),
            "attempt": len(self.attempts()),
        }
        write_sealed(self.path / "failed.json", note)

    def failure(self) -> dict[str, Any] | None:
        """Return what `note_failure` wrote about the last attempt, or None."""
        try:
            return self._of_this_run("failed.json", "the note of a failure", Failure)
        except Damaged as damage:  # the note is for readers alone
            log.warning("%s: ignoring the note of a failure: %s", self.id, damage)
            return None

    def save_state(self, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Save a state in place of the older of two; a kill at any moment leaves one of them.

        Tensors are stored contiguous. `training.state.resume` copies them into tensors with the
        memory format in use (fused SGD would mix up elements of different layouts).
        """
        from safetensors.torch import save

        newest = self._newest()
        serial, slot = (newest[1]["serial"] + 1, 1 - newest[0]) if newest else (1, 1)
        stem = self.path / f"state-{slot}"
        stem.with_suffix(".json").unlink(missing_ok=True)
        data = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        sha256 = files.write_hashed(stem.with_suffix(".safetensors"), data)
        facts = {
            "fingerprint": self.fingerprint,
            "serial": serial,
            "tensors_sha256": sha256,
            "saved": time.time(),
        }
        write_sealed(stem.with_suffix(".json"), info | facts)

    def progress(self) -> dict[str, Any] | None:
        """Return the facts of the newest saved state; `saved` is its time in seconds since 1970.

        Raises `Damaged` if there are saved states, and none has facts that are of this run.
        """
        newest = self._newest()
        return newest[1] if newest else None

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the newest undamaged saved state, or None if none was ever saved.

        Raises `Damaged` if all saved states are damaged or those of another run.
        """
        from safetensors.torch import load

        states = self._states()
        for slot, info in states:
            path = self.path / f"state-{slot}.safetensors"
            try:
                data = files.read_bytes(path, "the saved state") or b""
                if hashlib.sha256(data).hexdigest() == info["tensors_sha256"]:
                    return load(data), info
                damage = f"{path} has changed since it was written"
            except Damaged as error:
                damage = str(error)
            log.warning("%s: ignoring a saved state: %s", self.id, damage)
        if states:
            raise self._no_state()
        return None

    def _newest(self) -> tuple[int, dict[str, Any]] | None:
        return next(iter(self._states()), None)

    def _states(self) -> list[tuple[int, dict[str, Any]]]:
        """Return slot and facts of the undamaged states, the newest first."""
        states, damaged = [], False
        for slot in (0, 1):
            try:
                info = self._of_this_run(f"state-{slot}.json", "the saved state", SavedState)
                if info is not None:
                    states.append((slot, info))
            except Damaged as damage:
                log.warning("%s: ignoring a saved state: %s", self.id, damage)
                damaged = True
        if damaged and not states:
            raise self._no_state()
        return sorted(states, key=lambda state: -state[1]["serial"])

    def _no_state(self) -> Damaged:
        return Damaged(
            f"all saved states of {self.id} in {self.path} are damaged or of another run; "
            f"{self._retrain()}"
        )

    def write(self, name: str, writer: Callable[[BinaryIO], object]) -> str:
        """Write an artifact; return its sha256."""
        return files.write_hashed(self.path / name, writer)

    def finish(
        self,
        status: str,
        artifacts: dict[str, Callable[[BinaryIO], object]],
        facts: dict[str, Any],
        checkpoints: Mapping[str, str],
    ) -> None:
        """Write the artifacts, then `run.json` with their hashes; then delete the saved states.

        The file of the epochs that readers followed is deleted, too.

        checkpoints : name to sha256 of the artifacts that were written during training. Raises
        `Damaged` if one of them has changed since.

        A diverged run keeps its last finite state for inspection.
        """
        for name, sha256 in checkpoints.items():
            try:
                files.checked(self.path / name, sha256, name)
            except Damaged:
                raise Damaged(
                    f"{self.path / name} is missing or has changed since it was written; "
                    f"{self._retrain()}"
                ) from None
        hashes = {name: self.write(name, writer) for name, writer in artifacts.items()}
        record = facts | {
            "id": self.id,
            "fingerprint": self.fingerprint,
            "status": status,
            "artifacts": dict(sorted({**hashes, **checkpoints}.items())),
            "attempts": self.attempts(),
        }
        write_sealed(self.path / "run.json", record)
        if status == "done":
            for state in self.path.glob("state-*"):
                state.unlink()
        self.progress_file.unlink(missing_ok=True)  # history.csv has the same rows

    def artifact(self, name: str) -> Path:
        """Return the path of an artifact; raise `UserError` if its hash is not the recorded one."""
        record = self.record()
        if record is None or name not in record["artifacts"]:
            raise Damaged(f"{self.id} has no '{name}' in the store: {self.path}; {files.AGAIN}")
        return files.checked(self.path / name, record["artifacts"][name], f"{name} of {self.id}")


def checkpoint_name(epoch: int) -> str:
    """Return the name of the artifact with a teacher's weights after `epoch` epochs."""
    return f"checkpoints/epoch{epoch:04d}.safetensors"
