"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soteacher.core.cursor import Cursor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The images of one training step, and what to predict for them."""

    images: Tensor
    """float32, (B, 3, H, W), augmented and normalised. (turns * B, 3, H, W) where a method asks for
    turned views: first all upright ones, then all turned by 90 degrees, and so on. (views * B, ...)
    likewise where a regularizer makes several views of each image."""
    labels: Tensor
    """int64, (B,)"""
    indices: Tensor
    """int64, (B,): rows of the training set."""
    cursor: Cursor
    """The stage, the 0-based epoch and the 0-based step of this batch."""
    targets: Tensor | None = None
    """float32, (B, K): what to predict, where that is not the labels. Rows sum to 1."""
