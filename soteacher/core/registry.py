"""What can be named in a study file: one part, one file; the file's name is the part's name.

A new distiller is a new file in `soteacher/distillers/` with one class under `@register`; nothing
else has to be told of it. Files are imported only when their part is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any, TypeVar

from soteacher.core.errors import UserError, unknown

PACKAGES = {
    "data source": "soteacher.data.sources",
    "regularizer": "soteacher.regularizers",
    "distiller": "soteacher.distillers",
    "kind of table": "soteacher.study.kinds.tables",
    "kind of figure": "soteacher.study.kinds.figures",
    "report of a table": "soteacher.report.tables",
    "report of a figure": "soteacher.report.figures",
}
T = TypeVar("T")
_parts: dict[str, type] = {}


def register(part: type[T]) -> type[T]:
    """Class decorator: this is the part that its file is named after."""
    if part.__module__ in _parts:
        raise TypeError(f"{part.__module__} registers two parts; one file holds one")
    _parts[part.__module__] = part
    return part


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of all parts of a kind, sorted; nothing is imported but their package."""
    package = importlib.import_module(PACKAGES[kind])
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if name != "base"))


def get(kind: str, name: str) -> Any:
    """The registered class of that kind and name; an unknown name is a `UserError`."""
    if name not in names(kind):
        raise UserError(unknown(kind, name, names(kind)))
    module = f"{PACKAGES[kind]}.{name}"
    importlib.import_module(module)
    if module not in _parts:
        raise TypeError(f"{module} registers no part: put @register on its class")
    return _parts[module]


def name_of(part: object) -> str:
    """The registered name of a part, given as an instance of its class: its file's name."""
    return type(part).__module__.rpartition(".")[2]


def check_revision(part: Any, revision: int, name: str) -> None:
    """A spec is carried out only by the revision of each part that it names."""
    if part.revision != revision:
        raise UserError(
            f"'{name}' is asked for in revision {revision}, this soteacher has revision "
            f"{part.revision}: plan and job must run the same version"
        )
