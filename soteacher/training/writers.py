"""Writers of a run's files: weights, arrays and its history."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from safetensors.torch import save
from torch import nn

Writer = Callable[[BinaryIO], object]
"""A function that writes the bytes of one file."""


def array_writer(array: np.ndarray) -> Writer:
    """Return a writer of an array in NumPy's format."""
    return lambda file: np.save(file, array)


def weights_writer(module: nn.Module) -> Writer:
    """Return a writer of a module's present weights in the safetensors format."""
    tensors = {name: value.contiguous().cpu() for name, value in module.state_dict().items()}
    return lambda file: file.write(save(tensors))


def history_text(history: list[dict[str, Any]]) -> str:
    """Return the finished epochs as CSV, one row per epoch; its columns are those of all rows."""
    first = ["stage", "epoch", "lr", "train_top1", "test_top1"]
    names = {name for row in history for name in row}
    columns = [name for name in first if name in names] + sorted(names - {*first})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def history_writer(history: list[dict[str, Any]]) -> Writer:
    """Return a writer of `history_text`."""
    text = history_text(history)
    return lambda file: file.write(text.encode())
