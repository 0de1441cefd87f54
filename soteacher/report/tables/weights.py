"""The table of the weights of distillers' own losses: Table 5 of the paper."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.report.tables.tables import paper_values


def make_weights(block: dict[str, Any]) -> pd.DataFrame:
    """One row a cell: a distiller's weight for the students of a teacher method, and the paper's.

    `remark` is what the method's file says that a reader of its weight must know.
    """
    paper = paper_values()["mean"]
    rows = []
    for cell in block["weights"]:
        known = paper.get((block["table"], cell["paper_row"], cell["column"]), float("nan"))
        shown = {name: cell[name] for name in ("row", "column", "weight", "remark")}
        rows.append(shown | {"measure": "weight", "paper_weight": known})
    return pd.DataFrame(rows)
