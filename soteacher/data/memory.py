"""The memory that the preparation of a data set takes, estimated from the sizes of the data set."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from soteacher.core import memory
from soteacher.core.errors import UserError
from soteacher.core.memory import GB
from soteacher.data.settings import KnownLabels
from soteacher.data.sources.base import Outline, Source

PROCESS = 80_000_000
"""Bytes of a process that has imported what a preparation needs."""


def preparing_bytes(source: Source, true_labels: KnownLabels | None, outline: Outline) -> int:
    """Return the peak memory of a preparation: a process, all images, labels and distributions.

    For true labels, the mean image of each class is needed, and distributions while labels are
    drawn from them. One decoded image is not counted.
    """
    n, pixels = outline.n_train + outline.n_test, outline.stored_pixels * 3
    needed = PROCESS + n * pixels * source.copies + n * 8
    if outline.stored_size is not None:
        needed += n * outline.height * outline.width * 3
    if true_labels is not None:
        means = 3 * outline.n_classes * pixels * 8  # the differences to the others, and squares
        needed += means + (n + outline.n_test) * outline.n_classes * 8
    return needed


def check_preparation(name: str, source: Source, true_labels: KnownLabels | None) -> None:
    """Raise `UserError` if a preparation needs more memory than this process can use."""
    outline, left = source.outline(), memory.available()
    if (needed := preparing_bytes(source, true_labels, outline)) > left:
        raise UserError(
            f"preparing {name} needs about {needed / GB:,.1f} GB of memory for "
            f"{outline.n_train + outline.n_test:,} images of {outline.text} pixels, but this "
            f"process can use {left / GB:,.1f} GB: "
            f"{what_fits(source, true_labels, outline, left)}"
        )


def what_fits(source: Source, true_labels: KnownLabels | None, outline: Outline, left: int) -> str:
    """Return what to do about a data set that needs more memory than `left`."""
    others = "use fewer images, or a machine with more memory"
    if "size" not in type(source).model_fields:
        return others

    def needed(sizes: Outline) -> int:
        return preparing_bytes(source, true_labels, sizes)

    def needed_of_plain(side: int) -> int:
        return needed(replace(outline, height=side, width=side, stored_size=None))

    largest, without = outline.largest_stored_size(needed, left), ""
    if largest is None:
        sides = range(1, max(outline.height, outline.width))
        largest = bisect_right(sides, left, key=needed_of_plain)
        without = "" if outline.stored_size is None else " without `input_size`"
    return (
        f"set `size: {largest}`{without}, the largest that fits, or {others}" if largest else others
    )
