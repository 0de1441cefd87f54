"""Distillers as modules for any training loop: `docs/losses.md` shows a complete one.

    from soteacher import losses

    loss = losses.FitNet(student(images), teacher(images), weight=100)
    loss(student(images), teacher(images), labels).backward()

Each distiller that studies can name has a module with the name of its class, which computes the
loss with the very code that trains the students of a study: KD, AT, FitNet, CRD, and so on, also
those of installed packages. `loss_of` makes the module of a distiller of your own.
"""

from __future__ import annotations

import inspect
from functools import cache

from soteacher.core import registry
from soteacher.core.errors import UserError, unknown
from soteacher.distillers.base import Distiller, kd_loss
from soteacher.losses.first_stage import FirstStage
from soteacher.losses.module import DistillationLoss

__all__ = ["DistillationLoss", "FirstStage", "kd_loss", "loss_of"]


@cache
def loss_of(method: type[Distiller]) -> type[DistillationLoss]:
    """Return the module class of a distiller, also of one that no study knows."""
    source = inspect.getmodule(method)
    parts = (inspect.getdoc(method), source and inspect.getdoc(source), DistillationLoss.__doc__)
    text = "\n\n".join(inspect.cleandoc(part) for part in parts if part)
    body = {"method": method, "__doc__": text, "__module__": __name__}
    return type(method.__name__, (DistillationLoss,), body)


def _methods() -> dict[str, type[Distiller]]:
    """Return the name of its class to each distiller; broken installed packages are left out."""
    found: dict[str, type[Distiller]] = {}
    for name in registry.names("distiller"):
        try:
            part = registry.get("distiller", name)
        except UserError:
            continue
        found[part.__name__] = part
    return found


def __getattr__(name: str) -> type[DistillationLoss]:
    if name.startswith("_"):
        raise AttributeError(f"module 'soteacher.losses' has no attribute '{name}'")
    methods = _methods()
    if name not in methods:
        raise AttributeError(unknown("loss", name, methods))
    return loss_of(methods[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_methods()})
