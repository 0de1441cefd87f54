"""The output of every network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Features = dict[str, "Tensor"]
"""Features by name: `stem`, `stage1`, ... are (B, C, H, W), with `_pre` before the ReLU; `pooled`
is (B, C)."""


class Output(NamedTuple):
    """The logits of a network, and the features that distillers compare."""

    logits: Tensor
    """(B, K): the logits of the classes."""
    features: Features
