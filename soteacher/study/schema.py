"""What a study file says: data sets, recipes, pairs, methods, seeds and one block a table."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from soteacher.data.sources.base import Source
from soteacher.distillers.base import Column, Distiller
from soteacher.regularizers.base import Regularizer
from soteacher.settings import Settings
from soteacher.study.kinds import Block, PairBlock, RunsBlock, Seeds

NAME = r"[a-z0-9][a-z0-9_]*"
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
"""Lower-case letters, digits and underscores: names become parts of paths."""
PairName = Annotated[str, StringConstraints(pattern=rf"^{NAME}(/{NAME})?$")]


class Augment(Settings):
    """What is done to each training image, in this order."""

    rotation: float = Field(0.0, ge=0, le=180)
    """Degrees, at most, of a rotation about the centre, to either side, with zeros outside the
    image (the paper: 20 on Tiny-ImageNet)."""
    crop_padding: int = Field(0, ge=0)
    """Zeros around the image, in pixels, before a crop of its own size is taken at random."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""


class TrueLabels(Settings):
    """Known true label distributions: labels drawn from a stated confusion of look-alike classes.

    An image of class c gets p*(c) = 1 - confusion, and its class's nearest look-alikes (by the
    distance of the classes' mean training images) share the rest. Training labels are drawn from
    p* anew for each seed; test labels once.
    """

    confusion: float = Field(gt=0, lt=0.5)
    """Probability that a label is not the image's own class; below 0.5, so that argmax p* is."""
    split: tuple[float, ...] = (0.7, 0.3)
    """Shares of the confusion that go to the nearest look-alike, the second nearest, ..."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if abs(sum(self.split) - 1) > 1e-9 or min(self.split, default=0) <= 0:
            raise ValueError("expected positive shares in `split` that sum to 1")
        return self


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


class Pair(Settings):
    """A teacher network and the student network distilled from it."""

    data: Name
    teacher_recipe: Name
    student_recipe: Name
    teacher: str | None = None
    """Network; where left out, the first half of the pair's name."""
    student: str | None = None
    """Network; where left out, the second half of the pair's name."""


class Head(Settings):
    """The part of a study that stands alone; what names registered parts is read after it."""

    study: Name
    """The study's name: its results lie in results/<name>."""
    seeds: Seeds
    store: str = "results/store"
    """Folder of trained runs, shared by studies. No part of what a run is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU if there is one. Recorded, no part of what a run is."""
    allow_cpu: bool = False
    """Whether runs that take a CPU days are begun on one; where not, their job says so and ends."""
    threads: int = Field(1, ge=1)
    """CPU threads of each training process: results depend on it to the last bit. Recorded."""
    precision: Literal["float32", "tf32"] = "float32"
    """`tf32` lets CUDA shorten the factors of products; part of what a run is."""
    deterministic: bool = True
    """Only kernels that give the same bits every time."""
    jobs_per_gpu: int = Field(1, ge=1)
    """Training processes that may share a GPU of this machine, where no scheduler chooses it."""
    save_every: float = Field(60.0, ge=0)
    """Seconds between saved states of a training run: at most so much is lost to a kill."""
    runs_per_job: int = Field(4, ge=1)
    """Runs trained in one process; students of one teacher share its forward pass."""
    recipes: dict[Name, Recipe]
    pairs: dict[PairName, Pair] = Field(min_length=1)


class DataSet(Settings):
    """A source of images, and what is done to them."""

    source: Source
    augment: Augment = Augment()
    true_labels: TrueLabels | None = None


class TeacherMethod(Settings):
    """A way to train teachers: a set of regularizers, none for Standard."""

    regularizers: dict[str, Regularizer]
    table5: Column = "standard"
    """Which of the two weights of Table 5 of the paper the students of these teachers have."""


class Student(Settings):
    """A way to train students: one distiller."""

    method: str
    """The distiller's registered name."""
    distiller: Distiller


PARTS = ("data", "teachers", "distillers", "tables", "figures")
"""The keys of a study whose entries are read by what they name: a registered part, or a kind."""


class Study(Head):
    """A whole study, every name in it known and every value possible."""

    data: dict[str, DataSet]
    teachers: dict[str, TeacherMethod]
    distillers: dict[str, Student]
    tables: dict[str, Block]
    figures: dict[str, Block]

    @property
    def blocks(self) -> dict[str, Block]:
        """All tables and figures."""
        return self.tables | self.figures

    def pairs_of(self, block: PairBlock) -> tuple[str, ...]:
        """The pairs that a block means."""
        return tuple(self.pairs) if block.pairs == "all" else block.pairs

    def seeds_of(self, block: RunsBlock) -> tuple[int, ...]:
        """The seeds that a block means."""
        return self.seeds if block.seeds is None else block.seeds


def networks(name: str, pair: Pair) -> tuple[str, str]:
    """The teacher's and the student's network of a pair."""
    first, _, second = name.partition("/")
    return pair.teacher or first, pair.student or second


def regularizers(study: Study, method: str, data: str) -> dict[str, Regularizer]:
    """What a teacher method is on one data set of the study."""
    return {
        name: term.for_data(data, f"teachers.{method}.{name}")
        for name, term in study.teachers[method].regularizers.items()
    }
