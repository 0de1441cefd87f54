"""The rows of all processes (ranks) of a distributed training, put together as one batch.

A penalty with a memory then gives every rank the loss and the memory of one process that trains on
the joined batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from soteacher.core.errors import UserError


def several() -> bool:
    """Return whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def joined(epoch: int, indices: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Return indices and values of the rows of all ranks, in the order of the ranks.

    An image that several ranks have, because a sampler fills up their last batches, counts once,
    for the first of them. Gradients flow to the rows of this rank only. Each rank may have another
    number of rows, also 0.

    indices : int64, (B,).   values : (B, ...), with the same further dimensions on all ranks.
    Raises UserError on all ranks if they are in different epochs.
    """
    sizes = _sizes(epoch, indices)
    everything = [_of_all(part, sizes) for part in (indices, *values)]
    first = _first(everything[0])
    return tuple(part[first] for part in everything)


def _sizes(epoch: int, indices: Tensor) -> list[int]:
    """Return the number of rows of each rank."""
    here = torch.tensor([len(indices), epoch], device=indices.device)
    found = [torch.empty_like(here) for _ in range(dist.get_world_size())]
    dist.all_gather(found, here)
    sizes, epochs = torch.stack(found).T.tolist()
    if len({*epochs}) > 1:
        raise UserError(
            f"the processes are in different epochs ({', '.join(map(str, epochs))}, in the order "
            "of their ranks): expected the same number of steps per epoch in all of them; use a "
            "DistributedSampler, or call the penalty with 0 rows where a process has none left"
        )
    return [int(size) for size in sizes]


def _of_all(own: Tensor, sizes: list[int]) -> Tensor:
    """Return the rows of all ranks; a collective needs equal shapes, so they are filled up."""
    filled = own.detach().new_zeros(max(sizes), *own.shape[1:])
    filled[: len(own)] = own.detach()
    found = [torch.empty_like(filled) for _ in sizes]
    dist.all_gather(found, filled)
    parts = [part[:size] for part, size in zip(found, sizes, strict=True)]
    parts[dist.get_rank()] = own
    return torch.cat(parts)


def _first(indices: Tensor) -> Tensor:
    """Return a mask of the rows that are the first with their index."""
    ordered, order = indices.sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(new).index_copy(0, order, new)


def averaged(loss: Tensor) -> Tensor:
    """Return the same loss, with its gradient times the number of ranks.

    DistributedDataParallel takes the mean of the ranks' gradients. The gradient of a joined loss is
    split among the ranks, each of which has that of its own rows, so their sum is needed.
    """
    constant = loss.detach()
    return constant + dist.get_world_size() * (loss - constant)
