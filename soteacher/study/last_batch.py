"""The check that every batch of a run can be trained on, also an epoch's last one.

The last batch of an epoch is kept, however small it is. If it has one image and a map of the
network has one pixel, batch norm has a single value per channel, which torch refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.distillers.base import Distiller, MapSizes
from soteacher.models import catalogue
from soteacher.models.layers import Convolution
from soteacher.study.runs import Run
from soteacher.study.specs import RunSpec


def smallest_batch(n_train: int, batch: int) -> int:
    """Return the number of images in the smallest batch of an epoch."""
    return n_train % batch or min(n_train, batch)


def map_sizes(network: str, height: int, width: int) -> MapSizes:
    """Return the height and width of a network's map after each stage, without torch."""
    family, sizes = catalogue.find(network)
    layers = family.layers(*sizes)
    shrinks = sorted({layer.shrink for layer in layers if isinstance(layer, Convolution)})
    stages = [name for name in family.features if re.fullmatch(r"stage\d+", name)]
    return {
        stage: (-(-height // shrink), -(-width // shrink))
        for stage, shrink in zip(stages, shrinks[-len(stages) :], strict=True)
    }


def check_last_batches(runs: Iterable[Run], outlines: Mapping[str, Outline]) -> None:
    """Raise `UserError` if a run on one of these data sets could not train on its last batch.

    outlines : name of a data set to its sizes.
    """
    for run in runs:
        if run.data in outlines:
            check_last_batch(run.id, run.spec, outlines[run.data])


def check_last_batch(run_id: str, spec: RunSpec, outline: Outline) -> None:
    """Raise `UserError` if a batch norm of the run would get a single value per channel."""
    smallest = smallest_batch(outline.n_train, spec.recipe.batch)
    if not spec.is_trained:
        return
    if smallest * spec.stream.turns * spec.stream.views > 1:
        return
    student = map_sizes(spec.network.name, outline.height, outline.width)
    last = [*student.values()][-1]  # the smallest; networks have a batch norm on it
    if last == (1, 1):
        raise single_value(run_id, f"{spec.network.name} reduces", spec, outline)
    if spec.teacher is not None and not spec.teacher.is_oracle:
        teacher = map_sizes(spec.teacher.network.name, outline.height, outline.width)
        for name, term in spec.terms.items():
            part = term.part("distiller", name)
            assert issubclass(part, Distiller)
            if (1, 1) in part.norm_maps(student, teacher):
                what = f"{name} adapts to the maps of {spec.teacher.network.name}, which reduces"
                raise single_value(run_id, what, spec, outline)


def single_value(run_id: str, what: str, spec: RunSpec, outline: Outline) -> UserError:
    """Return the error for a batch norm with a single value: data, batch, network, what to do."""
    return UserError(
        f"{run_id}: the {outline.n_train} training images in batches of {spec.recipe.batch} leave "
        f"a last batch of one image, and {what} images of {outline.height}x{outline.width} "
        "pixels to a map of 1x1: batch norm cannot train on one value per channel; choose a "
        "`batch` of the recipe that leaves two or more images, another number of images, larger "
        "images or another network"
    )
