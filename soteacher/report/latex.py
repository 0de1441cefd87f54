"""Tables as LaTeX."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.report.grid import grid, split_columns
from soteacher.report.markdown import notes_below
from soteacher.report.tables import report_of

NO_WIDER = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}"
"""LaTeX command that shrinks its argument to the line width if it is wider."""
TEX = str.maketrans(
    {"±": r"$\pm$", "λ": r"$\lambda$", "ℓ": r"$\ell$", "–": "--"}
    | {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)
"""Characters with a special meaning in LaTeX, and the LaTeX text for each."""


def to_latex(record: dict[str, Any], table: pd.DataFrame) -> str:
    r"""Return the table as a LaTeX `table`, not wider than a line.

    The document needs `\usepackage{booktabs,graphicx}`.
    """
    wide = grid(table)
    columns = split_columns(table)
    if all(head for head, _ in columns):
        wide.columns = pd.MultiIndex.from_tuples(columns)
    style = wide.style.format(_tex).format_index(_tex, axis=0).format_index(_tex, axis=1)
    aligned = "l" + "r" * wide.shape[1]
    tabular = style.to_latex(hrules=True, column_format=aligned, multicol_align="c")
    heading = report_of(table).heading(record, table)
    below = " ".join(_tex(note) for note in notes_below(record, table))
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(heading)}}}\n\\label{{tab:{record['name']}}}\n"
        f"{NO_WIDER}{{!}}{{{tabular.strip()}}}\n"
        f"\\par\\footnotesize {below}\n\\end{{table}}\n"
    )


def _tex(text: str) -> str:
    return str(text).translate(TEX)
