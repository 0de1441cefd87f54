"""Regularizers as modules for any training loop; `examples/own_loop.py` shows how to use them.

Each file holds a formula and the `nn.Module` that computes it. A penalty returns a weighted loss;
add it to your loss. Its memory is kept in buffers: `to` moves them and `state_dict` saves them. A
penalty with a memory of images needs the rows of the training set that a batch holds, and the
0-based epoch; after `eval()` its memory does not change. Losses are at least float32, also under
autocast. `docs/penalties.md` says what they check and how several processes use them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soteacher.penalties.consistency import ConsistencyPenalty
    from soteacher.penalties.crl import CorrectnessRankingPenalty
    from soteacher.penalties.l1 import L1Penalty
    from soteacher.penalties.lipschitz import LipschitzPenalty

MODULES = {
    "ConsistencyPenalty": "consistency",
    "CorrectnessRankingPenalty": "crl",
    "L1Penalty": "l1",
    "LipschitzPenalty": "lipschitz",
}
"""Class to its file; the file, and torch, are imported when the class is first used."""

__all__ = ["ConsistencyPenalty", "CorrectnessRankingPenalty", "L1Penalty", "LipschitzPenalty"]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module 'soteacher.penalties' has no attribute '{name}'")
    return getattr(importlib.import_module(f"soteacher.penalties.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
