"""Preparations that depend on the teacher alone: trained once, kept in the store, shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from soteacher.core.errors import UserError
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import PreparationSpec, fingerprint
from soteacher.terms import LossTerm, Preparation
from soteacher.training import records, state
from soteacher.training.failures import loses_gpu
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.setup import PassSetup

Train = Callable[[list[Learner]], list[RunFolder]]
"""A function that trains learners to their ends and returns the folders of the failed ones."""
Apart = Callable[[Member], AbstractContextManager[None]]
"""A context in which an exception counts as the failure of one member alone."""


def prepare_from_teacher(
    setup: PassSetup, terms: dict[str, list[LossTerm]], store: Path, train: Train, apart: Apart
) -> dict[str, str]:
    """Train or load the preparations of the teacher, and pass them to the loss terms.

    terms : run id to its loss terms.

    Returns run id to the id of the diverged preparation, for the runs that cannot be trained.
    """
    users: dict[str, list[tuple[Member, LossTerm]]] = {}
    folders: dict[str, RunFolder] = {}
    for member in setup.members:
        for term in terms.get(member.id, ()):
            with apart(member):
                if setup.preparation(member.spec, term) is not None:
                    assert member.teacher is not None
                    spec = PreparationSpec(member.spec)
                    name = f"{member.teacher.id}/preparation/{'-'.join(member.spec.terms)}"
                    folder = RunFolder(store, fingerprint(spec, setup.data.sha256), name)
                    folders[folder.fingerprint] = folder
                    users.setdefault(folder.fingerprint, []).append((member, term))
    broken: dict[str, str] = {}
    """Why preparations failed. An error itself would keep its networks in memory."""
    with ExitStack() as locks:
        missing = []
        for fingerprint_, folder in sorted(folders.items()):  # the order prevents a deadlock
            if not folder.finished():
                locks.enter_context(folder.lock())
            if not folder.finished():
                try:
                    missing.append(_learner(setup, folder, *users[fingerprint_][0]))
                except Exception as error:
                    if loses_gpu(error):
                        raise
                    broken[fingerprint_] = str(error)
        for folder in train(missing):
            why = (folder.failure() or {"why": "it failed"})["why"]
            broken[folder.fingerprint] = f"{why} (see the error above)"
    prevented = {}
    for fingerprint_, folder in folders.items():
        for member, term in users[fingerprint_]:
            with apart(member):
                if fingerprint_ in broken:
                    raise UserError(f"the preparation {folder.id}: {broken[fingerprint_]}")
                record = folder.record()
                assert record is not None
                if record["status"] != "done":
                    prevented[member.id] = folder.id
                    continue
                preparation = setup.preparation(member.spec, term)
                assert preparation is not None
                term.receive(_trained(folder, preparation))
    return prevented


def _learner(setup: PassSetup, folder: RunFolder, member: Member, term: LossTerm) -> Learner:
    records.describe(folder, PreparationSpec(member.spec), member, setup.data)
    preparation = setup.preparation(member.spec, term)
    recipe = member.spec.recipe
    learner = Learner(folder, recipe, setup.stream, None, [], {}, preparation, None)
    state.resume(learner)
    return learner


def _trained(folder: RunFolder, preparation: Preparation) -> dict[str, nn.Module]:
    modules = nn.ModuleDict(preparation.modules)
    modules.load_state_dict(load_file(folder.artifact("weights.safetensors")))
    modules.eval().requires_grad_(False)
    return preparation.modules
