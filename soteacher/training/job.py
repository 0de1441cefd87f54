"""A job: its runs are trained in one process, or published from the store if they are finished.

Publishing does not import torch, so a job without untrained runs takes milliseconds.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.core.errors import RunsFailed, UserError
from soteacher.core.sealed import write_sealed
from soteacher.data.prepared import Prepared
from soteacher.store.run_folder import RunFolder
from soteacher.training import loggers, oracle
from soteacher.training.failures import is_out_of_memory
from soteacher.training.members import JobOptions, Member, member_of

log = logging.getLogger("soteacher")


def run_job(
    runs: dict[str, Any], data: Prepared, teachers: dict[str, Any], options: JobOptions
) -> dict[str, Any]:
    """Train the runs that are not finished in the store; return the manifest of all runs.

    Parameters
    ----------
    runs : id to {"spec": ..., "teacher": id of its teacher, for a student}.
    teachers : entries of the teachers' manifests, by id; each must match the plan.

    Raises
    ------
    UserError
        A manifest or the data do not match the plan.
        The package of a logger is not installed.
        The record of one run, or one file of weights, cannot be used; the others are finished.
    RunsFailed
        Some runs failed; the others are finished.
    GpuLost
        A CUDA error ended the training; the others keep their last saved states.
    """
    members = [
        member_of(run_id, run, data, teachers, options) for run_id, run in sorted(runs.items())
    ]
    # equal runs with different ids have one fingerprint and are trained once
    distinct = {m.folder.fingerprint: m for m in reversed(members) if m.blocked_by is None}
    blocked = {m.folder.fingerprint: m.blocked_by for m in members if m.blocked_by}
    refused: dict[str, UserError] = {}
    failed: list[str] = []
    retry = False
    pending = _unfinished([m for _, m in sorted(distinct.items())], refused)
    if pending:
        with ExitStack() as locks:
            for member in pending:
                locks.enter_context(member.folder.lock())
            pending = _unfinished(pending, refused)
            if pending:
                loggers.check(options.loggers)
                for member in pending:
                    member.spec.parts()  # raises UserError if a method is not available
                for member in pending:
                    if member.spec.is_oracle:
                        oracle.finish(member, data)
                pending = [member for member in pending if not member.spec.is_oracle]
            if pending:
                options.choose_gpu()
                from soteacher.training import imported

                given = [member for member in pending if member.spec.weights is not None]
                if given:
                    refused |= imported.finish(given, data, options)
                pending = [member for member in pending if member.spec.is_trained]
            if pending:
                from soteacher.training.passes import train_passes

                pending.sort(key=lambda member: member.id)
                failed, prevented = train_passes(pending, data, options)
                retry = any(_lacked_memory(m) for m in pending if m.id in failed)
                blocked |= {
                    m.folder.fingerprint: prevented[m.id] for m in pending if m.id in prevented
                }
    _check_ended(failed, refused, len(members), retry)
    return {"runs": {m.id: _entry(m, blocked.get(m.folder.fingerprint)) for m in members}}


def _unfinished(members: list[Member], refused: dict[str, UserError]) -> list[Member]:
    """Return the members that are to be trained; add those with an unusable record to `refused`."""
    unfinished = []
    for member in members:
        try:
            if not member.folder.finished():
                unfinished.append(member)
        except UserError as error:
            refused[member.id] = error
    return unfinished


def _lacked_memory(member: Member) -> bool:
    """Return whether a run failed for lack of memory: alone in a process, it may have enough."""
    failure = member.folder.failure()
    return failure is not None and is_out_of_memory(failure["why"])


def _check_ended(
    failed: list[str], refused: dict[str, UserError], n_runs: int, retry: bool
) -> None:
    """Raise the error of a job with runs that failed, or whose records cannot be used."""
    if not failed and len({*refused.values()}) == 1:  # the seeds of a file of weights share one
        raise next(iter(refused.values()))
    for run_id, error in refused.items():
        log.error("%s: failed; the other runs of this job continue: %s", run_id, error)
    if names := sorted([*failed, *refused]):
        raise RunsFailed(
            f"{len(names)} of {n_runs} runs failed: {', '.join(names)}; see the errors above; "
            "rerun the same command to resume from the last saved states",
            retry,
        )


def _entry(member: Member, blocked_by: str | None) -> dict[str, Any]:
    """Return a run's entry in the manifest, without time, host or path: equal results are equal."""
    entry = {
        "spec": member.spec.to_json(),
        "spec_sha256": member.spec.sha256,
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
    """Write the manifest, and links to the run folders."""
    for run_id, entry in manifest["runs"].items():
        link = links / run_id
        try:
            if entry["status"] == "blocked":
                link.unlink(missing_ok=True)
            else:
                _link(link, RunFolder(store, entry["fingerprint"], run_id).path)
        except OSError as error:
            raise UserError(
                f"cannot write {link}: {files.reason(error)}; free disk space or fix the folder's "
                "permissions, then rerun the same command: finished results are kept"
            ) from error
    write_sealed(out, manifest)


def _link(link: Path, target: Path) -> None:
    """Make a relative link, in place of what is there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent.resolve()))
    os.replace(temporary, link)
