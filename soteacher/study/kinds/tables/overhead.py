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
from soteacher.study.kinds.base import NetworkBlock, check_trained
from soteacher.study.kinds.types import no_duplicates
from soteacher.study.runs import Run
from soteacher.study.schema import Components


@dataclass(frozen=True)
class TimedNetwork:
    """A teacher network and the methods to time with it; the runs are not trained."""

    network: str
    runs: tuple[tuple[str, Run], ...]
    """Method and run. The first method is the reference; the runs differ only in loss terms."""

    def request(self) -> dict[str, Any]:
        """Return the runs to time with the network, as JSON values."""
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
        """The number of steps, and the methods of each network in their order."""
        return {"steps": self.steps, "networks": [network.request() for network in self.networks]}

    def record(self) -> dict[str, Any]:
        """Return the number of steps, and the timed methods with the hashes of their specs."""
        methods = [
            [timed.network, method, run.short_sha256]
            for timed in self.networks
            for method, run in timed.runs
        ]
        return {"timed": {"steps": self.steps, "methods": methods}}


@register
class OverheadTable(NetworkBlock):
    """Time of a training step, and memory, of teacher methods side by side: Section 5.2.

    It trains no network: the methods take turns, step by step, in one process.
    """

    title: ClassVar = "Time of a training step, and memory, of teacher methods side by side"
    meaning: ClassVar = (
        "The methods take turns on the same batches, in one process on one device. Each step is "
        "timed separately, without the preparation of the batch and the evaluation after an epoch. "
        "More time: how much longer a step takes than the first method's step on the same batch. "
        "The paper reports about 5 % for SoTeacher's training, and does not name the device. The "
        "cost of the Lipschitz term does not depend on the batch or the images, so its share is "
        "largest where steps are short. Kept: the exact memory of a method besides network and "
        "optimiser (for consistency the mean predictions, N x K float32). Peak: the highest GPU "
        "memory during a step, including the training images. Times are valid only for the device "
        "named below, and vary a little between measurements."
    )

    teachers: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(no_duplicates)]
    """Teacher methods to time. The first one is the reference for the others."""
    seeds: tuple[Annotated[int, Field(ge=0)]] | None = None
    """Seed of the timed runs, a list of one; the default is the first seed of the study."""
    steps: int = Field(200, ge=1)
    """Number of timed steps of each method; a few warm-up steps are not counted."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the methods can take turns on the same batches."""
        super().check(study, where)
        check_trained(self.teachers, study, where)
        for method in self.teachers:
            if study.teachers[method].fine_tune is not None:
                raise UserError(
                    f"{where}.teachers: expected methods with the same loss in all epochs, whose "
                    f"steps the table times; '{method}' is fine-tuned: name a method without its "
                    "`fine_tune` instead"
                )
            for name, part in study.teachers[method].regularizers.items():
                if isinstance(part, ImageChange):
                    raise UserError(
                        f"{where}.teachers: expected methods that train on the same batches, which "
                        f"the table times; '{name}' of '{method}' changes the images"
                    )

    def content(self, expansion: Expansion, name: str) -> StepTimes:
        """Return the networks with the methods to time; no runs are added to the plan."""
        study = expansion.study
        seed = (self.seeds or study.seeds)[0]
        timed = [
            TimedNetwork(
                heading,
                tuple((m, expansion.teacher_run(pair, m, seed)) for m in self.teachers),
            )
            for heading, pair in self.pair_of_each(study).items()
        ]
        return StepTimes(self.steps, tuple(timed))
