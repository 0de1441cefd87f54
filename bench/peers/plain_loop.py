"""A plain training loop, written from the description of RepDistiller's; no code is copied.

One network at a time; PIL transforms; NCHW layout, eager; the loss and the accuracy are read in
every step. The methods' own losses are soteacher's, so that the loops are compared and not the
losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.peers.images import PILImages, batches
from bench.peers.networks import contiguous
from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.recipe import Recipe
from soteacher.distillers.base import Distiller
from soteacher.models.output import Output

TeacherLoss = Callable[[Tensor, Tensor, nn.Module], Tensor]
"""Function from logits (B, K), rows of the training set (B,) and the network to a loss."""


class Mean:
    """The running mean of a number."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, value: float, count: int) -> None:
        """Add the mean of `count` items."""
        self.total += value * count
        self.count += count


class _Loop:
    """What the loops of teachers and students share."""

    def __init__(
        self, network: nn.Module, others: list[nn.Module], recipe: Recipe, images: PILImages
    ) -> None:
        self.network = contiguous(network)
        self.others = [contiguous(module) for module in others]
        parameters = [p for module in (network, *others) for p in module.parameters()]
        self.optimizer = torch.optim.SGD(
            parameters,
            lr=recipe.lr_at(0),
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.means = {name: Mean() for name in ("loss", "top1", "top5")}
        self._batches = batches(images, recipe.batch)
        for module in (network, *others):
            module.train()

    def enter(self) -> None:
        """Set torch up as such code does: kernels need not be deterministic."""
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)

    def steps(self, count: int) -> None:
        """Train for some steps."""
        for _ in range(count):
            images, labels, indices = next(self._batches)
            images = images.float()
            logits, loss = self.forward(images, labels, indices)
            top1, top5 = _accuracy(logits, labels)
            self.means["loss"].update(loss.item(), len(labels))
            self.means["top1"].update(top1.item(), len(labels))
            self.means["top5"].update(top5.item(), len(labels))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's logits and its loss."""
        raise NotImplementedError


class TeacherLoop(_Loop):
    """A teacher, trained with labels and other losses."""

    def __init__(
        self, network: nn.Module, losses: list[TeacherLoss], recipe: Recipe, images: PILImages
    ) -> None:
        super().__init__(network, [], recipe, images)
        self._losses = losses

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's logits and its loss."""
        logits = self.network(images).logits
        loss = functional.cross_entropy(logits, labels)
        for term in self._losses:
            loss = loss + term(logits, indices, self.network)
        return logits, loss


class StudentLoop(_Loop):
    """One student of a frozen teacher; the teacher predicts every batch for this student alone.

    distiller : soteacher's method, started; `modules` are its modules.
    """

    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module,
        distiller: Distiller,
        modules: dict[str, nn.Module],
        recipe: Recipe,
        images: PILImages,
    ) -> None:
        super().__init__(network, [*modules.values()], recipe, images)
        self.teacher, self.distiller = contiguous(teacher).eval(), distiller
        self._step = 0

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's logits and its loss."""
        settings = self.distiller
        output = self.network(images)
        with torch.no_grad():
            teacher: Output = self.teacher(images)
        batch = Batch(images, labels, indices, Cursor(Stage.MAIN, 0, self._step))
        self._step += 1
        loss = settings.ce * functional.cross_entropy(output.logits, labels)
        divergence = functional.kl_div(
            functional.log_softmax(output.logits / settings.temperature, dim=1),
            functional.softmax(teacher.logits / settings.temperature, dim=1),
            reduction="sum",
        )
        loss = loss + settings.kd * divergence * settings.temperature**2 / len(labels)
        for value in settings.method_losses(batch, output, teacher, self.network).values():
            loss = loss + value
        return output.logits, loss


def _accuracy(logits: Tensor, labels: Tensor) -> tuple[Any, ...]:
    """Return the percentages of labels among the first and the first five predictions."""
    with torch.no_grad():
        _, predicted = logits.topk(min(5, logits.shape[1]), dim=1)
        correct = predicted.t().eq(labels[None])
        return tuple(correct[:k].float().sum() * (100 / len(labels)) for k in (1, 5))
