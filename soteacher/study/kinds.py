"""The kinds of tables and figures that a study may ask for, and what each can be told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from soteacher.core.settings import Settings

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


class Block(Settings):
    """One table or figure."""

    kind: str
    teachers: Listed[str]
    """Teacher methods."""


class RunsBlock(Block):
    """A block on runs, and so on seeds."""

    seeds: Seeds | None = None
    """Where left out, the study's."""


class PairBlock(RunsBlock):
    """A block on pairs: teachers, and students distilled from them."""

    pairs: Literal["all"] | Listed[str] = "all"
    distillers: Listed[str]


class NetworkBlock(RunsBlock):
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


class DistillerTable(PairBlock):
    """Students' test accuracy, a row a distiller, a column a pair and teacher method: Table 6."""

    kind: Literal["distillers"]


class WeightTable(Block):
    """The weights of distillers' own losses, a column a teacher method: Table 5.

    No network is trained for it.
    """

    kind: Literal["weights"]
    distillers: Listed[str]


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
    "distillers": DistillerTable,
    "overhead": OverheadTable,
    "truth_distance": DistanceTable,
    "weights": WeightTable,
}
FIGURES: dict[str, type[Block]] = {
    "checkpoints": CheckpointsFigure,
    "curves": CurvesFigure,
    "reliability": ReliabilityFigure,
    "sweep": SweepFigure,
}
