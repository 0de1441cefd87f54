"""Time of a training step by teacher method: Section 5.2 of the paper, "Training overhead"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.regularizers.base import ImageChange
from soteacher.study.contents import Content
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import NetworkBlock
from soteacher.study.kinds.types import no_duplicates
from soteacher.study.runs import Run
from soteacher.study.schema import Components


@dataclass(frozen=True)
class TimedNetwork:
    """A teacher network whose methods are timed; none of these runs is trained for that."""

    network: str
    runs: tuple[tuple[str, Run], ...]
    """Method and run, the first is what the others are compared with; only loss terms differ."""

    def request(self) -> dict[str, Any]:
        """Return what is timed of the network, as JSON values."""
        runs = [
            {"method": method, "id": run.id, "spec": run.spec.to_json()}
            for method, run in self.runs
        ]
        return {"network": self.network, "data": self.runs[0][1].data, "runs": runs}


@dataclass(frozen=True)
class StepTimes(Content):
    """The content of a table of step times."""

    steps: int
    networks: tuple[TimedNetwork, ...]

    @property
    def timing_request(self) -> dict[str, Any]:
        """How many steps, and of each network its methods, in their order."""
        return {"steps": self.steps, "networks": [network.request() for network in self.networks]}

    def record(self) -> dict[str, Any]:
        """Return how many steps are timed of which methods, with the hashes of their specs."""
        methods = [
            [timed.network, method, run.short_sha256]
            for timed in self.networks
            for method, run in timed.runs
        ]
        return {"timed": {"steps": self.steps, "methods": methods}}


@register
class OverheadTable(NetworkBlock):
    """Time of a training step, and memory, of teacher methods side by side: Section 5.2.

    No network is trained for it: steps of the methods take turns in one process.
    """

    title: ClassVar = "Time of a training step, and memory, of teacher methods side by side"
    meaning: ClassVar = (
        "The methods take turns at the same batches, in one process on one device; each step is "
        "timed alone, without the making of the batch or the evaluation after an epoch. More time: "
        "how much longer a step took than the first method's on the same batch. The paper says "
        "about 5 % for SoTeacher's training, and does not name the device. The Lipschitz term "
        "costs the same whatever the batch and the images are, so it weighs most where steps are "
        "short. Kept: what a method holds besides network and optimiser, exactly (for consistency "
        "the mean predictions, N x K float32). Peak: the most that the GPU held in a step, "
        "training images included. Times are of the device named below alone, and come out a "
        "little different each time."
    )

    teachers: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(no_duplicates)]
    """Teacher methods: the first is what the others are compared with."""
    seeds: tuple[Annotated[int, Field(ge=0)]] | None = None
    """One seed; where left out, the study's first."""
    steps: int = Field(200, ge=1)
    """Steps of each method that count; a few go before them."""

    def check(self, study: Components, where: str) -> None:
        """The methods must be such as can take turns at the same batches."""
        super().check(study, where)
        for method in self.teachers:
            for name, part in study.teachers[method].regularizers.items():
                if isinstance(part, ImageChange):
                    raise UserError(
                        f"{where}.teachers: expected methods that train on the same batches, which "
                        f"such a table times; '{name}' of '{method}' changes the images"
                    )

    def content(self, expansion: Expansion, name: str) -> StepTimes:
        """Return the networks with what is timed of each; the plan's runs stay as they are."""
        study = expansion.study
        seed = (self.seeds or study.seeds)[0]
        found = [
            TimedNetwork(
                heading,
                tuple((m, expansion.teacher_run(pair, m, seed)) for m in self.teachers),
            )
            for heading, pair in self.pair_of_each(study).items()
        ]
        return StepTimes(self.steps, tuple(found))
