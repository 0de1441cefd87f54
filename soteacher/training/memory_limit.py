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
    needed, n_runs = max((training_bytes(specs, outline), len(specs)) for specs in passes)
    if device == "cuda":
        import torch

        left, where = torch.cuda.mem_get_info()[0], "the GPU has"
        needed -= PROCESS
    else:
        left, where = memory.available(), "this process can use"
    if needed > left:
        error = UserError if n_runs == 1 else OutOfMemory
        raise error(
            f"training on {outline.n_train + outline.n_test:,} images of "
            f"{outline.width}x{outline.height} pixels needs about {needed / GB:,.1f} GB of memory, "
            f"but {where} {left / GB:,.1f} GB: use smaller or fewer images, a smaller `batch`, "
            "fewer processes at once, or a machine with more memory"
        )
