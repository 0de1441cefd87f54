"""What a study file says: data sets, recipes, pairs, methods and seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from soteacher.core.recipe import Recipe
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.data.settings import Augment, TrueLabels
from soteacher.data.sources.base import Source
from soteacher.data.spec import DataSpec
from soteacher.distillers.base import Column, Distiller
from soteacher.regularizers.base import Regularizer
from soteacher.study.kinds.types import Seeds

NAME = r"[a-z0-9][a-z0-9_]*"
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
"""Lower-case letters, digits and underscores: names become parts of paths."""
PairName = Annotated[str, StringConstraints(pattern=rf"^{NAME}(/{NAME})?$")]


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
    methods: tuple[str, ...] = ()
    """Python files of your own distillers and regularizers, by their paths from the working
    directory. Each registers one, named after the file; its content is part of what a run is."""
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

    @property
    def data_spec(self) -> DataSpec:
        """What the prepared images of the data set are."""
        return DataSpec.of(name_of(self.source), self.source, self.true_labels)


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


class Components(Head):
    """A study without its tables and figures: everything that these can name."""

    data: dict[str, DataSet]
    teachers: dict[str, TeacherMethod]
    distillers: dict[str, Student]


def networks(name: str, pair: Pair) -> tuple[str, str]:
    """The teacher's and the student's network of a pair."""
    first, _, second = name.partition("/")
    return pair.teacher or first, pair.student or second


def regularizers(study: Components, method: str, data: str) -> dict[str, Regularizer]:
    """What a teacher method is on one data set of the study."""
    return {
        name: term.for_data(data, f"teachers.{method}.{name}")
        for name, term in study.teachers[method].regularizers.items()
    }
