"""Training the runs of a job: learners made from specs, grouped into passes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import soteacher
from soteacher.data.prepared import Prepared, check_revision
from soteacher.data.stream import Stream
from soteacher.errors import Stopped, UserError
from soteacher.keys import key, seeded
from soteacher.models import catalogue
from soteacher.settings import parse
from soteacher.study.cost import pass_flop
from soteacher.study.plan import LOOP, STREAM, fingerprint
from soteacher.study.schema import Augment, Recipe
from soteacher.terms import CrossEntropy, FeatureShapes, LossTerm, Preparation, Site
from soteacher.training import device as devices
from soteacher.training.cpu import check_runs
from soteacher.training.evaluate import Evaluator
from soteacher.training.job import How, Member
from soteacher.training.learner import Diverged, Learner
from soteacher.training.passes import report_failure, run_pass
from soteacher.training.specs import (
    image_change,
    pass_key,
    preparation_spec,
    teacher_epochs,
    terms_of,
)
from soteacher.training.store import RunFolder
from soteacher.training.teacher import FrozenTeacher, build

log = logging.getLogger("soteacher")


def train(members: list[Member], data: Prepared, how: How) -> tuple[list[str], dict[str, str]]:
    """Train runs whose locks are held, pass by pass.

    Returns
    -------
    The ids of those that failed, and of those that were prevented, by what had diverged.
    """
    data.check()
    precisions = {member.spec.get("precision", "float32") for member in members}
    device = devices.set_up(how.device, how.threads, precisions.pop(), how.deterministic)
    passes: dict[str, list[Member]] = {}
    for member in members:
        alone = member.id if how.one_by_one else ""
        passes.setdefault(f"{pass_key(member.spec)} {alone}", []).append(member)
    if device == "cpu":
        flop = {
            member.id: work
            for together in passes.values()
            for member, work in zip(
                together, pass_flop([m.spec for m in together], data.outline), strict=True
            )
        }
        check_runs(flop, how.threads, how.allow_cpu)
    failed: list[str] = []
    prevented: dict[str, str] = {}
    evaluator = Evaluator(data, device)
    for together in passes.values():
        devices.reset_peak_memory(device)
        try:
            trainer = Pass(together, data, how, device, evaluator)
            failed += trainer.run()
            prevented |= trainer.prevented
            del trainer  # its networks make room for the next one's
        except Stopped:
            raise
        except Exception as error:  # in what all of the pass share: the teacher, the stream
            lost = [member.folder for member in together if not member.folder.finished()]
            report_failure(lost, error)
            failed += [folder.id for folder in lost]
    return failed, prevented


class Pass:
    """The learners of one pass, from their making to their records."""

    def __init__(
        self,
        members: list[Member],
        data: Prepared,
        how: How,
        device: str,
        evaluator: Evaluator | None,
    ) -> None:
        self.members, self.data, self.how, self.device = members, data, how, device
        self.evaluator = evaluator
        self.prevented: dict[str, str] = {}
        self.failed: list[str] = []
        spec = self.spec = members[0].spec
        if spec["loop"] != LOOP or spec["stream"]["revision"] != STREAM:
            raise UserError("plan and job must run the same version of soteacher")
        views = ("revision", "turns", "views")
        augment = {k: v for k, v in spec["stream"].items() if k not in views}
        self.stream = Stream(
            data,
            parse(Augment, augment, "augment"),
            spec["recipe"]["batch"],
            spec["seed"],
            spec["role"],
            device,
            spec["stream"].get("turns", 1),
            image_change(spec),
        )
        self.teacher: FrozenTeacher | None = None
        self.teacher_features: FeatureShapes | None = None
        if members[0].teacher is not None:
            network = self._build(spec["teacher"])
            final = spec["teacher"]["recipe"]["epochs"]
            epochs = teacher_epochs(spec)
            self.teacher = FrozenTeacher(members[0].teacher, network, epochs, final)
            self.teacher_features = self._shapes(network)

    def run(self) -> list[str]:
        """Prepare what the teacher alone decides, then train; return the ids that failed."""
        terms: dict[str, list[LossTerm]] = {}
        for member in self.members:
            with self._apart(member):
                terms[member.id] = terms_of(member.spec)
        self._prepare(terms)
        learners = []
        for member in self.members:
            if member.id not in self.failed and member.id not in self.prevented:
                with self._apart(member):
                    self._describe(member.folder, member.spec, member)
                    learner = self.learner(member, terms[member.id])
                    learner.resume()
                    learners.append(learner)
        return self.failed + [learner.folder.id for learner in self._train(learners)]

    @contextmanager
    def _apart(self, member: Member) -> Iterator[None]:
        """What fails in here fails for this member alone."""
        try:
            yield
        except Exception as error:
            report_failure([member.folder], error)
            self.failed.append(member.id)

    def _train(self, learners: list[Learner]) -> list[Learner]:
        for learner in learners:
            at = learner.cursor
            number = learner.folder.begin_attempt(
                {"device": self.device, "from": [at.stage.name, at.epoch, at.step]}
            )
            if number > 1:
                log.info(
                    "%s: attempt %d, going on from %s epoch %d step %d",
                    learner.folder.id,
                    number,
                    at.stage.name.lower(),
                    at.epoch + 1,
                    at.step + 1,
                )
        teacher = self.teacher or (lambda batch: None)
        return run_pass(learners, self.stream, teacher, self.how.save_every, self._finish)

    def learner(self, member: Member, terms: list[LossTerm]) -> Learner:
        """A member's learner at its beginning; the store is neither read nor written."""
        spec = member.spec
        with seeded(key(spec["seed"], spec["role"], "initial weights")):
            network = self._build(spec)
        site = self._site(spec, self._shapes(network))
        modules: dict[str, nn.Module] = {}
        preparations: list[Preparation] = []
        for term in terms:
            term.start(site)
            name = type(term).__module__.rpartition(".")[2]
            with seeded(key(spec["seed"], spec["role"], f"initial modules of {name}")):
                modules |= self._placed(term.build(site))
                preparation = term.preparation(site, network, modules)
            if preparation is not None and preparation.student:
                self._placed(preparation.modules)
                preparations.append(preparation)
        if spec["role"] == "teacher":
            terms = [CrossEntropy(), *terms]
        return Learner(
            member.folder,
            parse(Recipe, spec["recipe"], "recipe"),
            self.stream,
            network,
            terms,
            modules,
            preparations[0] if preparations else None,
            self.evaluator,
        )

    def _prepare(self, terms: dict[str, list[LossTerm]]) -> None:
        """Train or fetch teacher-side preparations, and hand them to the terms that need them."""
        users: dict[str, list[tuple[Member, LossTerm]]] = {}
        folders: dict[str, RunFolder] = {}
        for member in self.members:
            for term in terms.get(member.id, ()):
                with self._apart(member):
                    if self._preparation(member.spec, term) is not None:
                        spec = preparation_spec(member.spec)
                        own = fingerprint(spec, self.data.sha256)
                        name = f"{member.teacher.id}/preparation/{'-'.join(spec['terms'])}"
                        folders[own] = RunFolder(self.how.store, own, name)
                        users.setdefault(own, []).append((member, term))
        broken: dict[str, Exception] = {}
        with ExitStack() as locks:
            missing = []
            for own, folder in sorted(folders.items()):  # the order keeps two jobs from a deadlock
                if not folder.finished():
                    locks.enter_context(folder.lock())
                if not folder.finished():
                    try:
                        missing.append(self._preparing(folder, *users[own][0]))
                    except Exception as error:
                        broken[own] = error
            for learner in self._train(missing):
                broken[learner.folder.fingerprint] = UserError("it failed, as said above")
        for own, folder in folders.items():
            for member, term in users[own]:
                with self._apart(member):
                    if own in broken:
                        raise UserError(f"its preparation, {folder.id}: {broken[own]}")
                    if folder.record()["status"] != "done":
                        self.prevented[member.id] = folder.id
                        continue
                    term.receive(self._received(folder, self._preparation(member.spec, term)))

    def _preparing(self, folder: RunFolder, member: Member, term: LossTerm) -> Learner:
        spec = preparation_spec(member.spec)
        self._describe(folder, spec, member)
        recipe = parse(Recipe, member.spec["recipe"], "recipe")
        preparation = self._preparation(member.spec, term)
        learner = Learner(folder, recipe, self.stream, None, [], {}, preparation, None)
        learner.resume()
        return learner

    def _preparation(self, spec: dict[str, Any], term: LossTerm) -> Preparation | None:
        site = self._site(spec, None)
        with seeded(key(spec["seed"], "preparation", "initial modules")):
            preparation = term.preparation(site, None, {})
        if preparation is None or preparation.student:
            return None
        self._placed(preparation.modules)
        return preparation

    def _received(self, folder: RunFolder, preparation: Preparation) -> dict[str, nn.Module]:
        modules = nn.ModuleDict(preparation.modules)
        modules.load_state_dict(load_file(folder.artifact("weights.safetensors")))
        modules.eval().requires_grad_(False)
        return preparation.modules

    def _describe(self, folder: RunFolder, spec: dict[str, Any], member: Member) -> None:
        facts = {"id": folder.id, "spec": spec, "data_sha256": self.data.sha256}
        folder.describe(facts | member.taught_by)

    def _finish(self, learner: Learner, divergence: Diverged | None) -> None:
        folder = learner.folder
        facts: dict[str, Any] = {
            **folder.description(),
            "seconds": round(learner.seconds, 3),
            "images_per_second": learner.images_per_second,
            "peak_memory_mb": devices.peak_memory_mb(self.device),
            "trained_on": devices.facts(self.device, self.spec.get("precision", "float32")),
            "code_sha256": code_sha256(),
            "soteacher": soteacher.__version__,
        }
        scored = [row["test_top1"] for row in learner.history if "test_top1" in row]
        if scored:
            facts |= {"last_test_top1": scored[-1], "best_test_top1": max(scored)}
        if divergence is not None:
            facts["diverged"] = divergence.where
            folder.finish("diverged", learner.histories(), facts)
        else:
            folder.finish("done", learner.artifacts(self.data), facts)
        log.info("%s: %s", folder.id, "diverged" if divergence else "finished")

    def _site(self, spec: dict[str, Any], student: FeatureShapes | None) -> Site:
        return Site(
            n_images=self.stream.n_images,
            n_classes=self.data.n_classes,
            seed=spec["seed"],
            role=spec["role"],
            epochs=0 if student is None else spec["recipe"]["epochs"],
            device=self.device,
            student_features=student,
            teacher_features=self.teacher_features,
            labels=self.stream.labels,
        )

    def _build(self, spec: dict[str, Any]) -> nn.Module:
        name = spec["network"]["name"]
        family, _ = catalogue.find(name)
        check_revision(family, spec["network"]["revision"], name)
        return build(name, self.data.n_classes, self.device)

    def _placed(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        for module in modules.values():
            module.to(device=self.device, memory_format=torch.channels_last)
        return modules

    @torch.no_grad()
    def _shapes(self, network: nn.Module) -> FeatureShapes:
        height, width = self.data.manifest["arrays"]["train_images"]["shape"][1:3]
        training = network.training
        features = network.eval()(torch.zeros(1, 3, height, width, device=self.device)).features
        network.train(training)
        return {name: tuple(value.shape[1:]) for name, value in features.items()}


@cache
def code_sha256() -> str:
    """One hash of this package's Python files: recorded, no part of what a run is."""
    package = Path(soteacher.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
