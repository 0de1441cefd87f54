"""Tables of the runs that are finished while a study still runs, from the store alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core.errors import UserError
from soteacher.data.prepared import Prepared
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import make_table
from soteacher.report.tables.base import Inputs
from soteacher.results.collect import measure
from soteacher.results.columns import COLUMNS
from soteacher.store.run_folder import RunFolder
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.specs import fingerprint
from soteacher.study.summary import block_record

log = logging.getLogger("soteacher")


def partial_tables(plan: Plan) -> str:
    """Return all tables of a study as Markdown, using the runs that are finished.

    A table of step times is included once its steps are timed.
    """
    tables = {name: table for name, table in plan.study.tables.items() if name in plan.contents}
    rows = {run.id: _waiting(run) for name in tables for run in plan.runs_of(name)}
    for name, data in prepared_of(plan).items():
        runs = [run for run in plan.runs.values() if run.id in rows and run.data == name]
        rows |= _measured(runs, data, Path(plan.study.store))
    measures = pd.DataFrame(rows.values(), columns=COLUMNS).set_index("run")
    shown = []
    for name in tables:
        record = block_record(plan, name)
        steps = Path(f"results/{plan.study.study}/overhead/{name}.csv")
        try:
            table = make_table(record, Inputs(measures=lambda: measures, steps=steps))
            shown.append(to_markdown(record, table))
        except UserError as error:
            if steps.exists():  # otherwise, the steps are not timed yet
                log.warning("%s is left out: %s", name, error)
    return "\n".join(shown)


def _waiting(run: Run) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS, "")
    return row | {"run": run.id, "spec_sha256": run.spec.sha256, "status": "waiting"}


def _measured(runs: list[Run], data: Prepared, store: Path) -> dict[str, dict[str, Any]]:
    """Return run id to measures of the finished runs; log a warning for a damaged run."""
    rows, said = {}, set()
    for run in runs:
        folder = RunFolder(store, fingerprint(run.spec, data.sha256), run.id)
        try:
            record = folder.finished_record()
            if record is not None:
                entry = record | {"spec_sha256": run.spec.sha256}
                [rows[run.id]] = measure({run.id: entry}, data, store).runs
        except UserError as error:
            if str(error) not in said:  # damaged data concern all runs
                log.warning("%s", error)
            said.add(str(error))
    return rows
