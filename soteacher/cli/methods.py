"""`soteacher methods`: the parts that a study file can name, one line each."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from soteacher.core import registry
from soteacher.core.registry import Outside

HELP = "List the data sources, networks, regularizers, distillers, and kinds of tables and figures."
DESCRIPTION = (
    f"{HELP} The list includes the methods and networks of installed packages and, if study files "
    "are given, those of their files."
)

METHODS = {
    "data source": "Data sources (`source` of a data set)",
    "regularizer": "Regularizers (in `teachers`)",
    "distiller": "Distillers (in `distillers`)",
}
BLOCKS = {"kind of table": "Kinds of tables", "kind of figure": "Kinds of figures"}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "study",
        type=Path,
        nargs="*",
        help="study files; the methods and networks in their files are also listed",
    )


def run(options: argparse.Namespace) -> None:
    """Print the names, each with the first line of its docstring."""
    from soteacher.models import catalogue
    from soteacher.models.outside import LIBRARIES
    from soteacher.models.outside import installed as installed_networks
    from soteacher.study.load import methods_of, networks_of

    installed = registry.installed().values()
    outside = [method for method in installed if isinstance(method, Outside)]
    if options.study:
        outside += methods_of(*options.study).values()
    _print_parts(METHODS, outside)
    families = [(", ".join(f.examples), f.description) for f in catalogue.FAMILIES]
    others = [
        *installed_networks().values(),
        *(networks_of(*options.study) if options.study else ()),
    ]
    families += sorted((network.name, f"[{network.source}]") for network in others)
    families += [(f"{name}/NAME", f"Image classifiers of {name}.") for name in LIBRARIES]
    _print("Networks (in `pairs`)", families)
    _print_parts(BLOCKS, [])
    for method in installed:
        if not isinstance(method, Outside):
            print(f"Not listed: {method}")


def _print_parts(headings: dict[str, str], outside: list[Outside]) -> None:
    for kind, heading in headings.items():
        rows = [
            (name, _first_line(registry.shipped_part(kind, name)))
            for name in registry.shipped(kind)
        ]
        rows += [(m.name, f"{_first_line(m.part)} [{m.source}]") for m in outside if m.kind == kind]
        _print(heading, sorted(rows))


def _first_line(part: type) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]


def _print(heading: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    print(heading)
    for name, text in rows:
        print(f"  {name:{width}}  {text}".rstrip())
    print()
