"""The checks of all penalties, and the precision of their computations."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from soteacher.core.errors import UserError


def at_least_float32(values: Tensor) -> Tensor:
    """Return the values in float32 or more: sums of a network's weights overflow half precision."""
    if values.dtype in (torch.float32, torch.float64):
        return values
    return values.to(torch.promote_types(values.dtype, torch.float32))


def checked_weight(weight: float) -> float:
    """Return the weight; raise `UserError` unless it is a finite number of 0 or more."""
    if not isinstance(weight, Real) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise UserError(f"expected a weight of 0 or more; got {weight!r}")
    return weight


def checked_count(what: str, number: int) -> int:
    """Return the number; raise `UserError` unless it is a whole number of 1 or more."""
    count = _whole(number)
    if count is None:
        raise UserError(f"expected a whole number of {what}; got {number!r}")
    if count < 1:
        raise UserError(f"expected at least one of {what}; got {number}")
    return count


def checked_epoch(epoch: int, epochs: int | None = None) -> int:
    """Return the epoch; raise `UserError` unless it is a whole number of 0 to `epochs` - 1."""
    number = _whole(epoch)
    if number is None:
        raise UserError(f"expected the epoch as a whole number, counted from 0; got {epoch!r}")
    if epochs is None and number < 0:
        raise UserError(f"epoch {number}: expected 0 or more, because epochs count from 0")
    if epochs is not None and not 0 <= number < epochs:
        raise UserError(
            f"epoch {number} of {epochs}: expected 0 to {epochs - 1}, because epochs count from "
            "0; create the penalty with the total number of epochs"
        )
    return number


def _whole(number: Any) -> int | None:
    """Return a whole number of any type (also NumPy's) as an int, or None for anything else."""
    try:
        return None if isinstance(number, bool) else operator.index(number)
    except (TypeError, RuntimeError):  # torch raises either for a tensor that is no whole number
        return None


def check_network(network: nn.Module) -> None:
    """Raise `UserError` unless this is a network with initialised parameters."""
    if not isinstance(network, nn.Module):
        raise UserError(
            f"expected the network, an nn.Module; got {_named(network)}: a penalty of weights does "
            "not take logits or parameters"
        )
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise UserError(
                f"the parameter '{name}' is not initialised: pass one batch through the network "
                "before you compute its penalty"
            )


def checked_rows(logits: Tensor, indices: Tensor, memory: Tensor) -> Tensor:
    """Return the indices as int64; raise `UserError` unless logits and indices fit the memory.

    logits : (B, K).   indices : whole numbers, (B,), different rows of the memory.

    On a GPU this waits for the device once, because the values of the indices are checked.
    """
    check_tensor("logits (B, K)", logits)
    check_tensor("indices (B,)", indices)
    if logits.ndim != 2 or indices.shape != logits.shape[:1]:
        raise UserError(
            f"expected logits (B, K) and indices (B,); got {tuple(logits.shape)} and "
            f"{tuple(indices.shape)}"
        )
    if not logits.is_floating_point():
        raise UserError(
            f"expected logits of floating-point numbers; got {logits.dtype}: pass the network's "
            "output, not classes"
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
    check_whole("indices", indices)
    check_device("indices", indices, memory)
    rows = indices.long()
    if len(rows):
        _check_values(rows, len(memory))
    return rows


def checked_labels(labels: Tensor, logits: Tensor, memory: Tensor) -> Tensor:
    """Return the labels as int64; raise `UserError` unless each is a class of the logits' row.

    labels : whole numbers, (B,).   logits : (B, K).

    On a GPU this waits for the device once, because the values of the labels are checked.
    """
    check_tensor("labels (B,)", labels)
    if labels.shape != logits.shape[:1]:
        raise UserError(f"expected labels (B,), one per row; got {tuple(labels.shape)}")
    check_whole("labels", labels)
    check_device("labels", labels, memory)
    classes, n_classes = labels.long(), logits.shape[1]
    if len(classes):
        lowest, highest = torch.stack(classes.aminmax()).tolist()
        if lowest < 0 or highest >= n_classes:
            raise UserError(
                f"expected labels from 0 to {n_classes - 1}, the classes of the logits; got "
                f"{lowest if lowest < 0 else highest}"
            )
    return classes


def check_some(rows: Tensor) -> None:
    """Raise `UserError` if there are no rows: their mean loss is not defined."""
    if not len(rows):
        raise UserError("expected a batch of at least one image; got 0 rows")


def check_tensor(what: str, values: Any) -> None:
    """Raise `UserError` unless the values are a dense tensor."""
    if not isinstance(values, Tensor):
        raise UserError(
            f"expected {what} as a tensor; got {_named(values)}: convert it with torch.as_tensor"
        )
    if values.layout != torch.strided:
        raise UserError(
            f"expected {what} as a dense tensor; got the layout {values.layout}: convert it with "
            "to_dense()"
        )


def check_whole(what: str, values: Tensor) -> None:
    """Raise `UserError` unless a tensor has whole numbers; a mask of booleans has none."""
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise UserError(f"expected {what} of whole numbers (torch.int64); got {values.dtype}")


def check_device(what: str, values: Tensor, memory: Tensor) -> None:
    """Raise `UserError` unless the values are on the device of the penalty's memory."""
    if values.device != memory.device:
        raise UserError(
            f"the penalty is on {memory.device}, the {what} are on {values.device}: move the "
            f"{what} in each step with {what}.to(device)"
        )


def _check_values(rows: Tensor, n_images: int) -> None:
    ordered = rows.sort().values
    same = (ordered[1:] == ordered[:-1]).any()
    lowest, highest, repeated = torch.stack([ordered[0], ordered[-1], same.long()]).tolist()
    if lowest < 0 or highest >= n_images:
        raise UserError(
            f"expected indices from 0 to {n_images - 1}, the rows of the {n_images} training "
            f"images that the penalty was created with; got {lowest if lowest < 0 else highest}"
        )
    if repeated:
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise UserError(
            f"expected different images in a batch; got the index {int(twice)} "
            f"{int((rows == twice).sum())} times: sample without replacement, and give each image "
            "its own row of the training set"
        )


def _named(value: Any) -> str:
    return f"an object of type {type(value).__name__}"
