"""The batch of one training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soteacher.core.cursor import Cursor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The images of one training step, and their labels or targets."""

    images: Tensor
    """float32, (B, 3, H, W), augmented and normalised. The shape is (turns * B, 3, H, W) if a
    method uses turned views: first all upright ones, then all turned by 90 degrees, and so on. It
    is (views * B, 3, H, W) in the same order if a regularizer makes several views of each image."""
    labels: Tensor
    """int64, (B,)"""
    indices: Tensor
    """int64, (B,): rows of the training set."""
    cursor: Cursor
    """The stage, the 0-based epoch and the 0-based step of this batch."""
    targets: Tensor | None = None
    """float32, (B, K): the target distributions, or None if the labels are the targets. Each row
    sums to 1."""
