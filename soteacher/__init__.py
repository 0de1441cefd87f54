"""Student-oriented teacher training for knowledge distillation (SoTeacher), reproduced.

Importing this package, or its study layer, never imports torch: the workflow reads studies on
machines that have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soteacher.core.version import VERSION

if TYPE_CHECKING:
    from soteacher.exchange.loaded import load
    from soteacher.penalties import (
        ConsistencyPenalty,
        CorrectnessRankingPenalty,
        L1Penalty,
        LipschitzPenalty,
    )

__all__ = [
    "ConsistencyPenalty",
    "CorrectnessRankingPenalty",
    "L1Penalty",
    "LipschitzPenalty",
    "load",
]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """The penalties and `load`, with torch, when one is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'soteacher' has no attribute '{name}'")
    if name == "load":
        from soteacher.exchange.loaded import load

        return load
    from soteacher import penalties

    return getattr(penalties, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
