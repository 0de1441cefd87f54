"""The check that every batch of a run can be trained on, also an epoch's last one.

The last batch of an epoch is kept, however small it is. If it has one image and a map of the
network has one pixel, batch norm has a single value per channel, which torch refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.distillers.base import Distiller
from soteacher.models import catalogue
from soteacher.study.runs import Run
from soteacher.study.specs import RunSpec


def smallest_batch(n_train: int, batch: int) -> int:
    """Return the number of images in the smallest batch of an epoch."""
    return n_train % batch or min(n_train, batch)


def check_last_batches(runs: Iterable[Run], outlines: Mapping[str, Outline]) -> None:
    """Raise `UserError` if a run on one of these data sets could not train on its last batch.

    outlines : name of a data set to its sizes.
    """
    for run in runs:
        if run.data in outlines:
            check_last_batch(run.id, run.spec, outlines[run.data])


def check_last_batch(run_id: str, spec: RunSpec, outline: Outline) -> None:
    """Raise `UserError` if a batch norm of the run would get a single value per channel."""
    if not spec.is_trained:
        return
    if spec.held_out is not None and spec.held_out.folds > outline.n_train:
        raise UserError(
            f"{run_id}: {spec.held_out.folds} folds of {outline.n_train} training images would "
            "leave some of them empty; expected at most as many folds as images"
        )
    counts = spec.trained_images(outline.n_train)
    smallest = min(smallest_batch(count, spec.recipe.batch) for count in counts)
    if smallest * spec.stream.turns * spec.stream.views > 1:
        return
    sizes = outline.of_network
    if not catalogue.facts(spec.network.name, *sizes).one_image:
        raise single_value(run_id, f"{spec.network.name} reduces", spec, outline)
    if spec.teacher is not None and not spec.teacher.is_oracle:
        student = catalogue.facts(spec.network.name, *sizes).maps
        teacher = catalogue.facts(spec.teacher.network.name, *sizes).maps
        for name, term in spec.terms.items():
            part = term.part("distiller", name)
            assert issubclass(part, Distiller)
            if (1, 1) in part.norm_maps(student, teacher):
                what = f"{name} adapts to the maps of {spec.teacher.network.name}, which reduces"
                raise single_value(run_id, what, spec, outline)


def single_value(run_id: str, what: str, spec: RunSpec, outline: Outline) -> UserError:
    """Return the error for a batch norm with a single value: data, batch, network, what to do."""
    batch = spec.recipe.batch
    counts = spec.trained_images(outline.n_train)
    trained = min(counts, key=lambda count: smallest_batch(count, batch))
    return UserError(
        f"{run_id}: the {trained} training images in batches of {batch} leave "
        f"a last batch of one image, and {what} images of {outline.height}x{outline.width} "
        "pixels to a map of 1x1: batch norm cannot train on one value per channel; choose a "
        "`batch` of the recipe that leaves two or more images, another number of images, larger "
        "images or another network"
    )
