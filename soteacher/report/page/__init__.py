"""The page: one self-contained HTML file with the answer, all tables and figures of a study.

The markup is in `templates/`: a template, a style sheet and a script, which all become part of the
one file. Jinja escapes every value but the drawings of figures.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import jinja2
import pandas as pd

from soteacher.core.version import VERSION
from soteacher.report.names import display_name
from soteacher.report.page.answer import answer
from soteacher.report.page.figures import page_figure
from soteacher.report.page.methods import method_lines
from soteacher.report.page.tables import page_tables
from soteacher.report.page.verdicts import Verdicts
from soteacher.report.tables import report_of

PAPER = {
    "title": "Toward Student-Oriented Teacher Network Training For Knowledge Distillation",
    "authors": "Dong, Liu and Shang",
    "submission": "https://openreview.net/forum?id=aR3hRo_O6cn",
    "text": "https://arxiv.org/abs/2206.06661",
}
"""The paper. Its numbers are those of the submission to ICLR 2023; the text is of ICLR 2024."""


def make_page(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[bytes, pd.DataFrame]],
    verdicts: Verdicts | None = None,
    *,
    dated: date | None = None,
    place: str = "",
) -> str:
    """Return the HTML page of a study. It belongs in the folder with the study's tables and runs.

    summary : the return value of `study.summary.page_summary`.
    tables : name to the return value of `make_table`.
    figures : name to the SVG and the numbers in the figure.
    verdicts : None leaves out the verdicts.
    dated : day of the newest numbers, which the page shows.
    place : the page's file with its folder, such as `demo/report.html`. At any other address the
    page is alone, and its script takes the links to records and files away; empty: it never does.
    """
    template = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    blocks = [*summary["tables"].values(), *summary["figures"].values()]
    shown = {
        "tables": page_tables(
            summary["tables"], tables, None if verdicts is None else verdicts.comparisons
        ),
        "figures": [
            page_figure(name, summary["figures"][name], svg, drawn)
            for name, (svg, drawn) in figures.items()
        ],
        "answer": None if verdicts is None else answer(verdicts.claims),
        "methods": method_lines(summary["regularizers"]),
        "runs_counted": _runs_counted(summary, tables, figures),
        "proves_nothing": all(block["papers"] == "none" for block in blocks),
        "paper": PAPER,
        "dated": "" if dated is None else dated.isoformat(),
        "version": VERSION,
        "place": place,
    }
    return template.render(summary | shown, display_name=display_name)


def _runs_counted(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[bytes, pd.DataFrame]],
) -> str:
    """Return a sentence with the number of runs by status; empty if there are no runs."""
    listed = (block["runs"] for block in summary["figures"].values())
    statuses = {
        folder.partition("/")[2]: "not finished" for folders in listed for folder in folders
    }
    for _, drawn in figures.values():
        statuses |= {run: "done" for runs in drawn["runs"].dropna() for run in runs.split()}
    for table in tables.values():
        report = report_of(table)
        for _, cell in table.iterrows():
            statuses |= {run["id"]: run["status"] for run in report.run_values(cell)}
    counts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(statuses.values()).items()))
    return f"Runs in tables and figures: {counts}." if statuses else ""
