"""Tables of what is finished, while the rest of a study still runs: from the store alone."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core.errors import UserError
from soteacher.data.prepared import Prepared
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import make_table
from soteacher.report.tables.base import Inputs
from soteacher.results.collect import COLUMNS, measure
from soteacher.store.run_folder import RunFolder
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.specs import fingerprint
from soteacher.study.summary import block_record

log = logging.getLogger("soteacher")


def partial_tables(plan: Plan) -> str:
    """All tables of a study as Markdown, each cell with the runs that it has by now.

    A table of training steps is there once they are timed.
    """
    tables = plan.study.tables
    rows = {run.id: _waiting(run) for name in tables for run in plan.runs_of(name)}
    for name, data in prepared_of(plan).items():
        runs = [run for run in plan.runs.values() if run.id in rows and run.data == name]
        rows |= _measured(runs, data, Path(plan.study.store))
    measures = pd.DataFrame(rows.values(), columns=COLUMNS).set_index("run")
    shown = []
    for name in tables:
        record = block_record(plan, name)
        steps = Path(f"results/{plan.study.study}/overhead/{name}.csv")
        with suppress(UserError):  # its steps are not measured yet, or of other settings
            table = make_table(record, Inputs(measures=lambda: measures, steps=steps))
            shown.append(to_markdown(record, table))
    return "\n".join(shown)


def _waiting(run: Run) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS, "")
    return row | {"run": run.id, "spec_sha256": run.spec.sha256, "status": "waiting"}


def _measured(runs: list[Run], data: Prepared, store: Path) -> dict[str, dict[str, Any]]:
    """Run id to measures of the finished ones; of a damaged one, a line tells."""
    rows = {}
    for run in runs:
        folder = RunFolder(store, fingerprint(run.spec, data.sha256), run.id)
        try:
            record = folder.finished_record()
            if record is not None:
                entry = record | {"spec_sha256": run.spec.sha256}
                [rows[run.id]] = measure({"runs": {run.id: entry}}, data, store).runs
        except UserError as error:
            log.warning("%s", error)
    return rows
