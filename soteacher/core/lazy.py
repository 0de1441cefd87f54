"""`from soteacher.core.lazy import torch`: torch, imported when it is first used; NumPy likewise.

The settings of every regularizer and distiller stand beside their losses, and the study layer
reads those settings without paying two seconds for torch (or having it at all).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as numpy
    import torch as torch
else:

    class _Lazy:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)
            return value

    numpy = _Lazy("numpy")
    torch = _Lazy("torch")
