"""The content of the store, and the deletion of runs and prepared data.

Runs that depend on a run are deleted before it. A run's record is deleted first, then its other
files, and its description last. So a kill at any moment leaves fewer runs, or an unfinished run
that the same command deletes. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from soteacher.core import files, registry
from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json
from soteacher.data.prepared import stored_data
from soteacher.store.run_folder import RunFolder
from soteacher.store.status import State, state_of
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.specs import PreparationSpec, RunSpec, fingerprint

ROLES = ("student", "preparation", "teacher", "unknown")
"""The order of deletion: a run is deleted before the runs that it depends on."""
RANK = {"run.json": 0, "spec.json": 2, "manifest.json": 2, "lock": 3}
"""The order in which a folder's files are deleted; all others have rank 1."""
DIGITS = 8
"""The least number of hexadecimal digits of a fingerprint that identify a run."""


@dataclass(frozen=True)
class Stored:
    """A run's folder in the store, finished or not; its name is the start of the fingerprint."""

    path: Path
    description: dict[str, Any] | None
    """`spec.json`, or None if it is damaged or was never written."""

    @property
    def id(self) -> str:
        """The run's id, or `?`."""
        return self.description["id"] if self.description else "?"

    @property
    def role(self) -> str:
        """One of `ROLES`."""
        return self.description["spec"]["role"] if self.description else "unknown"

    @cached_property
    def state(self) -> State:
        """The state of the run; `blocked` does not occur, because only a study shows it."""
        return state_of(RunFolder(self.path.parents[1], self.path.name, self.id))

    @cached_property
    def bytes(self) -> int:
        """The size of all its files."""
        return bytes_in(self.path)

    @cached_property
    def unidentified(self) -> bool:
        """Whether it holds a run whose description is damaged or cannot be read.

        A folder with nothing but its lock holds none: the description is written first.
        """
        if self.description is not None:
            return False
        try:
            return any(path.name != "lock" for path in self.path.iterdir())
        except OSError:
            return True

    @property
    def finished(self) -> datetime | None:
        """Local time at which the record was written, or None."""
        with suppress(OSError):
            return datetime.fromtimestamp((self.path / "run.json").stat().st_mtime)
        return None

    @cached_property
    def needs(self) -> set[str]:
        """Names of the folders of the run's teacher and of its possible preparation."""
        if self.description is None or "teacher" not in self.description:
            return set()
        needed = {self.description["teacher"]["fingerprint"]}
        if "preparation" in self.description:
            needed.add(self.description["preparation"]["fingerprint"])
        elif self.role == "student":
            spec = PreparationSpec(RunSpec.from_json(self.description["spec"]))
            with suppress(UserError):  # a method that is no longer installed
                needed.add(fingerprint(spec, self.description["data_sha256"]))
        return {_folder_name(one) for one in needed}

    @property
    def methods_missing(self) -> list[str]:
        """Names of its methods of which neither a file nor a package is at hand, in any version."""
        if self.description is None:
            return []
        kind = "regularizer" if self.role == "teacher" else "distiller"
        return [
            name
            for name in self.description["spec"]["terms"]
            if name not in registry.names(kind) and not registry.files_of(name)
        ]


def _folder_name(of_run: str) -> str:
    """Return the name of the run folder of a fingerprint."""
    return RunFolder(Path(), of_run, "").path.name


def bytes_in(folder: Path) -> int:
    """Return the size of all files in a folder; files may appear and vanish meanwhile."""
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(above, name)).st_size
    return size


def stored(store: Path) -> list[Stored]:
    """Return all runs of a store, sorted by id."""
    if not store.is_dir():
        raise UserError(f"there is no store in {store}; expected a folder such as results/store")
    folders = files.folders_in(store / "runs", "the runs of the store")
    runs = [Stored(path, _description(path)) for path in folders]
    return sorted(runs, key=lambda run: (run.id, run.path.name))


def _description(folder: Path) -> dict[str, Any] | None:
    """Return `spec.json`, or, if it is damaged, the run's record, which contains it; or None."""
    run = RunFolder(folder.parents[1], folder.name, folder.name)
    for read in (run.description, run.record):
        with suppress(UserError):
            if facts := read():
                return facts
    return None


def named(runs: list[Stored], name: str) -> list[Stored]:
    """Return the runs with an id, or with a fingerprint that starts with it.

    Raise `UserError` if there are none.
    """
    matches = [run for run in runs if run.id == name]
    if re.fullmatch(rf"[0-9a-f]{{{DIGITS},64}}", name):
        matches += [run for run in runs if run.path.name.startswith(_folder_name(name))]
    if matches:
        return matches
    near = difflib.get_close_matches(name, {run.id for run in runs}, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"the store has no run '{name}'; expected an id, or at least {DIGITS} digits of a "
        f"fingerprint, as `soteacher store list` shows them{hint}"
    )


def with_dependents(chosen: Iterable[Stored], runs: list[Stored]) -> list[Stored]:
    """Return the chosen runs and all runs that need one of them."""
    names = {run.path.name for run in chosen}
    while more := {run.path.name for run in runs if run.needs & names} - names:
        names |= more
    return [run for run in runs if run.path.name in names]


def linked(plans: list[Plan]) -> dict[str, str]:
    """Return the names of run folders that other studies' results link to, with the study."""
    studies = {plan.study.study for plan in plans}
    study_of: dict[str, str] = {}
    for results in sorted(Path("results").glob("*/")):
        if results.name not in studies:
            for role in ("teachers", "students"):
                for above, names, _ in os.walk(results / role):
                    paths = (Path(above, name) for name in names)
                    links = [path for path in paths if path.is_symlink()]
                    study_of |= {link.resolve().name: results.name for link in links}
    return study_of


def unneeded_runs(
    runs: list[Stored], plans: list[Plan], kept: Collection[str] = ()
) -> list[Stored]:
    """Return the runs that no plan contains, that are not kept, and that no other run needs.

    A run is also left out if a kept run or a run in use needs it. If a run cannot be identified, it
    may need any teacher or preparation, so these are left out.

    kept : names of folders.

    If a data set of a plan is not prepared, the planned version of the data is unknown, and the
    runs on all versions are kept.
    """
    planned: dict[str, set[str | None]] = {}
    for plan in plans:
        hashes = {name: data.sha256 for name, data in prepared_of(plan).items()}
        for run in plan.runs.values():
            specs = [run.spec.canonical]
            if run.teacher:
                specs.append(PreparationSpec(run.spec).canonical)
            for spec in specs:
                planned.setdefault(spec, set()).add(hashes.get(run.data))

    def is_planned(run: Stored) -> bool:
        if run.description is None:
            return run.unidentified
        known = planned.get(canonical_json(run.description["spec"]), set())
        return None in known or run.description["data_sha256"] in known

    used = (run for run in runs if run.path.name in kept or files.held_by(run.path))
    spared = {*kept}.union(*(run.needs for run in used))
    if any(run.unidentified for run in runs):
        spared |= {run.path.name for run in runs if run.role in ("teacher", "preparation")}
    return [run for run in runs if not is_planned(run) and run.path.name not in spared]


def unused_data(store: Path, kept: Iterable[Stored], plans: list[Plan]) -> list[Path]:
    """Return the folders of prepared data that no kept run and no plan uses.

    If a kept run cannot be identified, all data are kept, because it may need them.
    """
    kept = list(kept)
    if any(run.unidentified for run in kept):
        return []
    hashes = {run.description["data_sha256"] for run in kept if run.description}
    specs = {plan.data_spec(name).canonical for plan in plans for name in plan.study.data}
    unused = []
    for path in files.folders_in(store / "data", "the prepared data of the store"):
        with suppress(UserError):  # damaged, or not readable: it is kept
            prepared = stored_data(path)
            if prepared is None or canonical_json(prepared.manifest["spec"]) in specs:
                continue
            if prepared.sha256 not in hashes:
                unused.append(path)
    return unused


def delete_runs(runs: list[Stored]) -> None:
    """Delete runs; raise `UserError`, and delete nothing, if one of them is in use."""
    for run in runs:
        if holder := files.held_by(run.path):
            raise UserError(
                f"{run.id} is in use by {holder}: stop that process, or wait until it ends; "
                "nothing was deleted"
            )
    for run in sorted(runs, key=lambda run: ROLES.index(run.role)):
        delete(run.path)


def delete(folder: Path) -> None:
    """Delete a folder of a run or of prepared data; raise `UserError` if a process locks it."""
    try:
        with files.locked(folder, str(folder), wait=False):
            for path in sorted(folder.iterdir(), key=lambda path: RANK.get(path.name, 1)):
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink()
        with suppress(OSError):  # not empty: another process has started to use it
            folder.rmdir()
    except OSError as error:
        raise UserError(f"cannot delete {folder}: {error.strerror or error}") from error
