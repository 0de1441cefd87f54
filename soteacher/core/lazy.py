"""`from soteacher.core.lazy import torch` imports torch when it is first used; the same for NumPy.

Each file of a regularizer or distiller holds both its settings and its losses. The study layer
reads the settings without the two seconds that torch takes to import (torch may even be absent).
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
