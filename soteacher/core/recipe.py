"""The training recipe of a network: epochs, batch size and learning rate; and fine-tuning."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from soteacher.core.settings import Settings


class FineTune(Settings):
    """Epochs after a teacher's recipe, the only ones with the losses of its regularizers."""

    epochs: int = Field(ge=1, le=100_000)
    """Number of epochs of fine-tuning, after those of the recipe."""
    lr: float = Field(gt=0)
    """Learning rate of the fine-tuning, which is constant."""

    @property
    def text(self) -> str:
        """What a reader sees of it."""
        return f"fine-tuned for {self.epochs} epochs at a learning rate of {self.lr:g}"


class Recipe(Settings):
    """The training recipe of a network: SGD with a learning rate that falls in steps."""

    epochs: int = Field(ge=1, le=100_000)
    """Number of training epochs."""
    batch: int = Field(ge=1)
    """Batch size: number of images per step. The last batch of an epoch may be smaller."""
    lr: float | dict[str, float]
    """Initial learning rate: one number, or a mapping from network to learning rate with the key
    `default` for all other networks."""
    decay_at: tuple[int, ...]
    """Numbers of epochs after which the learning rate is multiplied by `decay`."""
    decay: float = Field(0.1, gt=0, le=1)
    """Factor that multiplies the learning rate at each entry of `decay_at`."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(5e-4, ge=0)
    """Weight decay (L2) of every parameter, also of batch norms and biases."""
    keep_every: int = Field(0, ge=0)
    """Interval, in epochs, at which a teacher's weights are kept as a checkpoint (0: only the
    final weights are kept)."""
    test_every: int = Field(1, ge=1)
    """Interval, in epochs, at which the network is tested. Its checkpoints and its last epoch are
    always tested, and an early-stopped teacher after each epoch."""

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if list(self.decay_at) != sorted(set(self.decay_at)):
            raise ValueError("expected epochs in ascending order in `decay_at`")
        if any(not 0 < epoch < self.epochs for epoch in self.decay_at):
            raise ValueError(f"expected epochs between 1 and {self.epochs - 1} in `decay_at`")
        if isinstance(self.lr, dict) and "default" not in self.lr:
            raise ValueError("expected a `default` in `lr`, which is a mapping by network")
        if min(self.lr.values() if isinstance(self.lr, dict) else [self.lr]) <= 0:
            raise ValueError("expected a learning rate above 0 in `lr`")
        return self

    def is_tested(self, epoch: int) -> bool:
        """Return whether the network is tested after a 0-based epoch."""
        done = epoch + 1
        kept = self.keep_every > 0 and done % self.keep_every == 0
        return done % self.test_every == 0 or done == self.epochs or kept

    @property
    def tested_epochs(self) -> int:
        """The number of epochs after which the network is tested."""
        return sum(map(self.is_tested, range(self.epochs)))

    @property
    def terms_from(self) -> int:
        """The 0-based epoch from which the network has its loss terms."""
        return 0

    def for_network(self, network: str) -> Self:
        """Return the recipe with the learning rate of this network."""
        if not isinstance(self.lr, dict):
            return self
        return self.model_copy(update={"lr": self.lr.get(network, self.lr["default"])})

    def fine_tuned(self, fine_tune: FineTune) -> FineTunedRecipe:
        """Return the recipe with fine-tuning after it."""
        values = self.model_dump() | {"epochs": self.epochs + fine_tune.epochs}
        return FineTunedRecipe(**values, fine_tune=fine_tune)

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of a 0-based epoch."""
        assert isinstance(self.lr, float), "call for_network first"
        return self.lr * self.decay ** sum(epoch >= past for past in self.decay_at)


class FineTunedRecipe(Recipe):
    """A recipe, and fine-tuning after it: its last epochs have another learning rate.

    Momentum, batch size and weight decay stay the same.
    """

    epochs: int = Field(ge=2, le=200_000)
    """Number of all epochs, with those of fine-tuning."""
    fine_tune: FineTune
    """The last epochs."""

    @property
    def terms_from(self) -> int:
        """The 0-based epoch from which the network has its loss terms: the first of fine-tuning."""
        return self.epochs - self.fine_tune.epochs

    @property
    def before(self) -> Recipe:
        """The recipe before the fine-tuning."""
        return Recipe(**self.model_dump(exclude={"epochs", "fine_tune"}), epochs=self.terms_from)

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of a 0-based epoch."""
        return self.fine_tune.lr if epoch >= self.terms_from else super().lr_at(epoch)
