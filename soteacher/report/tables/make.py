"""A table of any kind, from what it is to show and where its numbers lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.report.tables.overhead import make_overhead, read_steps
from soteacher.report.tables.tables import make_table
from soteacher.report.tables.weights import make_weights


def make(block: dict[str, Any], measures: Callable[[], pd.DataFrame], steps: Path) -> pd.DataFrame:
    """The table of a block, a row a cell.

    measures : gives the measures of runs, by run id, if it is a table of those.
    steps : the CSV of the training steps, if it is a table of those.
    """
    if "weights" in block:
        return make_weights(block)
    if "timed" in block:
        return make_overhead(*read_steps(steps, block["timed"]))
    return make_table(block, measures())
