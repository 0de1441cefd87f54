"""What a plan says to its reports: the cells of each table, and sentences about the study."""

from __future__ import annotations

from collections.abc import Iterable

from soteacher.errors import UserError
from soteacher.settings import canonical
from soteacher.study.plan import LONGEST, SHORT, Plan, Run


def planned(runs: Iterable[Run]) -> dict[str, str]:
    """Run id to the hash of its spec: what a result must carry to be these runs'."""
    return {run.id: run.spec_sha256[:SHORT] for run in runs}


def table_param(plan: Plan, name: str) -> str:
    """All that a table is made of besides measures: Snakemake remakes it where this changes."""
    cells = plan.tables[name]
    runs = {run.id: run for cell in cells for run in cell.runs}
    shown = [
        {
            "row": cell.row,
            "column": cell.column,
            "measure": cell.measure,
            "runs": [run.id for run in cell.runs],
            "papers": cell.papers,
        }
        for cell in cells
    ]
    param = canonical({"cells": shown, "runs": planned(runs.values()), **_headings(plan, name)})
    paths = 150 * len(plan.jobs_of(runs.values()))  # the measures stand in the command, too
    if len(param) + paths > LONGEST:
        raise UserError(
            f"tables.{name} asks for {len(runs)} runs: too many for one command line; "
            "make two tables of it"
        )
    return param


def page_param(plan: Plan) -> str:
    """What the page says besides its tables."""
    roles = [run.spec["role"] for run in plan.runs.values()]
    facts = [
        f"The study asks for {roles.count('teacher')} teachers and {roles.count('student')} "
        f"students, over seeds {', '.join(map(str, plan.study.seeds))}, on {_data(plan)}.",
        "A student of seed k learns from the teacher of seed k.",
    ]
    headings = {name: _headings(plan, name) for name in plan.tables}
    return canonical({"study": plan.study.study, "facts": facts, "tables": headings})


def _headings(plan: Plan, name: str) -> dict[str, str]:
    return {
        "table": name,
        "title": "Test accuracy in percent, of teachers and of the students distilled from them.",
        "disclaimer": f"This is the study “{plan.study.study}” on {_data(plan)}, not the paper's "
        "experiment; the paper's numbers stand only beside its own data, networks and recipe.",
    }


def _data(plan: Plan) -> str:
    texts = []
    for name, data in plan.study.data.items():
        text = name
        if data.true_labels is not None:
            text += (
                f" (known true label distributions: {data.true_labels.confusion:.0%} of the "
                "labels are drawn from look-alike classes; accuracy counts against argmax p*)"
            )
        texts.append(text)
    return ", ".join(texts)
