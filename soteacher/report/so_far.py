"""Tables of what is finished, while the rest of a study still runs: from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.data.prepared import Prepared, prepared_of
from soteacher.measures.collect import COLUMNS, measure
from soteacher.report.tables import make_table, to_markdown
from soteacher.study.describe import table_block
from soteacher.study.plan import Plan, Run, fingerprint
from soteacher.training.store import RunFolder


def tables_so_far(plan: Plan) -> str:
    """All tables of a study as Markdown, each cell with the runs that it has by now."""
    rows = {run.id: _waiting(run) for name in plan.tables for run in plan.runs_of(name)}
    for name, data in prepared_of(plan).items():
        runs = [run for run in plan.runs.values() if run.id in rows and run.data == name]
        rows |= _measured(runs, data, Path(plan.study.store))
    measures = pd.DataFrame(rows.values(), columns=COLUMNS).set_index("run")
    shown = []
    for name in plan.tables:
        block = table_block(plan, name)
        shown.append(to_markdown(block, make_table(block, measures)))
    return "\n".join(shown)


def _waiting(run: Run) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS, "")
    return row | {"run": run.id, "spec_sha256": run.spec_sha256, "status": "waiting"}


def _measured(runs: list[Run], data: Prepared, store: Path) -> dict[str, dict[str, Any]]:
    entries = {}
    for run in runs:
        folder = RunFolder(store, fingerprint(run.spec, data.sha256), run.id)
        if folder.finished():
            entries[run.id] = {**(folder.record() or {}), "spec_sha256": run.spec_sha256}
    measured = measure({"runs": entries}, data, store)
    return {row["run"]: row for row in measured.runs}
