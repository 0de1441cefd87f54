"""Loss terms: the base class of all regularizers (of teachers) and distillers (of students).

A loss term is a frozen set of settings (its fields, given in the study file) plus its state during
training (private attributes). Every run creates a new instance and calls `start` once, `retarget`
and `losses` in each training step, and `end_epoch` after each epoch. The terms of a fine-tuned
teacher take part from the first epoch of the fine-tuning on, which is epoch 0 to them.
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
    """Number of epochs of the main stage, or of fine-tuning if `fine_tunes`; 0 for a preparation
    that depends on the teacher alone."""
    device: str
    student_features: FeatureShapes | None
    """Feature name to shape without the batch dimension; None if no student is trained."""
    teacher_features: FeatureShapes | None
    seed: int
    role: str
    labels: Tensor
    """int64, (n_images,), on the device: the labels of the training images."""
    fine_tunes: bool = False
    """Whether the network is trained without the term before the term's first epoch. The epochs
    that the term sees count from that one."""

    def random(self, purpose: str, cursor: Cursor) -> torch.Generator:
        """Return a generator on the device for one draw; never draw from the global generator.

        The draw depends on the run's seed and role, the purpose and the cursor. So a resumed run,
        or a run that shares its job with others, draws the same numbers.
        """
        number = key(self.seed, self.role, purpose, cursor.stage.name, cursor.epoch, cursor.step)
        return generator(number, self.device)


@dataclass(frozen=True)
class Preparation:
    """A first stage of `epochs` epochs that trains `modules` before the main stage.

    If `student` is true, the modules are (parts of) the student and its loss term, and the stage
    belongs to the student's run. If it is false, they depend on the teacher alone: they are trained
    once, kept in the store, and passed, frozen, to every student of that teacher through
    `LossTerm.receive`.
    """

    epochs: int
    lr: Callable[[int], float] | None
    """Learning rate of a 0-based epoch of this stage. None: the initial learning rate of the
    student's recipe; a stage that depends on the teacher alone must not use None."""
    modules: dict[str, nn.Module]
    """The modules that are trained, in train mode; everything else stays in eval mode."""
    loss: Callable[[Batch, Output | None, Output | None], dict[str, Tensor]]
    """Function from (batch, student's output or None, teacher's output) to named, weighted
    losses."""
    student: bool


class LossTerm(Settings):
    """A loss term: named, weighted losses that are added to the training loss of a network."""

    _prepared: dict[str, nn.Module] = PrivateAttr(default_factory=dict)
    """Modules of a preparation that depends on the teacher alone: trained, frozen, in eval mode."""
    kind: ClassVar[str] = ""
    """`regularizer` or `distiller`; the base class of each states it."""
    in_paper: ClassVar[bool] = False
    """Whether the SoTeacher paper has results of it, with the settings that are the defaults here.
    A subclass does not inherit it."""
    display_name: ClassVar[str] = ""
    """How tables and figures print the name; empty: as study files do. Not inherited either."""
    revision: ClassVar[int] = 1
    """Part of every spec that uses the term. Increase it if the numerical result changes."""
    of_weights: ClassVar[bool] = False
    """Whether its losses depend on the network's weights and buffers alone, not on its outputs. The
    gradients of such losses are added to the others for all weights at once."""
    replaces_cross_entropy: ClassVar[bool] = False
    """Whether its losses take the place of the cross-entropy in a teacher's loss."""
    operations: ClassVar[int] = 100
    """ATen operations that the term adds to a training step, its gradient's included and views left
    out. `soteacher plan` models the time on a GPU with it."""
    prepares_from_teacher: ClassVar[bool] = False
    """Whether `preparation` returns a stage that depends on the teacher alone. `soteacher plan`
    counts that stage once per teacher."""
    takes_train_logits: ClassVar[bool] = False
    """Whether `take_train_logits` is called. `soteacher plan` counts the additional predictions."""
    turns: ClassVar[int] = 1
    """Number of views of each image, turned by 0, 90, ... degrees: 1 or 4. The images of a batch
    are (turns * B, 3, H, W), and so are the rows of outputs: row v * B + i is view v of image i,
    and the first B rows are upright. `turns` is part of the spec; only runs with the same `turns`
    share a pass over the data."""

    def start(self, context: RunContext) -> None:
        """Create the state that is kept during training: buffers, on `context.device`."""

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return extra modules that are trained with the network.

        They are initialised from torch's global generator, which is seeded for this call.
        """
        return {}

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation | None:
        """Return the stage before the main stage, or None if the method has none.

        `network` is None if only the teacher is available; a preparation with `student=False` must
        be returned in that case, too.
        """
        return None

    def receive(self, prepared: dict[str, nn.Module]) -> None:
        """Receive the trained modules of a preparation that depends on the teacher alone."""
        self._prepared = prepared

    def retarget(self, batch: Batch) -> Batch:
        """Return the batch with changed `targets`, for the losses of this network alone."""
        return batch

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the named, weighted scalar losses of one training step; may update buffers."""
        raise NotImplementedError

    def end_epoch(self, epoch: int) -> None:
        """Do what is due after the last step of a 0-based epoch of the main stage."""

    def take_train_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Receive the network's predictions of the images that it is trained on.

        It is called after `end_epoch`, but not after the last epoch, if `takes_train_logits`; if
        the term fine-tunes a network, also before its first epoch. The network predicts in eval
        mode, without augmentation.

        logits : float32, (n, K).   labels : int64, (n,).
        """

    def buffers(self) -> dict[str, Tensor]:
        """Return the tensors, by name, that a checkpoint must hold; a resume restores them."""
        return {}


def soft_targets(batch: Batch, n_classes: int) -> Tensor:
    """Return the batch's targets, or its labels as one-hot rows: (B, K), in the images' dtype."""
    if batch.targets is not None:
        return batch.targets
    return torch.nn.functional.one_hot(batch.labels, n_classes).to(batch.images.dtype)


def cross_entropy(batch: Batch, output: Output) -> Tensor:
    """Return the cross-entropy of the first view of each image with its label or soft target.

    Returns Tensor, (): mean over B of - sum over K of target * log softmax(logits).
    """
    target = batch.labels if batch.targets is None else batch.targets
    return torch.nn.functional.cross_entropy(output.logits[: len(batch.labels)], target)


class CrossEntropy(LossTerm):
    """Cross-entropy with the training labels, or with the batch's targets: Eq. (1) of the paper."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return `cross_entropy`."""
        return {"ce": cross_entropy(batch, output)}
