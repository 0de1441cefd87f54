"""The check, before training begins, that a job's images and networks fit into memory."""

from __future__ import annotations

from collections.abc import Iterable

from soteacher.core import memory
from soteacher.core.errors import OutOfMemory, UserError
from soteacher.core.memory import GB
from soteacher.data.sources.base import Outline
from soteacher.study.cost import PROCESS, training_bytes
from soteacher.study.specs import RunSpec


def check_passes(passes: Iterable[list[RunSpec]], outline: Outline, device: str) -> None:
    """Raise `UserError` if a pass needs more memory than this process can use on its device.

    It is `OutOfMemory` if the pass has several runs, which may fit one by one.
    """
    specs = max(passes, key=lambda specs: (training_bytes(specs, outline), len(specs)))
    elsewhere = 0
    if device == "cuda":
        import torch

        left, where = torch.cuda.mem_get_info()[0], "the GPU has"
        elsewhere = PROCESS
    else:
        left, where = memory.available(), "this process can use"

    def needed(sizes: Outline) -> int:
        return training_bytes(specs, sizes) - elsewhere

    if needed(outline) > left:
        stored = outline.largest_stored_size(needed, left)
        smaller = f"store images of {stored}x{stored} pixels, the largest that fit, or "
        error = UserError if len(specs) == 1 else OutOfMemory
        raise error(
            f"training on {outline.n_train + outline.n_test:,} images of {outline.text} pixels "
            f"needs about {needed(outline) / GB:,.1f} GB of memory, but {where} "
            f"{left / GB:,.1f} GB: {smaller if stored else ''}use smaller or fewer images, a "
            "smaller `batch`, fewer processes at once, or a machine with more memory"
        )
