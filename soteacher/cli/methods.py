"""`soteacher methods`: what a study file can name, one line each."""

from __future__ import annotations

import argparse
import inspect

HELP = "List the data sources, networks, regularizers, distillers and kinds of blocks."

METHODS = {
    "data source": "Data sources (`source` of a data set)",
    "regularizer": "Regularizers (in `teachers`)",
    "distiller": "Distillers (in `distillers`)",
}
BLOCKS = {"kind of table": "Kinds of tables", "kind of figure": "Kinds of figures"}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add no argument: the command has none."""


def run(options: argparse.Namespace) -> None:
    """Print the names, with the first sentence of what each says about itself."""
    from soteacher.models import catalogue

    _print_parts(METHODS)
    families = [(", ".join(f.examples), f.description) for f in catalogue.FAMILIES]
    _print("Networks (in `pairs`)", families)
    _print_parts(BLOCKS)


def _print_parts(headings: dict[str, str]) -> None:
    from soteacher.core import registry

    for kind, heading in headings.items():
        rows = [(name, _first_line(registry.get(kind, name))) for name in registry.names(kind)]
        _print(heading, rows)


def _first_line(part: type) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]


def _print(heading: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    print(heading)
    for name, text in rows:
        print(f"  {name:{width}}  {text}".rstrip())
    print()
