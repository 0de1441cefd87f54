"""How a network is trained: epochs, batches and the learning rate."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from soteacher.core.settings import Settings


class Recipe(Settings):
    """How a network is trained: SGD with a learning rate that falls in steps."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Images a step; the last, short batch of an epoch is kept."""
    lr: float | dict[str, float]
    """Learning rate at the start; may be a map by network, with `default` for all others."""
    decay_at: tuple[int, ...]
    """After each of these numbers of epochs the learning rate is multiplied by `decay`."""
    decay: float = Field(0.1, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    """On every parameter, batch norm's and biases too."""
    keep_every: int = Field(0, ge=0)
    """A teacher's weights are kept after every so many epochs (0: only the last)."""

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if list(self.decay_at) != sorted(set(self.decay_at)):
            raise ValueError("expected rising epochs in `decay_at`")
        if any(not 0 < epoch < self.epochs for epoch in self.decay_at):
            raise ValueError(f"expected epochs between 1 and {self.epochs - 1} in `decay_at`")
        if isinstance(self.lr, dict) and "default" not in self.lr:
            raise ValueError("expected a `default` in `lr`, which is a map by network")
        if min(self.lr.values() if isinstance(self.lr, dict) else [self.lr]) <= 0:
            raise ValueError("expected a learning rate above 0 in `lr`")
        return self

    def for_network(self, network: str) -> Self:
        """The recipe with the one learning rate that this network gets."""
        if not isinstance(self.lr, dict):
            return self
        return self.model_copy(update={"lr": self.lr.get(network, self.lr["default"])})

    def lr_at(self, epoch: int) -> float:
        """Learning rate of a 0-based epoch."""
        assert isinstance(self.lr, float), "a recipe is trained with after for_network"
        return self.lr * self.decay ** sum(epoch >= past for past in self.decay_at)
