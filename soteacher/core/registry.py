"""What a study file can name: one part, one file; the file's name is the part's name.

A new distiller is a new file in `soteacher/distillers/` with one class under `@register`; nothing
else has to be told of it. Files are imported only when their part is asked for.

Loss terms may also come from outside the package: from installed packages, which announce them as
entry points, and from files that a study names (`soteacher.study.method_files`).
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
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
BASES = {"regularizer": "Regularizer", "distiller": "Distiller"}
"""Kinds of loss terms, and the class in the `base` of their package that tells the kind."""
ENTRY_POINTS = "soteacher.methods"
"""The group of entry points by which installed packages announce loss terms."""
T = TypeVar("T")


class SecondPart(TypeError):
    """A file registers more than one part."""


@dataclass(frozen=True)
class Outside:
    """A loss term from outside the package."""

    kind: str
    name: str
    part: type
    source: str
    """The path of a file, or the name and version of an installed package."""
    code_sha256: str | None = None
    """Of a file's bytes; None for an installed package, which has revisions as this one has."""


_parts: dict[str, type] = {}
_outside: dict[type, Outside] = {}
_files: dict[tuple[str, str], Outside] = {}
"""Name and hash to the loss term, for each method file that this process has loaded."""


def register(part: type[T]) -> type[T]:
    """Class decorator: this is the part that its file is named after."""
    if part.__module__ in _parts:
        raise SecondPart(f"{part.__module__} registers two parts; one file holds one")
    _parts[part.__module__] = part
    return part


def take(module: str) -> type | None:
    """Return what a module has registered, and forget it."""
    return _parts.pop(module, None)


def kind_of(part: type) -> str | None:
    """The kind of a loss term, by its base class; None if it has neither base."""
    for kind, base in BASES.items():
        if issubclass(part, getattr(importlib.import_module(f"{PACKAGES[kind]}.base"), base)):
            return kind
    return None


@cache
def shipped(kind: str) -> tuple[str, ...]:
    """The names of this package's parts of a kind, sorted; only their package is imported."""
    package = importlib.import_module(PACKAGES[kind])
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if name != "base"))


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of all parts of a kind, sorted: this package's, and those of installed packages."""
    found = (one for one in installed().values() if isinstance(one, Outside))
    return tuple(sorted({*shipped(kind), *(one.name for one in found if one.kind == kind)}))


def get(kind: str, name: str, code_sha256: str | None = None) -> Any:
    """The registered class of that kind and name; an unknown name is a `UserError`.

    code_sha256 : of the file that the class must come from, where it comes from a file.
    """
    if code_sha256 is not None:
        return _of_file(kind, name, code_sha256).part
    of_package = installed().get(name) if kind in BASES else None
    if isinstance(of_package, UserError):
        raise of_package
    if of_package is not None and of_package.kind == kind:
        return of_package.part
    if name not in shipped(kind):
        raise UserError(unknown(kind, name, names(kind)))
    return shipped_part(kind, name)


def shipped_part(kind: str, name: str) -> Any:
    """The class of one of this package's parts; its file is imported."""
    module = f"{PACKAGES[kind]}.{name}"
    importlib.import_module(module)
    if module not in _parts:
        raise TypeError(f"{module} registers no part: put @register on its class")
    return _parts[module]


def add_file(method: Outside) -> None:
    """Note the loss term of a method file, which `get` then finds by its name and hash."""
    assert method.code_sha256 is not None
    _outside[method.part] = method
    _files[method.name, method.code_sha256] = method


def files_of(name: str) -> list[Outside]:
    """The loss terms of that name from method files that this process has loaded."""
    return [method for (known, _), method in _files.items() if known == name]


def _of_file(kind: str, name: str, code_sha256: str) -> Outside:
    method = _files.get((name, code_sha256))
    if method is not None and method.kind == kind:
        return method
    wanted = f"the {kind} '{name}' of a method file with sha256 {code_sha256[:12]}"
    others = files_of(name)
    if others:
        raise UserError(
            f"expected {wanted}; {others[-1].source} now has sha256 "
            f"{str(others[-1].code_sha256)[:12]}: restore the file, or plan the study again with "
            "the same snakemake command"
        )
    raise UserError(
        f"expected {wanted}, which was not given: list the file under `methods` in the study"
    )


@cache
def installed() -> dict[str, Outside | UserError]:
    """Name to the loss term of each entry point of installed packages, or why it cannot be used."""
    found: dict[str, Outside | UserError] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            if entry.name in found:
                raise UserError("another installed package has a method of that name")
            found[entry.name] = _installed(entry)
        except Exception as error:  # whatever a package's import may raise
            text = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            found[entry.name] = UserError(
                f"the method '{entry.name}' of the installed package {_package(entry)} cannot be "
                f"used: {' '.join(text.split())}; correct the package or uninstall it"
            )
    return found


def _installed(entry: EntryPoint) -> Outside:
    check_new(entry.name)
    importlib.import_module(entry.module)
    part = _parts.get(entry.module)
    kind = None if part is None else kind_of(part)
    if part is None or kind is None:
        raise UserError(
            f"expected {entry.module} to register one subclass of Distiller or Regularizer"
        )
    _outside[part] = Outside(kind, entry.name, part, _package(entry))
    return _outside[part]


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?"


def check_new(name: str) -> None:
    """Raise `UserError` if this package has a loss term of that name."""
    for kind in BASES:
        if name in shipped(kind):
            raise UserError(f"soteacher itself has a {kind} of that name; choose another name")


def clear() -> None:
    """Look again for files and installed packages, where some were added or removed."""
    for cached in (shipped, names, installed):
        cached.cache_clear()


def outside(part: type) -> Outside | None:
    """Where a class of a loss term comes from, if it is not this package's own."""
    return _outside.get(part)


def name_of(part: object) -> str:
    """The registered name of a part, given as an instance of its class: its file's name."""
    known = _outside.get(type(part))
    return known.name if known else type(part).__module__.rpartition(".")[2]


def check_revision(part: Any, revision: int, name: str) -> None:
    """A spec is carried out only by the revision of each part that it names."""
    if part.revision != revision:
        raise UserError(
            f"'{name}' is asked for in revision {revision}, this soteacher has revision "
            f"{part.revision}: plan and job must run the same version"
        )
