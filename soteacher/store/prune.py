"""What the store holds, and how runs and prepared data leave it.

What depends on a run is deleted before it, a run's record before its other files, and last what
says whose they are: a kill at any moment leaves fewer runs, or an unfinished one that the same
command finds again. Nothing here imports torch.
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
from soteacher.data.prepared import Prepared
from soteacher.store.run_folder import RunFolder
from soteacher.store.status import State, state_of
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.specs import PreparationSpec, RunSpec, fingerprint

ROLES = ("student", "preparation", "teacher", "unknown")
"""In the order of deletion: nothing is left without what it depends on."""
RANK = {"run.json": 0, "spec.json": 2, "manifest.json": 2, "lock": 3}
"""The order in which a folder's files are deleted; all others have rank 1."""
DIGITS = 8
"""The least number of a fingerprint's hexadecimal digits that stand for a run."""


@dataclass(frozen=True)
class Stored:
    """A run's folder in the store, finished or not; its name is the fingerprint's beginning."""

    path: Path
    description: dict[str, Any] | None
    """`spec.json`, or None where its first owner was killed before it wrote it."""

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
        """How the run stands; what only a study knows, that it is blocked, is not seen here."""
        return state_of(RunFolder(self.path.parents[1], self.path.name, self.id))

    @cached_property
    def bytes(self) -> int:
        """The size of all its files."""
        return bytes_in(self.path)

    @property
    def finished(self) -> datetime | None:
        """When its record was written, local time."""
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp((self.path / "run.json").stat().st_mtime)
        return None

    @cached_property
    def needs(self) -> set[str]:
        """Names of the folders of its teacher, and of the preparation that its method may have."""
        if self.description is None or "teacher" not in self.description:
            return set()
        needed = {self.description["teacher"]["fingerprint"]}
        if "preparation" in self.description:
            needed.add(self.description["preparation"]["fingerprint"])
        elif self.role == "student":
            spec = PreparationSpec(RunSpec.from_json(self.description["spec"]))
            with suppress(UserError):  # a method that this version no longer has
                needed.add(fingerprint(spec, self.description["data_sha256"]))
        return {_name(own) for own in needed}

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


def _name(own: str) -> str:
    return RunFolder(Path(), own, "").path.name


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder; those of a run in training come and go meanwhile."""
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(above, name)).st_size
    return size


def stored(store: Path) -> list[Stored]:
    """Everything in a store, by id."""
    found = []
    if not store.is_dir():
        raise UserError(f"there is no store in {store}; expected a folder such as results/store")
    for path in store.glob("runs/*/"):
        found.append(Stored(path, _description(path)))
    return sorted(found, key=lambda run: (run.id, run.path.name))


def _description(folder: Path) -> dict[str, Any] | None:
    """`spec.json`, or if it is damaged the run's record, which has all of it; or None."""
    for name in ("spec.json", "run.json"):
        with suppress(UserError):
            facts = files.read_json(folder / name, "the run's description", missing_ok=True)
            if facts:
                return facts
    return None


def named(runs: list[Stored], name: str) -> list[Stored]:
    """The runs of an id, or whose fingerprints begin so; `UserError` if there are none."""
    found = [run for run in runs if run.id == name]
    if re.fullmatch(rf"[0-9a-f]{{{DIGITS},64}}", name):
        found += [run for run in runs if run.path.name.startswith(_name(name))]
    if found:
        return found
    near = difflib.get_close_matches(name, {run.id for run in runs}, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"the store has no run '{name}'; expected an id, or at least {DIGITS} digits of a "
        f"fingerprint, as `soteacher store list` tells them{hint}"
    )


def with_dependents(chosen: Iterable[Stored], runs: list[Stored]) -> list[Stored]:
    """Runs, and all those that need one of them."""
    gone = {run.path.name for run in chosen}
    while more := {run.path.name for run in runs if run.needs & gone} - gone:
        gone |= more
    return [run for run in runs if run.path.name in gone]


def linked(plans: list[Plan]) -> dict[str, str]:
    """Names of the runs' folders that results of other studies link to: whose results."""
    named = {plan.study.study for plan in plans}
    found: dict[str, str] = {}
    for results in sorted(Path("results").glob("*/")):
        if results.name not in named:
            for role in ("teachers", "students"):
                for above, names, _ in os.walk(results / role):
                    paths = (Path(above, name) for name in names)
                    links = [path for path in paths if path.is_symlink()]
                    found |= {link.resolve().name: results.name for link in links}
    return found


def unasked(runs: list[Stored], plans: list[Plan], kept: Collection[str] = ()) -> list[Stored]:
    """Runs that no plan asks for, that are not kept, and that no run kept or in use needs.

    kept : names of folders.

    Of data that are not prepared, no version is known to be the one meant: all are kept.
    """
    asked: dict[str, set[str | None]] = {}
    for plan in plans:
        hashes = {name: data.sha256 for name, data in prepared_of(plan).items()}
        for run in plan.runs.values():
            specs = [run.spec.canonical]
            if run.teacher:
                specs.append(PreparationSpec(run.spec).canonical)
            for spec in specs:
                asked.setdefault(spec, set()).add(hashes.get(run.data))

    def is_asked(run: Stored) -> bool:
        if run.description is None:  # no file was written before its description
            return False
        known = asked.get(canonical_json(run.description["spec"]), set())
        return None in known or run.description["data_sha256"] in known

    used = (run for run in runs if run.path.name in kept or files.held_by(run.path))
    spared = {*kept}.union(*(run.needs for run in used))
    return [run for run in runs if not is_asked(run) and run.path.name not in spared]


def unused_data(store: Path, kept: Iterable[Stored], plans: list[Plan]) -> list[Path]:
    """Folders of prepared data that no kept run was trained on and no plan asks for."""
    hashes = {run.description["data_sha256"] for run in kept if run.description}
    specs = {plan.data_spec(name).canonical for plan in plans for name in plan.study.data}
    unused = []
    for path in sorted(store.glob("data/*/")):
        manifest = files.read_json(path / "manifest.json", "the data manifest", missing_ok=True)
        if manifest is None or canonical_json(manifest["spec"]) in specs:
            continue
        if Prepared(path, manifest).sha256 not in hashes:
            unused.append(path)
    return unused


def delete_runs(runs: list[Stored]) -> None:
    """Delete runs; `UserError`, and nothing is deleted, if one of them is in use."""
    for run in runs:
        if holder := files.held_by(run.path):
            raise UserError(
                f"{run.id} is in use by {holder}: stop that, or wait for its end; "
                "nothing was deleted"
            )
    for run in sorted(runs, key=lambda run: ROLES.index(run.role)):
        delete(run.path)


def delete(folder: Path) -> None:
    """Delete a folder of a run or of prepared data; `UserError` if a process owns it."""
    try:
        with files.locked(folder, str(folder), wait=False):
            for path in sorted(folder.iterdir(), key=lambda path: RANK.get(path.name, 1)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):  # not empty: another owner has come
            folder.rmdir()
    except OSError as error:
        raise UserError(f"cannot delete {folder}: {error.strerror or error}") from error
