"""The parts that a study file can name. Each part has one file; the file's name is the part's name.

A new distiller is a new file in `soteacher/distillers/` with one class under `@register`. No other
file of the package has to change; the tests ask for a formula and a stored result. A file is
imported only when its part is requested.

Loss terms can also come from outside the package: from installed packages, which declare them as
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
LOSS_TERMS = ("regularizer", "distiller")
"""The kinds of loss terms, which can also come from outside the package."""
RESERVED = ("code_sha256", "method", "revision")
"""Names that no setting of a loss term can have, because specs or study files use them."""
ENTRY_POINTS = "soteacher.methods"
"""The group of entry points with which installed packages declare loss terms."""
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
    """The hash of a file's bytes; None for an installed package, which uses revisions instead."""


_parts: dict[str, type] = {}
_outside: dict[type, Outside] = {}
_files: dict[tuple[str, str], Outside] = {}
"""Name and hash to the loss term, for each method file that this process has loaded."""


def register(part: type[T]) -> type[T]:
    """Class decorator: register the part that has the name of its file."""
    if part.__module__ in _parts:
        raise SecondPart(f"{part.__module__} registers two parts; expected one part per file")
    _parts[part.__module__] = part
    return part


def take(module: str) -> type | None:
    """Return the class that a module has registered, and remove it from the registry."""
    return _parts.pop(module, None)


def kind_of(part: object) -> str | None:
    """Return the kind of a loss term, as its base class states it; None for anything else."""
    kind = getattr(part, "kind", None) if isinstance(part, type) else None
    return kind if kind in LOSS_TERMS else None


def check_settings(part: Any) -> None:
    """Raise `UserError` if a loss term has a setting with a name that is reserved."""
    for name in RESERVED:
        if name in part.model_fields:
            raise UserError(
                f"{part.__name__} has a setting named '{name}', which is reserved; rename the "
                "setting"
            )


@cache
def shipped(kind: str) -> tuple[str, ...]:
    """Return the sorted names of this package's parts of a kind; the parts are not imported."""
    package = importlib.import_module(PACKAGES[kind])
    modules = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in modules if name != "base"))


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the sorted names of all parts of a kind, including those of installed packages."""
    terms = (term for term in installed().values() if isinstance(term, Outside))
    return tuple(sorted({*shipped(kind), *(term.name for term in terms if term.kind == kind)}))


def get(kind: str, name: str, code_sha256: str | None = None) -> Any:
    """Return the registered class of a kind and name; raise `UserError` if the name is unknown.

    code_sha256 : hash of the method file that the class must come from; None without a file.
    """
    if code_sha256 is not None:
        return _of_file(kind, name, code_sha256).part
    of_package = installed().get(name) if kind in LOSS_TERMS else None
    if isinstance(of_package, UserError):
        raise of_package
    if of_package is not None and of_package.kind == kind:
        return of_package.part
    if name not in shipped(kind):
        raise UserError(unknown(kind, name, names(kind)))
    return shipped_part(kind, name)


def shipped_part(kind: str, name: str) -> Any:
    """Return the class of one of this package's parts, and import its file."""
    module = f"{PACKAGES[kind]}.{name}"
    importlib.import_module(module)
    if module not in _parts:
        raise TypeError(f"{module} registers no part: put @register on its class")
    return _parts[module]


def add_file(method: Outside) -> None:
    """Register the loss term of a method file, so that `get` finds it by its name and hash."""
    assert method.code_sha256 is not None
    _outside[method.part] = method
    _files[method.name, method.code_sha256] = method


def files_of(name: str) -> list[Outside]:
    """Return the loss terms with this name from method files that this process has loaded."""
    return [method for (known, _), method in _files.items() if known == name]


def _of_file(kind: str, name: str, code_sha256: str) -> Outside:
    method = _files.get((name, code_sha256))
    if method is not None and method.kind == kind:
        return method
    expected = f"the {kind} '{name}' of a method file with sha256 {code_sha256[:12]}"
    others = files_of(name)
    if others:
        raise UserError(
            f"expected {expected}; {others[-1].source} now has sha256 "
            f"{str(others[-1].code_sha256)[:12]}: restore the file, or rerun the same snakemake "
            "command to plan the study with the changed file"
        )
    raise UserError(
        f"expected {expected}, which is not loaded: list the file under `methods` in the study"
    )


@cache
def installed() -> dict[str, Outside | UserError]:
    """Return name to loss term of each installed package's entry point, or to the error."""
    terms: dict[str, Outside | UserError] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            if entry.name in terms:
                raise UserError("another installed package has a method with this name")
            terms[entry.name] = _installed(entry)
        except Exception as error:  # the import of a package can raise anything
            text = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            terms[entry.name] = UserError(
                f"the method '{entry.name}' of the installed package {_package(entry)} cannot be "
                f"used: {' '.join(text.split())}; correct the package or uninstall it"
            )
    return terms


def _installed(entry: EntryPoint) -> Outside:
    check_new(entry.name)
    importlib.import_module(entry.module)
    part = _parts.get(entry.module)
    kind = None if part is None else kind_of(part)
    if part is None or kind is None:
        raise UserError(
            f"expected {entry.module} to register one subclass of Distiller or Regularizer"
        )
    check_settings(part)
    _outside[part] = Outside(kind, entry.name, part, _package(entry))
    return _outside[part]


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?"


def check_new(name: str) -> None:
    """Raise `UserError` if a loss term from outside cannot have this name."""
    for kind in LOSS_TERMS:
        if name in shipped(kind):
            raise UserError(f"soteacher already has a {kind} with this name")
    if name == "table5":
        raise UserError("'table5' is a key of teacher methods in study files")


def clear() -> None:
    """Clear the caches, so that added or removed files and installed packages are noticed."""
    for cached in (shipped, names, installed):
        cached.cache_clear()


def outside(part: type) -> Outside | None:
    """Return where the class of a loss term comes from; None if it is part of this package."""
    return _outside.get(part)


def name_of(part: object) -> str:
    """Return the registered name of a part, which is an instance of the registered class."""
    known = _outside.get(type(part))
    return known.name if known else type(part).__module__.rpartition(".")[2]


def check_revision(part: Any, revision: int, name: str) -> None:
    """Raise `UserError` unless a part has the revision that a spec names."""
    if part.revision != revision:
        raise UserError(other_revision(name, revision, part.revision))


def other_revision(name: str, planned: int, installed: int) -> str:
    """Return the text of the error about a part with another revision than a spec names."""
    return (
        f"the plan needs revision {planned} of '{name}', but revision {installed} is installed: "
        "use the same version of soteacher for the plan and the job"
    )
