"""Run folders: the store keeps trained networks outside the files that Snakemake deletes.

A run's folder is named by its fingerprint. During training, the folder holds the two latest saved
states; afterwards it holds the artifacts and, written last, `run.json`, which marks the run as
finished. So neither a kill nor a rerun trains a finished network again, and a killed run resumes
from its last saved state. Nothing here imports torch, except to read and write states.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from soteacher.core import files
from soteacher.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("soteacher")


class RunFolder:
    """The folder of one run in the store."""

    def __init__(self, store: Path, fingerprint: str, run_id: str) -> None:
        self.path = Path(store) / "runs" / fingerprint[:32]
        self.fingerprint, self.id = fingerprint, run_id

    def record(self) -> dict[str, Any] | None:
        """Return `run.json`, or None if the run is not finished; `UserError` if it is damaged."""
        path = self.path / "run.json"
        try:
            record = json.loads(path.read_text())
            if {"status", "artifacts", "attempts"} <= record.keys():
                return record
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError):
            pass
        raise UserError(
            f"the record of {self.id} is damaged: {path}; delete the run with `soteacher forget "
            f"{self.path.name[:12]} --store {self.path.parents[1]} --yes`, then {files.AGAIN}"
        )

    def describe(self, facts: dict[str, Any]) -> None:
        """Write `spec.json`, which describes the folder's run; it identifies unfinished runs."""
        if not (self.path / "spec.json").is_file():
            files.write_json(self.path / "spec.json", facts)

    def description(self) -> dict[str, Any]:
        """Return the description that `describe` wrote."""
        return files.read_json(self.path / "spec.json", "the run's description")

    def finished(self) -> bool:
        """Return whether the run has its record and every artifact that the record lists."""
        return self.finished_record() is not None

    def finished_record(self) -> dict[str, Any] | None:
        """Return the record if the run is finished, or None."""
        record = self.record()
        if record is None:
            return None
        complete = all((self.path / name).is_file() for name in record["artifacts"])
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
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **facts,
        }
        with open(path, "a") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")
        return len(path.read_text().splitlines())

    def attempts(self) -> list[dict[str, Any]]:
        """Return all attempts in order; a line that a kill truncated is left out."""
        path = self.path / "attempts.jsonl"
        attempts = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                attempts.append(json.loads(line))
            except ValueError:
                log.warning("%s: ignoring an unreadable line in %s", self.id, path)
        return attempts

    def note_failure(self, why: str) -> None:
        """Record why the run failed, in one line, until its next attempt starts."""
        note = {
            "why": why,
            "by": files.process(),
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "attempt": len(self.attempts()),
        }
        files.write_json(self.path / "failed.json", note)

    def failure(self) -> dict[str, Any] | None:
        """Return what `note_failure` wrote about the last attempt, or None."""
        return files.read_json(self.path / "failed.json", "the note of a failure", missing_ok=True)

    def save_state(self, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Save a state in place of the older of two; a kill at any moment leaves one of them.

        Tensors are stored contiguous. `training.state.resume` copies them into tensors with the
        memory format in use (fused SGD would mix up elements of different layouts).
        """
        from safetensors.torch import save

        newest = self.progress()
        serial = newest["serial"] + 1 if newest else 1
        stem = self.path / f"state-{serial % 2}"
        stem.with_suffix(".json").unlink(missing_ok=True)
        data = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        files.write(stem.with_suffix(".safetensors"), data)
        sha256 = files.sha256_of(stem.with_suffix(".safetensors"))
        facts = {"serial": serial, "sha256": sha256, "saved": time.time()}
        files.write_json(stem.with_suffix(".json"), info | facts)

    def progress(self) -> dict[str, Any] | None:
        """Return the facts of the newest saved state; `saved` is its time in seconds since 1970."""
        states = (info for _, info in self._generations())
        return max(states, key=lambda info: info["serial"], default=None)

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the newest undamaged saved state, or None."""
        from safetensors.torch import load_file

        for stem, info in sorted(self._generations(), key=lambda state: -state[1]["serial"]):
            path = stem.with_suffix(".safetensors")
            if path.is_file() and files.sha256_of(path) == info["sha256"]:
                return load_file(path), info
            log.warning("%s: %s is damaged; using the previous saved state", self.id, path)
        return None

    def _generations(self) -> list[tuple[Path, dict[str, Any]]]:
        states = []
        for stem in (self.path / "state-0", self.path / "state-1"):
            info = files.read_json(stem.with_suffix(".json"), "the saved state", missing_ok=True)
            if info is not None:
                states.append((stem, info))
        return states

    def finish(
        self, status: str, artifacts: dict[str, Callable[[BinaryIO], object]], facts: dict[str, Any]
    ) -> None:
        """Write the artifacts, then `run.json` with their hashes; then delete the saved states.

        A diverged run keeps its last finite state for inspection.
        """
        for name, writer in artifacts.items():
            files.write(self.path / name, writer)
        kept = {str(path.relative_to(self.path)) for path in self.path.glob("checkpoints/epoch*")}
        hashes = {name: files.sha256_of(self.path / name) for name in sorted(kept | {*artifacts})}
        record = facts | {
            "id": self.id,
            "fingerprint": self.fingerprint,
            "status": status,
            "artifacts": hashes,
            "attempts": self.attempts(),
        }
        files.write_json(self.path / "run.json", record)
        if status == "done":
            for state in self.path.glob("state-*"):
                state.unlink()

    def artifact(self, name: str) -> Path:
        """Return the path of an artifact; raise `UserError` if its hash is not the recorded one."""
        record = self.record()
        if record is None or name not in record["artifacts"]:
            raise UserError(f"{self.id} has no '{name}' in the store: {self.path}; {files.AGAIN}")
        return files.checked(self.path / name, record["artifacts"][name], f"{name} of {self.id}")


def checkpoint_name(epoch: int) -> str:
    """Return the name of the artifact with a teacher's weights after `epoch` epochs."""
    return f"checkpoints/epoch{epoch:04d}.safetensors"
