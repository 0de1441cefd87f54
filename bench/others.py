"""The other sides: the same runs, trained by a plain loop or by torchdistill."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.ours import OurPass
from bench.peers.images import PILImages
from bench.peers.plain_loop import StudentLoop, TeacherLoop, TeacherLoss
from bench.peers.soteacher_losses import Consistency, lipschitz
from bench.study import BenchStudy
from soteacher.distillers.base import Distiller
from soteacher.study.specs import RunSpec
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.teacher import FrozenTeacher

if TYPE_CHECKING:
    from bench.peers.torchdistill_box import Box


class InTurn:
    """Several loops that do each step one after the other: runs that share nothing."""

    def __init__(self, loops: list[StudentLoop]) -> None:
        self.loops = loops

    def enter(self) -> None:
        """Set torch up as the loops do."""
        self.loops[0].enter()

    def steps(self, count: int) -> None:
        """Train every network for some steps."""
        for _ in range(count):
            for loop in self.loops:
                loop.steps(1)


def plain_students(members: list[Member], study: BenchStudy) -> InTurn:
    """Return a plain loop for each student of one teacher."""
    ours = OurPass(members, study.data)
    teacher = _teacher(ours)  # the loops share its weights in memory, and nothing else
    images = _images(study, members[0].spec, with_index=True)
    return InTurn([_student_loop(learner, teacher, images) for learner in ours.learners])


def plain_teacher(member: Member, study: BenchStudy) -> TeacherLoop:
    """Return a plain loop for a Standard teacher or for SoTeacher."""
    spec = member.spec
    losses: list[TeacherLoss] = []
    for name, term in spec.terms.items():
        losses.append(_teacher_loss(name, dict(term.settings), spec, study))
    [learner] = OurPass([member], study.data).learners
    assert learner.network is not None
    return TeacherLoop(learner.network, losses, spec.recipe, _images(study, spec, with_index=True))


def torchdistill_student(member: Member, study: BenchStudy) -> Box:
    """Return torchdistill's box for a student by knowledge distillation alone."""
    from bench.peers.torchdistill_box import Box

    ours = OurPass([member], study.data)
    [learner] = ours.learners
    [distiller] = learner.terms
    assert isinstance(distiller, Distiller) and learner.network is not None
    assert distiller.ce + distiller.kd == 1, "KDLoss has one weight for both losses"
    images = _images(study, member.spec, with_index=False)
    return Box(
        learner.network,
        _teacher(ours),
        member.spec.recipe,
        images,
        distiller.ce,
        distiller.temperature,
    )


def torchdistill_teacher(member: Member, study: BenchStudy) -> Box:
    """Return torchdistill's box for a Standard teacher."""
    from bench.peers.torchdistill_box import Box

    [learner] = OurPass([member], study.data).learners
    assert learner.network is not None
    images = _images(study, member.spec, with_index=False)
    return Box(learner.network, None, member.spec.recipe, images)


def _student_loop(learner: Learner, teacher: nn.Module, images: PILImages) -> StudentLoop:
    """Return the plain loop of a student, with the network and the method of its learner."""
    [distiller] = learner.terms
    assert isinstance(distiller, Distiller) and learner.network is not None
    return StudentLoop(learner.network, teacher, distiller, learner.modules, learner.recipe, images)


def _teacher(ours: OurPass) -> nn.Module:
    """Return the frozen teacher of a pass, with its weights."""
    assert isinstance(ours.setup.teacher, FrozenTeacher)
    with torch.no_grad():
        ours.setup.teacher(ours.setup.stream.batch(ours.learners[0].cursor))  # this loads them
    return ours.setup.teacher.network


def _teacher_loss(
    name: str, settings: dict[str, Any], spec: RunSpec, study: BenchStudy
) -> TeacherLoss:
    if name == "lipschitz":
        return partial(_lipschitz, settings.get("weight", 1e-5))
    assert name == "consistency", f"no direct form of {name}"
    weight = settings.get("weight", 1.0) * 2 / spec.recipe.epochs  # the ramp in the second epoch
    return Consistency(weight, study.data.outline.n_train, study.data.n_classes)


def _lipschitz(weight: float, logits: Tensor, indices: Tensor, network: nn.Module) -> Tensor:
    return lipschitz(weight, network)


def _images(study: BenchStudy, spec: RunSpec, with_index: bool) -> PILImages:
    augment = spec.stream.augment
    return PILImages(study.data, augment.crop_padding, augment.flip, with_index)
