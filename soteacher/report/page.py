"""The page: one self-contained HTML file with all tables of a study."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
import pandas as pd

from soteacher.report.labels import label
from soteacher.report.tables import grid, notes


def make_page(summary: dict[str, Any], tables: dict[str, pd.DataFrame]) -> str:
    """HTML of a study.

    summary : `study`, `facts` (sentences about it), `tables` (name to title and disclaimer).
    tables : name to what `make_table` made.
    """
    source = resources.files("soteacher.report").joinpath("page.html.j2").read_text()
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    shown = [
        {
            "name": label(name),
            "columns": list(grid(table).columns),
            "rows": list(grid(table).itertuples()),
            "notes": notes(summary["tables"][name], table),
        }
        for name, table in tables.items()
    ]
    return template.render(study=summary["study"], facts=summary["facts"], tables=shown)
