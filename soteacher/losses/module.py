"""The module of a distiller: its loss, its trained layers and its memory."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.settings import parse
from soteacher.distillers.base import Column, Distiller
from soteacher.losses.first_stage import FirstStage
from soteacher.losses.loop import (
    LoopContext,
    NoNetwork,
    batch_of,
    check_place,
    check_range,
    checked_outputs,
    lacking,
    shapes_of,
)
from soteacher.models.output import Output
from soteacher.penalties.checks import check_tensor, check_whole, checked_epoch
from soteacher.terms import LossTerm, Preparation

NO_NETWORK: Any = NoNetwork()


class DistillationLoss(nn.Module):
    """ce * cross-entropy + kd * divergence + the losses of a method: a mean over the batch, ().

    student, teacher : one output of each network, or feature name to shape, (C, H, W) or (C,). A
        method that compares features needs them: for the sizes of its layers, and to check later
        outputs.
    labels : int64, (N,): the labels of the training set, for methods that contrast its images.
    n_classes, epochs : for methods of your own that use them.
    seed : of the numbers that the method draws in each step. Layers are initialised from torch's
        global generator.
    table5 : `standard` or `soteacher`: the column of Table 5 that gives the default weights.
    settings : those of the method in study files, for example `weight`, `temperature`, `ce`, `kd`.

    Raises `UserError` for unknown settings, and for features that the method cannot compare.
    """

    method: ClassVar[type[Distiller]]
    """The distiller, as studies use it."""

    def __init__(
        self,
        student: Any = None,
        teacher: Any = None,
        *,
        labels: Tensor | None = None,
        n_classes: int | None = None,
        epochs: int | None = None,
        seed: int = 0,
        table5: Column = "standard",
        **settings: Any,
    ) -> None:
        super().__init__()
        if table5 not in ("standard", "soteacher"):
            raise UserError(f"table5: expected 'standard' or 'soteacher'; got {table5!r}")
        self.distiller = parse(self.method, settings, self.method.__name__).for_teacher(table5)
        self._shapes = shapes_of(student, "student"), shapes_of(teacher, "teacher")
        if labels is not None:
            check_tensor("labels (N,)", labels)
            check_whole("labels", labels)
            if labels.ndim != 1 or not len(labels):
                raise UserError(
                    "expected labels (N,), one class for each training image; got "
                    f"{tuple(labels.shape)}"
                )
            if n_classes is not None:
                check_range("labels", labels, n_classes, "classes")
            labels = labels.detach().to("cpu", torch.int64, copy=True)
        given: dict[str, Any] = {"labels": labels, "n_classes": n_classes, "epochs": epochs}
        given |= {"n_images": None if labels is None else len(labels)}
        given |= {"student_features": self._shapes[0], "teacher_features": self._shapes[1]}
        self._context = LoopContext(**given, device="cpu", seed=seed, role="student")
        self.distiller.start(self._context)
        self.layers = nn.ModuleDict(self.distiller.build(self._context))
        """Layers that are trained with the student."""
        self.prepared = nn.ModuleDict()
        """Layers of a first stage that depends on the teacher alone; frozen in the main stage."""
        self._ready = True
        preparation = self._prepare(None)
        if preparation is not None:
            self._receive(preparation, ready=False)
        self._tensors = self.distiller.buffers()
        self.memory = nn.Module()
        """What the method remembers from step to step, as buffers."""
        for name, tensor in self._tensors.items():
            self.memory.register_buffer(name, tensor)
        self.memory.register_buffer("labels", labels, persistent=False)
        self._epoch = self._step = 0

    @property
    def turns(self) -> int:
        """Number of views of each image that the method needs: 1, or 4 turned by 0, 90, ... °."""
        return self.method.turns

    def forward(
        self,
        student: Any,
        teacher: Any,
        labels: Tensor,
        indices: Tensor | None = None,
        epoch: int = 0,
    ) -> Tensor:
        """Return the sum of all weighted losses, (): at least float32, also under autocast.

        student, teacher : logits, (B, K), or a pair of logits and feature name to (B, C, H, W) or
            (B, C). No gradient flows to the teacher. With `turns` views, rows are (turns * B).
        labels : int64, (B,).
        indices : int64, (B,): rows of the training set, for methods with a memory.
        epoch : the 0-based epoch. Steps are counted in each epoch, in train mode.
        """
        return reduce(add, self.named(student, teacher, labels, indices, epoch).values())

    def named(
        self,
        student: Any,
        teacher: Any,
        labels: Tensor,
        indices: Tensor | None = None,
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name, for a log; it is one step, like a call."""
        if not self._ready:
            raise UserError(
                f"{self.method.__name__} needs its first stage: train loss.first_stage() and call "
                "its finish(), or load a state_dict that was saved after it"
            )
        check_tensor("labels (B,)", labels)
        with torch.autocast(labels.device.type, enabled=False):
            batch, output, target = self._read(student, teacher, labels, indices, epoch, Stage.MAIN)
            assert output is not None
            before = [] if self.training else [value.clone() for value in self._tensors.values()]
            try:
                batch = self.distiller.retarget(batch)
                losses = self.distiller.losses(batch, output, target, NO_NETWORK)
            except KeyError as error:
                raise lacking(error, self.method.__name__, output, target) from error
            for value, kept in zip(self._tensors.values(), before, strict=False):
                value.copy_(kept)
        self._step += self.training
        return losses

    def first_stage(self, student: nn.Module | None = None) -> FirstStage | None:
        """Return the method's first stage, or None if it has none.

        student : the network of the student, for a stage that trains it. Its method `trunk` must
            return the layers that compute its features, without the classifier.
        """
        if self.prepared:
            preparation = self._prepare(None)
            assert preparation is not None
            # a new one, because the functions of the one before belong to its modules
            for name, module in preparation.modules.items():
                module.load_state_dict(self.prepared[name].state_dict())
                like = next(self.prepared[name].parameters())
                module.to(like.device, like.dtype)
            self._receive(preparation, ready=False)
            return FirstStage(preparation, self._read, self._finished)
        if self.method.preparation is LossTerm.preparation:
            return None
        if student is None or not callable(getattr(student, "trunk", None)):
            raise UserError(
                f"the first stage of {self.method.__name__} trains the student: pass "
                "first_stage(student), a network with a method trunk() that returns the layers "
                "that compute its features"
            )
        preparation = self._prepare(student)
        if preparation is None:
            return None
        device = next(student.parameters()).device
        for module in preparation.modules.values():
            module.to(device)
        return FirstStage(preparation, self._read, self._finished)

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Return which 1-based epoch's teacher a student learns from in a 0-based epoch.

        epochs : of the student.   last : the teacher's last epoch, which most methods use always.
        """
        return self.distiller.teacher_epoch(epoch, epochs, last)

    def train(self, mode: bool = True) -> DistillationLoss:
        """Set train mode, or eval mode, in which no memory changes; `prepared` stays in eval."""
        super().train(mode)
        self.prepared.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """Return epoch, step, and whether the first stage is done, (3,), for `state_dict`."""
        return torch.tensor([self._epoch, self._step, int(self._ready)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self._epoch, self._step, ready = state.tolist()
        self._ready = bool(ready)

    def _prepare(self, student: nn.Module | None) -> Preparation | None:
        return self.distiller.preparation(self._context, student, dict(self.layers))

    def _receive(self, preparation: Preparation, ready: bool) -> None:
        for name, module in preparation.modules.items():
            self.prepared[name] = module.eval().requires_grad_(False)
        self.distiller.receive(preparation.modules)
        self._ready = ready

    def _finished(self) -> None:
        self._ready = True

    def _read(
        self,
        student: Any,
        teacher: Any,
        labels: Tensor,
        indices: Tensor | None,
        epoch: int,
        stage: Stage,
    ) -> tuple[Batch, Output | None, Output]:
        """Check what a step is called with, and bring the distiller's state to the outputs."""
        output, target = checked_outputs(student, teacher, labels, self.turns, self._shapes)
        self._place(target.logits)
        checked_epoch(epoch)
        if stage == Stage.MAIN and self.training and epoch != self._epoch:
            self.distiller.end_epoch(self._epoch)
            self._epoch, self._step = epoch, 0
        cursor = Cursor(stage, epoch, self._step)
        batch, known = batch_of(labels, indices, cursor), self.memory.get_buffer("labels")
        if indices is not None and known is not None:
            check_range("indices", indices, len(known), "images")
        return batch, output, target

    def _place(self, logits: Tensor) -> None:
        """Let the distiller use the memory where `to`, `load_state_dict` or a copy has put it."""
        check_place(logits, [*self.parameters()], [*self.memory.buffers()])
        object.__setattr__(self._context, "device", str(logits.device))
        object.__setattr__(self._context, "labels", self.memory.get_buffer("labels"))
        if all(self.memory.get_buffer(name) is value for name, value in self._tensors.items()):
            return
        self.distiller.start(self._context)  # as a study resumes: a new memory, then the values
        self._tensors = self.distiller.buffers()
        for name, value in self._tensors.items():
            value.copy_(self.memory.get_buffer(name))
            self.memory.register_buffer(name, value)
