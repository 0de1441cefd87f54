"""What every network returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Features = dict[str, "Tensor"]
"""By name: `stem`, `stage1`, ... (B, C, H, W) with `_pre` before a ReLU, `pooled` (B, C)."""


class Output(NamedTuple):
    """Logits, and the features that distillers match."""

    logits: Tensor
    """(B, K)"""
    features: Features
