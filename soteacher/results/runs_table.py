"""The tidy table of a study, `results/<study>/runs.csv`: one row per run, with all its measures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.results.columns import COLUMNS, MEASURES, TRAINED_ON
from soteacher.study.run_table import IDENTITY

RUN_COLUMNS = (
    *IDENTITY,
    *("spec_sha256", "status", "note", "classes"),
    *MEASURES,
    *TRAINED_ON,
)
"""The columns; docs/results.md explains each of them."""


def runs_table(record: dict[str, Any], measures: pd.DataFrame) -> pd.DataFrame:
    """Return the table of all runs of a study, in the order of the record.

    record : what `soteacher.study.run_table.runs_record` returns.
    measures : the columns of the measures CSVs, by run id, with all runs of the record.
    """
    identity = pd.DataFrame(record["identities"], columns=list(IDENTITY)).set_index("run")
    others = [name for name in COLUMNS if name != "run"]
    table = identity.join(measures[others])
    return table.reset_index()[list(RUN_COLUMNS)]
