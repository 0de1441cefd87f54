"""What a study file says: data sets, recipes, pairs, methods, seeds and one block a table."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from soteacher.data.sources.base import Source
from soteacher.distillers.base import Distiller
from soteacher.regularizers.base import Regularizer
from soteacher.settings import Settings

NAME = r"[a-z0-9][a-z0-9_]*"
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
"""Lower-case letters, digits and underscores: names become parts of paths."""
PairName = Annotated[str, StringConstraints(pattern=rf"^{NAME}(/{NAME})?$")]
T = TypeVar("T")


def _unlike(values: tuple[T, ...]) -> tuple[T, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"expected each entry once, {value!r} is there twice")
    return values


Listed = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(_unlike)]
"""At least one entry, none of them twice."""
Seeds = Listed[Annotated[int, Field(ge=0)]]


def _number(value: Any) -> Any:
    """A number that YAML takes for words, as it does 1e-7."""
    if isinstance(value, bool):
        raise ValueError("expected a number or a text")
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Value = Annotated[float | str, BeforeValidator(_number)]


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


class Block(Settings):
    """One table or figure: which runs it asks for."""

    kind: str
    teachers: Listed[str]
    """Teacher methods."""
    seeds: Seeds | None = None
    """Where left out, the study's."""


class PairBlock(Block):
    """A block on pairs: teachers, and students distilled from them."""

    pairs: Literal["all"] | Listed[str] = "all"
    distillers: Listed[str]


class NetworkBlock(Block):
    """A block on teachers alone."""

    networks: Literal["all"] | Listed[str] = "all"
    """Teacher networks of the study's pairs."""


Accuracy = Literal["student.top1", "student.top5", "teacher.top1", "teacher.top5"]
Fidelity = Literal["student.agreement", "student.predictive_kl"]
Distance = Literal[
    "teacher.train_distance",
    "teacher.train_distance_l1",
    "teacher.test_distance",
    "teacher.test_distance_l1",
    "student.train_distance",
    "student.train_distance_l1",
    "student.test_distance",
    "student.test_distance_l1",
    "student.top1",
]


class AccuracyTable(PairBlock):
    """Test accuracy, a row a teacher method: Tables 1, 2 and 7 of the paper."""

    kind: Literal["accuracy"]
    columns: Listed[Accuracy] = ("student.top1", "teacher.top1")


class AgreementTable(PairBlock):
    """How well students match their teachers on test images: Table 4."""

    kind: Literal["agreement"]
    columns: Listed[Fidelity] = ("student.agreement",)


class DistanceTable(PairBlock):
    """How near predictions are to the true label distributions, where those are known: Eq. (2)."""

    kind: Literal["truth_distance"]
    columns: Listed[Distance] = (
        "teacher.train_distance",
        "teacher.test_distance",
        "teacher.train_distance_l1",
        "teacher.test_distance_l1",
        "student.top1",
    )


class CalibrationTable(NetworkBlock):
    """ECE and NLL of teachers before and after temperature scaling: Table 3."""

    kind: Literal["calibration"]


class OverheadTable(NetworkBlock):
    """Time of a training step, and memory, of teacher methods side by side: Section 5.2.

    No network is trained for it: steps of the methods take turns in one process.
    """

    kind: Literal["overhead"]
    teachers: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_unlike)]
    """Teacher methods: the first is what the others are compared with."""
    seeds: tuple[Annotated[int, Field(ge=0)]] | None = None
    """One seed; where left out, the study's first."""
    steps: int = Field(200, ge=1)
    """Steps of each method that count; a few go before them."""


class CheckpointsFigure(PairBlock):
    """Students distilled from a teacher's weights of every so many epochs: Figure 1."""

    kind: Literal["checkpoints"]
    every: int = Field(ge=1)
    """Epochs between the teacher's weights; the teacher's recipe must keep them."""


class ReliabilityFigure(NetworkBlock):
    """Confidence against accuracy of teachers, before and after temperature scaling."""

    kind: Literal["reliability"]


class CurvesFigure(PairBlock):
    """Accuracy of teachers and of their students over the epochs of their training."""

    kind: Literal["curves"]


class SweepFigure(PairBlock):
    """A teacher method with one setting changed at a time, and its students: Figure 2.

    `teachers` are methods to compare it with.
    """

    kind: Literal["sweep"]
    base: str
    """The teacher method whose settings are changed."""
    vary: Annotated[dict[str, Listed[Value]], Field(min_length=1)]
    """Values by setting of one of its regularizers, `<regularizer>.<setting>`. A `weight` of 0
    leaves the regularizer out. The base's own value need not be listed."""


TABLES: dict[str, type[Block]] = {
    "accuracy": AccuracyTable,
    "agreement": AgreementTable,
    "calibration": CalibrationTable,
    "overhead": OverheadTable,
    "truth_distance": DistanceTable,
}
FIGURES: dict[str, type[Block]] = {
    "checkpoints": CheckpointsFigure,
    "curves": CurvesFigure,
    "reliability": ReliabilityFigure,
    "sweep": SweepFigure,
}


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

    def seeds_of(self, block: Block) -> tuple[int, ...]:
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
