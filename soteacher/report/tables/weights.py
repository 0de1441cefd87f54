"""The report of tables of the weights of distillers' method losses: Table 5 of the paper."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from soteacher.core.registry import register
from soteacher.report.names import display_name
from soteacher.report.paper_values import paper_values
from soteacher.report.tables.base import Inputs, TableReport


@register
class WeightReport(TableReport):
    """A distiller's weight for the students of a teacher method, and the paper's."""

    columns: ClassVar = (*TableReport.columns, "weight", "paper_weight", "remark")
    numbers: ClassVar = ("paper_weight",)

    def make(self, record: dict[str, Any], inputs: Inputs) -> pd.DataFrame:
        """Return the table; `remark` is a note about the distiller."""
        paper = paper_values()["mean"]
        rows = []
        for cell in record["weights"]:
            known = paper.get((record["name"], cell["paper_row"], cell["column"]), float("nan"))
            shown = {name: cell[name] for name in ("row", "column", "weight", "remark")}
            rows.append(shown | {"measure": "weight", "paper_weight": known})
        return pd.DataFrame(rows)

    def shown(self, cell: pd.Series) -> str:
        """Return the weight, and the paper's weight if there is one."""
        paper = cell["paper_weight"]
        return f"{cell['weight']:g}" + (f" (paper {paper:g})" if pd.notna(paper) else "")

    def heading(self, record: dict[str, Any], table: pd.DataFrame) -> str:
        """Return the title."""
        return f"{record['title']}."

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return the remarks."""
        remarks = table.loc[table["remark"] != "", ["row", "remark"]].drop_duplicates()
        return [
            f"{display_name(row)}: {remark}." for row, remark in remarks.itertuples(index=False)
        ]
