"""The checks of all penalties, and the precision of their computations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from soteacher.core.errors import UserError


def at_least_float32(values: Tensor) -> Tensor:
    """Return the values in float32 or more: sums of a network's weights overflow half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def checked_weight(weight: float) -> float:
    """Return the weight; raise `UserError` unless it is a finite number of 0 or more."""
    if not 0 <= weight < math.inf:
        raise UserError(f"expected a weight of 0 or more; got {weight}")
    return weight


def checked_count(what: str, number: int) -> int:
    """Return the number; raise `UserError` if it is below 1."""
    if number < 1:
        raise UserError(f"expected at least one of {what}; got {number}")
    return number


def check_rows(logits: Tensor, indices: Tensor, memory: Tensor) -> None:
    """Raise `UserError` unless logits, (B, K), and indices, (B,), fit the memory of images."""
    if logits.ndim != 2 or indices.shape != logits.shape[:1]:
        raise UserError(
            f"expected logits (B, K) and indices (B,); got {tuple(logits.shape)} and "
            f"{tuple(indices.shape)}"
        )
    if memory.ndim == 2 and memory.shape[1] != logits.shape[1]:
        raise UserError(
            f"expected logits of {memory.shape[1]} classes, the number that the penalty was "
            f"created with; got {logits.shape[1]}"
        )
    if memory.device != logits.device:
        raise UserError(
            f"the penalty is on {memory.device}, the logits are on {logits.device}: move the "
            "penalty once with penalty.to(device)"
        )
