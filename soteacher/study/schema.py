"""The content of a study file: data sets, recipes, pairs, methods and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from soteacher.core.places import Expanded, expanded
from soteacher.core.recipe import FineTune, Recipe
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.data.settings import Augment, CountsFile, TrueLabels
from soteacher.data.sources.base import Source
from soteacher.data.spec import COUNTS, DataSpec
from soteacher.distillers.base import Column, Distiller
from soteacher.regularizers.base import Regularizer
from soteacher.study.kinds.types import Seeds
from soteacher.study.spec_parts import HeldOut

NAME = r"[a-z0-9][a-z0-9_]*"
MOST_IN_NAME = 150
"""Maximum number of characters of a name. Names of files have at most 255 bytes, and ours add up to
50 to a name of the study: `time_steps-<name>-<hash>.json`, and a prefix while they are written."""
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$", max_length=MOST_IN_NAME)]
"""Names have lower-case letters, digits and underscores, because they become parts of paths."""
PairName = Annotated[
    str, StringConstraints(pattern=rf"^{NAME}(/{NAME})?$", max_length=2 * MOST_IN_NAME)
]


class Pair(Settings):
    """A teacher network, and the student network that is distilled from it."""

    data: Name
    """Name of the data set on which both networks are trained, a key of `data`."""
    teacher_recipe: Name
    """Name of the teacher's training recipe, a key of `recipes`."""
    student_recipe: Name
    """Name of the student's training recipe, a key of `recipes`."""
    teacher: str | None = None
    """Network of the teacher. If it is not given, it is the first half of the pair's name."""
    student: str | None = None
    """Network of the student. If it is not given, it is the second half of the pair's name."""


class Head(Settings):
    """A study: data sets, recipes, methods, and the tables and figures to make."""

    study: Name
    """Name of the study; its results are written to results/<name>."""
    seeds: Seeds
    """Random seeds; every network is trained once per seed."""
    methods: tuple[Expanded, ...] = ()
    """Python files with your own distillers and regularizers, as paths relative to the working
    directory; `~` and environment variables are replaced by their values. Each file registers one
    method under the name of the file. The content of a file is part of the spec of every run that
    uses the method."""
    networks: tuple[Expanded, ...] = ()
    """Python files with your own networks, as paths relative to the working directory; `~` and
    environment variables are replaced by their values. Each file defines one network under the
    name of the file. The content of a file is part of the spec of every run that uses the
    network."""
    store: Expanded = "results/store"
    """Folder of the trained runs, which several studies may share; `~` and environment variables
    are replaced by their values. It is not part of a run's spec."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the training; `auto` uses the GPU if the machine has one. The device is recorded,
    but it is not part of a run's spec."""
    allow_cpu: bool = False
    """Whether to start runs on a CPU that take many hours there. If it is false, a job with such
    runs ends with an error."""
    threads: int = Field(1, ge=1)
    """Number of CPU threads of each training process. The last bits of results depend on it, and
    it is recorded."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Precision of the networks' products and convolutions in training. `tf32` lets a GPU round
    their factors; a CPU computes in float32. `bfloat16` computes the layers of the networks in
    bfloat16, and losses, statistics of batch norms and weights in float32; it needs a GPU from
    Ampere on, or a CPU with avx512_bf16 or amx_bf16. It is part of a run's spec."""
    deterministic: bool = True
    """Whether to use only deterministic kernels, which give bit-identical results every time."""
    jobs_per_gpu: int = Field(1, ge=1)
    """Number of training processes that may share a GPU, of those that this machine has or that
    CUDA_VISIBLE_DEVICES names; not if a scheduler assigns a single GPU to each job."""
    save_every: float = Field(60.0, ge=0)
    """Most seconds between saved states of a run; a kill loses at most this much training."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """What runs are logged with while they train, in results/<study>: TensorBoard, or Weights &
    Biases (offline unless WANDB_MODE says otherwise). Their packages must be installed. They
    are not part of a run's spec."""
    runs_per_job: int = Field(4, ge=1)
    """Largest number of runs that one process trains together; students of one teacher share its
    forward pass."""
    recipes: dict[Name, Recipe]
    """Training recipes, by name."""
    pairs: dict[PairName, Pair] = Field(min_length=1)
    """Pairs of a teacher and a student network, by name, usually <teacher>/<student>."""


class DataSet(Settings):
    """A source of images, and their augmentation and labels."""

    source: Source
    augment: Augment = Augment()
    true_labels: TrueLabels | CountsFile | None = None

    @property
    def data_spec(self) -> DataSpec:
        """The spec of the prepared data set."""
        return DataSpec.of(name_of(self.source), self.source, self.true_labels)

    @property
    def location(self) -> dict[str, Any]:
        """Where the images and the counts of their labels are stored; no spec contains it."""
        counts = {}
        if isinstance(self.true_labels, CountsFile):
            counts = {COUNTS: self.true_labels.counts}
        return self.source.location() | counts


TENTHS = 10
"""Number of folds of an early-stopped teacher, of which one is held out."""


def _file(path: str) -> str:
    if not path:
        raise ValueError("expected the path of a file")
    return expanded(path)


WeightsFile = Annotated[str, AfterValidator(_file)]
WeightsFiles = Annotated[dict[str, WeightsFile], Field(min_length=1)]


class TeacherMethod(Settings):
    """A teacher method: regularizers (none for Standard), an oracle, or weights from elsewhere."""

    regularizers: Mapping[str, Regularizer]
    """Regularizers of the teacher's training, by name."""
    table5: Column = "standard"
    """Column of the paper's Table 5 that gives the distillation weights of these teachers'
    students."""
    weights: WeightsFile | WeightsFiles = ""
    """File with the weights of a teacher that was trained elsewhere, as a path relative to the
    working directory, or a mapping from the teacher networks to their files; `~` and environment
    variables are replaced by their values. Nothing is trained, all seeds have the same teacher, and
    there are no regularizers. The content of the file is part of the specs of the teacher and its
    students."""
    oracle: bool = False
    """Whether the teacher knows the true label distributions: its predictions are these, and
    nothing is trained. It needs a data set with `true_labels`, and has no regularizers."""
    early_stop: bool = False
    """Whether a tenth of the training images is held out: the teacher is trained on the others, and
    its weights are those of the epoch with the least negative log-likelihood on the tenth."""
    cross_fit: int | None = Field(None, ge=2)
    """Number of folds of the training images, with one network per fold, which is trained on the
    images of the other folds. Students learn each image from the network that did not see it. The
    prediction of a test image is the mean of the networks' probabilities."""
    fine_tune: FineTune | None = None
    """Fine-tuning: the teacher is first trained as Standard's, by its recipe and without the
    regularizers, and then for further epochs with them, at a constant learning rate."""

    @property
    def is_trained(self) -> bool:
        """Whether the teacher is trained here: an oracle and an imported teacher are not."""
        return not self.oracle and not self.weights

    @property
    def held_out(self) -> HeldOut | None:
        """The images that a network of the teacher is not trained on, and their use."""
        if self.cross_fit is not None:
            return HeldOut("cross_fit", self.cross_fit)
        return HeldOut("early_stop", TENTHS) if self.early_stop else None


OWN_KEYS = tuple(name for name in TeacherMethod.model_fields if name != "regularizers")
"""The keys of a teacher method that are not regularizers."""


class Student(Settings):
    """A method to train students: one distiller."""

    method: str
    """Registered name of the distiller."""
    distiller: Distiller


PARTS = ("data", "teachers", "distillers", "tables", "figures")
"""The keys of a study with entries that name a registered part or a kind of block."""


class Components(Head):
    """A study without its tables and figures: everything that these can name."""

    data: Mapping[str, DataSet]
    teachers: Mapping[str, TeacherMethod]
    distillers: Mapping[str, Student]


def networks(name: str, pair: Pair) -> tuple[str, str]:
    """Return the teacher's and the student's network of a pair."""
    first, _, second = name.partition("/")
    return pair.teacher or first, pair.student or second


def regularizers(study: Components, method: str, data: str) -> dict[str, Regularizer]:
    """Return the regularizers of a teacher method on one data set of the study."""
    return {
        name: term.for_data(data, f"teachers.{method}.{name}")
        for name, term in study.teachers[method].regularizers.items()
    }
