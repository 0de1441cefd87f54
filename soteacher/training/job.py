"""A job: runs trained in one process, or published from the store where they are finished.

Publishing imports no torch, so a job that has nothing to train takes milliseconds.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soteacher import files
from soteacher.data.prepared import Prepared
from soteacher.errors import RunsFailed, UserError
from soteacher.settings import canonical
from soteacher.study.plan import as_teacher, fingerprint, sha
from soteacher.training import slots
from soteacher.training.store import RunFolder

log = logging.getLogger("soteacher")


@dataclass(frozen=True)
class How:
    """Settings of a job that are no part of what its runs are."""

    store: Path
    device: str
    threads: int
    deterministic: bool
    save_every: float
    """Seconds between saved states."""
    allow_cpu: bool = False
    """Whether to begin runs that take a CPU days."""
    one_by_one: bool = False
    """Whether runs that could share a pass are trained one after the other, in less memory."""
    jobs_per_gpu: int = 1
    """Training processes that may share a GPU, where no scheduler has chosen one."""

    def choose_gpu(self) -> None:
        """Take a GPU, if the machine has some; before torch is imported."""
        if self.device != "cpu":
            slots.take(self.jobs_per_gpu)


@dataclass(frozen=True)
class Member:
    """One run of a job, its place in the store, and its teacher's."""

    id: str
    spec: dict[str, Any]
    folder: RunFolder
    teacher: RunFolder | None = None
    blocked_by: str | None = None
    """The id of what diverged, so that this run cannot be trained."""

    @property
    def taught_by(self) -> dict[str, Any]:
        """Whose student the run is, for manifests and the store; empty for teachers."""
        if self.teacher is None:
            return {}
        return {"teacher": {"id": self.teacher.id, "fingerprint": self.teacher.fingerprint}}


def run_job(
    runs: dict[str, Any], data: Prepared, teachers: dict[str, Any], how: How
) -> dict[str, Any]:
    """Train what the store does not have yet; return the manifest of all runs.

    Parameters
    ----------
    runs : id to {"spec": ..., "teacher": id of its teacher, for a student}.
    teachers : entries of the teachers' manifests, by id; each must be the one the plan means.

    Raises
    ------
    UserError
        A manifest or the data do not match the plan.
    RunsFailed
        Some runs failed: the others are finished.
    """
    members = [member_of(run_id, run, data, teachers, how) for run_id, run in sorted(runs.items())]
    # runs that are the same under two names have one fingerprint, and are trained once
    distinct = {m.folder.fingerprint: m for m in reversed(members) if m.blocked_by is None}
    blocked = {m.folder.fingerprint: m.blocked_by for m in members if m.blocked_by}
    pending = [m for _, m in sorted(distinct.items()) if not m.folder.finished()]
    if pending:
        with ExitStack() as locks:
            for member in pending:
                locks.enter_context(member.folder.lock())
            pending = [member for member in pending if not member.folder.finished()]
            if pending:
                how.choose_gpu()
                from soteacher.training.train import train

                pending.sort(key=lambda member: member.id)
                failed, prevented = train(pending, data, how)
                blocked |= {
                    m.folder.fingerprint: prevented[m.id] for m in pending if m.id in prevented
                }
                if failed:
                    raise RunsFailed(
                        f"{len(failed)} of {len(members)} runs failed: {', '.join(failed)}; "
                        "what went wrong stands above; the same command goes on from their last "
                        "states"
                    )
    return {"runs": {m.id: _entry(m, blocked.get(m.folder.fingerprint)) for m in members}}


def member_of(
    run_id: str, run: dict[str, Any], data: Prepared, teachers: dict[str, Any], how: How
) -> Member:
    """A run with its place in the store, if data and teachers are what its spec says."""
    spec = run["spec"]
    if data.manifest["spec"] != spec["data"]:
        raise UserError(
            f"{run_id} is to be trained on {canonical(spec['data'])}, but the data manifest is of "
            f"{canonical(data.manifest['spec'])}: prepare the data again"
        )
    if "teacher" not in run:
        return Member(run_id, spec, RunFolder(how.store, fingerprint(spec, data.sha256), run_id))
    entry = teachers.get(run["teacher"])
    if entry is None or as_teacher(entry["spec"]) != spec["teacher"]:
        raise UserError(
            f"{run_id} learns from {run['teacher']}, which the teachers' manifests "
            f"{'do not hold' if entry is None else 'hold with other settings'}: "
            "train the teachers of this study first"
        )
    return Member(
        run_id,
        spec,
        RunFolder(how.store, fingerprint(spec, data.sha256), run_id),
        teacher=RunFolder(how.store, entry["fingerprint"], run["teacher"]),
        blocked_by=None if entry["status"] == "done" else run["teacher"],
    )


def _entry(member: Member, blocked_by: str | None) -> dict[str, Any]:
    """What a manifest says of a run: no time, host or path, so that equal results are equal."""
    entry = {
        "spec": member.spec,
        "spec_sha256": sha(member.spec),
        "fingerprint": member.folder.fingerprint,
        **member.taught_by,
    }
    if blocked_by:
        return entry | {"status": "blocked", "blocked_by": blocked_by, "artifacts": {}}
    record = member.folder.record() or {}
    entry |= {"status": record["status"], "artifacts": record["artifacts"]}
    if record["status"] == "diverged":
        entry["diverged"] = record["diverged"]
    return entry


def publish(manifest: dict[str, Any], out: Path, links: Path, store: Path) -> None:
    """Write the manifest, and links to the runs' folders for people to follow."""
    for run_id, entry in manifest["runs"].items():
        link = links / run_id
        link.parent.mkdir(parents=True, exist_ok=True)
        if entry["status"] == "blocked":
            link.unlink(missing_ok=True)
            continue
        target = RunFolder(store, entry["fingerprint"], run_id).path
        temporary = link.with_name(f".{link.name}-{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent.resolve()))
        os.replace(temporary, link)
    files.write_json(out, manifest)
