"""What adds to the loss: the base of every regularizer (teacher side) and distiller (student side).

A term is a frozen set of settings (its fields, given in the study file) plus what it keeps while a
network trains (private attributes). It is made anew for every run, in this order: `start` once,
then `retarget` and `losses` once a training step, `end_epoch` once an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.random import generator, key
from soteacher.core.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.core.cursor import Cursor
    from soteacher.models.output import Output

FeatureShapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class RunContext:
    """What a loss term knows about the run it belongs to, to size its buffers and modules."""

    n_images: int
    n_classes: int
    epochs: int
    """Of the main stage; 0 for a preparation that depends on the teacher alone."""
    device: str
    student_features: FeatureShapes | None
    """Feature name to shape without the batch dimension; None where no student is trained."""
    teacher_features: FeatureShapes | None
    seed: int
    role: str
    labels: Tensor
    """int64, (n_images,), on the device: what the training images are labelled."""

    def random(self, purpose: str, at: Cursor) -> torch.Generator:
        """A generator on the device for one draw of a term; never draw from the global one.

        It depends on the run's seed and role, the purpose and the moment: a resumed run, or one in
        company, draws the same.
        """
        number = key(self.seed, self.role, purpose, at.stage.name, at.epoch, at.step)
        return generator(number, self.device)


@dataclass(frozen=True)
class Preparation:
    """A first stage of `epochs` epochs that trains `modules` before the main stage begins.

    With `student` the modules are (parts of) the student and its term, and the stage belongs to
    the student's run. Without it, they depend on the teacher alone: they are trained once, kept in
    the store, and come to every student of that teacher through `LossTerm.receive`, frozen.
    """

    epochs: int
    lr: Callable[[int], float] | None
    """Learning rate of a 0-based epoch of this stage; None: the one that the student's recipe
    begins with, which a stage that depends on the teacher alone cannot have."""
    modules: dict[str, nn.Module]
    """In train mode and optimised; everything else stays in eval mode."""
    loss: Callable[[Batch, Output | None, Output | None], dict[str, Tensor]]
    """(batch, student's output or None, teacher's output) to named, weighted losses."""
    student: bool


class LossTerm(Settings):
    """Adds named, weighted losses to the sum that a network is trained on."""

    _prepared: dict[str, nn.Module] = PrivateAttr(default_factory=dict)
    """Modules of a teacher-side preparation: trained, frozen, in eval mode."""
    in_paper: ClassVar[bool] = False
    """Whether the SoTeacher paper has results of it, with the settings that are the defaults here.
    A subclass does not inherit it."""
    display_name: ClassVar[str] = ""
    """How tables and figures print the name; empty: as study files do. Not inherited either."""
    revision: ClassVar[int] = 1
    """Part of every spec that uses the term: a new number where its numerical result changes."""
    turns: ClassVar[int] = 1
    """Views of each image to train on, turned by 0, 90, ... degrees: 1, or all 4. The images of a
    batch of B are then (turns * B, 3, H, W), and outputs of networks likewise: row v * B + i is
    view v of image i, the first B are upright. Part of the spec, and of what a pass shares."""

    def start(self, context: RunContext) -> None:
        """Make what is kept while training: buffers, on `context.device`."""

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Extra modules, made from torch's (seeded) global generator, trained with the network."""
        return {}

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation | None:
        """The stage that comes before the main one, if the method has one.

        Called with `network=None` where only the teacher is at hand: a preparation with
        `student=False` must then be returned as well.
        """
        return None

    def receive(self, prepared: dict[str, nn.Module]) -> None:
        """Take the modules that a teacher-side preparation has trained."""
        self._prepared = prepared

    def retarget(self, batch: Batch) -> Batch:
        """The batch with other `targets`, for the losses of this network alone."""
        return batch

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Named scalar losses of one training step, each already weighted; may update buffers."""
        raise NotImplementedError

    def end_epoch(self, epoch: int) -> None:
        """Called after the last step of each 0-based epoch of the main stage."""

    def buffers(self) -> dict[str, Tensor]:
        """What must be saved, by name, for an exact resume; restored in place."""
        return {}


def soft_targets(batch: Batch, n_classes: int) -> Tensor:
    """A batch's targets, or its labels as such: (B, K), in the images' dtype."""
    if batch.targets is not None:
        return batch.targets
    return torch.nn.functional.one_hot(batch.labels, n_classes).to(batch.images.dtype)


def cross_entropy(batch: Batch, output: Output) -> Tensor:
    """Cross-entropy of the first view of each image with its label, or its soft target.

    Returns Tensor, (): mean over B of - sum over K of target * log softmax(logits).
    """
    target = batch.labels if batch.targets is None else batch.targets
    return torch.nn.functional.cross_entropy(output.logits[: len(batch.labels)], target)


class CrossEntropy(LossTerm):
    """Cross-entropy with the training labels, or a batch's targets: Eq. (1) of the paper."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return `cross_entropy`."""
        return {"ce": cross_entropy(batch, output)}
