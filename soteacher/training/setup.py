"""The setup of a pass: what its runs share, and their learners, built from their specs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn

from soteacher.core.cursor import Cursor
from soteacher.core.errors import UserError
from soteacher.core.random import key, seeded
from soteacher.core.registry import name_of
from soteacher.data.folds import folds_of
from soteacher.data.prepared import Prepared
from soteacher.data.settings import STREAM
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.study.spec_parts import NetworkSpec
from soteacher.study.specs import LOOP, RunSpec
from soteacher.terms import CrossEntropy, FeatureShapes, LossTerm, Preparation, RunContext
from soteacher.training.best_epoch import BestEpoch
from soteacher.training.cross_fit import CrossFitLearner, FoldNetworks
from soteacher.training.evaluate import Evaluator
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.teacher import FrozenTeacher, OracleTeacher, OutOfFoldTeacher, build, placed


class PassSetup:
    """The stream of batches and the teacher that the runs of one pass share."""

    def __init__(
        self, members: list[Member], data: Prepared, device: str, evaluator: Evaluator | None
    ) -> None:
        self.members, self.data, self.device = members, data, device
        self.evaluator = evaluator
        spec = members[0].spec
        if spec.loop != LOOP or spec.stream.revision != STREAM:
            raise UserError(
                "the plan was written by another version of soteacher: rerun snakemake with the "
                "version that is installed"
            )
        self.folds = None if spec.held_out is None else self._folds(spec)
        """The fold of each training image; None if the runs hold out no images."""
        self.stream = Stream(
            data,
            spec.stream.augment,
            spec.recipe.batch,
            spec.seed,
            spec.role,
            device,
            spec.stream.turns,
            spec.image_change(),
            self._rows_outside(spec.n_networks - 1),
        )
        self.teacher: FrozenTeacher | OracleTeacher | OutOfFoldTeacher | None = None
        self.teacher_features: FeatureShapes | None = None
        if members[0].teacher is not None:
            assert spec.teacher is not None
            if spec.teacher.is_oracle:
                self.teacher = OracleTeacher(members[0].teacher, device)
                self.teacher_features = {}
                return
            if spec.teacher.is_cross_fitted:
                each = [spec.teacher.network] * spec.teacher.n_networks
                self.teacher = OutOfFoldTeacher(
                    members[0].teacher,
                    FoldNetworks(map(self._build, each)),
                    self._folds(spec.teacher),
                    self.stream,
                    spec.precision,
                )
                self.teacher_features = {}
                return
            network = self._build(spec.teacher.network)
            final = spec.teacher.recipe.epochs
            self.teacher = FrozenTeacher(
                members[0].teacher, network, spec.teacher_epochs, final, spec.precision
            )
            self.teacher_features = self._shapes(network)

    def learner(self, member: Member, terms: list[LossTerm]) -> Learner:
        """Return a member's learner in its initial state; the store is neither read nor written."""
        spec = member.spec
        if not spec.is_cross_fitted:
            return self._learner(member, terms, self.stream)
        others = range(spec.n_networks - 1)
        learners = [
            self._learner(
                member,
                spec.loss_terms(),
                self.stream.of_part(self._rows_outside(fold), f" of fold {fold}"),
                f" of fold {fold}",
            )
            for fold in others
        ]
        learners.append(self._learner(member, terms, self.stream))
        assert self.folds is not None
        return CrossFitLearner(
            learners,
            self.folds,
            folder=member.folder,
            recipe=spec.recipe,
            stream=self.stream,
            preparation=None,
            evaluator=self.evaluator,
            precision=spec.precision,
        )

    def _learner(
        self, member: Member, terms: list[LossTerm], stream: Stream, part: str = ""
    ) -> Learner:
        """Return the learner of one network; `part` names its images, for its initial weights."""
        spec = member.spec
        with seeded(key(spec.seed, spec.role, f"initial weights{part}")):
            network = self._build(spec.network)
        context = self.context(spec, self._shapes(network))
        modules: dict[str, nn.Module] = {}
        preparations: list[Preparation] = []
        for term in terms:
            term.start(context)
            with seeded(key(spec.seed, spec.role, f"initial modules of {name_of(term)}")):
                modules |= self.placed(term.build(context))
                preparation = term.preparation(context, network, modules)
            if preparation is not None and preparation.student:
                self.placed(preparation.modules)
                preparations.append(preparation)
        if spec.role == "teacher" and not any(term.replaces_cross_entropy for term in terms):
            terms = [CrossEntropy(), *terms]
        best = None
        if spec.is_early_stopped and self.evaluator is not None:
            assert self.folds is not None
            held_out = np.flatnonzero(self.folds == 0)
            best = BestEpoch(network, self.evaluator, held_out, self.stream.labels)
        return Learner(
            member.folder,
            spec.recipe,
            stream,
            network,
            terms,
            modules,
            preparations[0] if preparations else None,
            self.evaluator,
            spec.precision,
            best,
            None if catalogue.is_shipped(spec.network.name) else self._in_step(spec, part),
        )

    def _in_step(
        self, spec: RunSpec, part: str
    ) -> Callable[[Cursor], AbstractContextManager[None]]:
        """Return the random numbers of a network from outside, such as those of its dropout.

        They are a function of the run's seed and role, of the network's part of the images and of
        the step, so a resumed run, or a run that shares its job with others, draws the same.
        """

        def seeded_step(cursor: Cursor) -> AbstractContextManager[None]:
            at = cursor.stage.name, cursor.epoch, cursor.step
            return seeded(key(spec.seed, spec.role, f"network{part}", *at), self.device)

        return seeded_step

    def context(self, spec: RunSpec, student: FeatureShapes | None) -> RunContext:
        """Return the context of a run's loss terms; without a student, that of a preparation."""
        return RunContext(
            n_images=len(self.stream.labels),
            n_classes=self.data.n_classes,
            seed=spec.seed,
            role=spec.role,
            epochs=0 if student is None else spec.recipe.epochs - spec.recipe.terms_from,
            device=self.device,
            student_features=student,
            teacher_features=self.teacher_features,
            labels=self.stream.labels,
            fine_tunes=spec.fine_tune is not None,
        )

    def preparation(self, spec: RunSpec, term: LossTerm) -> Preparation | None:
        """Return a term's preparation that depends on the teacher alone, untrained, or None."""
        context = self.context(spec, None)
        with seeded(key(spec.seed, "preparation", "initial modules")):
            preparation = term.preparation(context, None, {})
        if preparation is None or preparation.student:
            return None
        self.placed(preparation.modules)
        return preparation

    def placed(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Move modules to the device, in the memory format that all training uses."""
        for module in modules.values():
            placed(module, self.device)
        return modules

    def _folds(self, spec: RunSpec) -> np.ndarray:
        """Return the fold of each training image of a teacher that holds out images."""
        assert spec.held_out is not None
        labels = np.asarray(self.data.train_labels(spec.seed))
        return folds_of(labels, spec.held_out.folds, spec.seed)

    def _rows_outside(self, fold: int) -> np.ndarray:
        """Return the training images outside a fold; all, if no images are held out."""
        if self.folds is None:
            return np.arange(self.data.outline.n_train)
        return np.flatnonzero(self.folds != fold)

    def _build(self, network: NetworkSpec) -> nn.Module:
        network.check()
        outline = self.data.outline
        size = outline.height, outline.width
        return build(network.name, self.data.n_classes, size, self.device)

    @torch.no_grad()
    def _shapes(self, network: nn.Module) -> FeatureShapes:
        outline = self.data.outline
        training = network.training
        image = torch.zeros(1, 3, outline.height, outline.width, device=self.device)
        features = network.eval()(image).features
        network.train(training)
        return {name: tuple(value.shape[1:]) for name, value in features.items()}
