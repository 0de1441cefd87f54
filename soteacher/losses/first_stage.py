"""The first stage of a method of two stages, for a training loop of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Stage
from soteacher.core.errors import UserError
from soteacher.models.output import Output
from soteacher.penalties.checks import check_tensor
from soteacher.terms import Preparation

Read = Callable[[Any, Any, Tensor, Tensor | None, int, Stage], tuple[Batch, Output | None, Output]]
"""Function that checks what a stage is called with."""


class FirstStage(nn.Module):
    """The loss of a first stage; its parameters are what the stage trains.

    Get it from `DistillationLoss.first_stage`. Train its parameters for `epochs` epochs with SGD,
    at the learning rate `lr(epoch)`, and then call `finish`. Everything that the stage does not
    train stays in eval mode: call `student.eval()` first, then `stage.train()`.
    """

    def __init__(self, preparation: Preparation, read: Read, finished: Callable[[], None]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(preparation.modules)
        self.trained.requires_grad_(True)
        self.epochs = preparation.epochs
        """Number of epochs of this stage."""
        self.of_student = preparation.student
        """Whether it trains layers of the student; if not, the teacher's output is enough."""
        self._preparation, self._read, self._finished = preparation, read, finished
        self.train()

    def lr(self, epoch: int) -> float | None:
        """Return the learning rate of a 0-based epoch; None: the initial one of your student."""
        return None if self._preparation.lr is None else self._preparation.lr(epoch)

    def forward(
        self,
        student: Any,
        teacher: Any,
        labels: Tensor,
        indices: Tensor | None = None,
        epoch: int = 0,
    ) -> Tensor:
        """Return the loss of the stage, (); the arguments are those of `DistillationLoss`.

        student : the student's output; None if the stage depends on the teacher alone.
        """
        if self.of_student and student is None:
            raise UserError("this first stage trains the student: pass the student's output")
        check_tensor("labels (B,)", labels)
        with torch.autocast(labels.device.type, enabled=False):
            batch, output, target = self._read(
                student, teacher, labels, indices, epoch, Stage.PREPARE
            )
            return reduce(add, self._preparation.loss(batch, output, target).values())

    def finish(self) -> None:
        """End the stage: freeze what was trained on the teacher alone, and let the loss use it."""
        if not self.of_student:
            self.eval()
            self.trained.requires_grad_(False)
        self._finished()
