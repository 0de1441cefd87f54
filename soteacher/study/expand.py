"""Expand a study into a plan."""

from __future__ import annotations

from types import MappingProxyType

from soteacher.core.errors import UserError
from soteacher.study.expansion import Expansion
from soteacher.study.last_batch import check_last_batches
from soteacher.study.plan import Plan
from soteacher.study.study import Study

MOST_JOBS = 1000
"""Maximum number of jobs that one table or figure may need. The shell command of a table or figure
names a file for each job, and Linux limits a command to 128 KiB."""


def expand(study: Study) -> Plan:
    """Return the plan of a study.

    Raise `UserError` if two runs would have the same id, or if a run could not be trained on its
    last batch. The latter is checked here for the data sets whose sizes are known without a file.
    """
    expansion = Expansion(study)
    contents = {name: block.content(expansion, name) for name, block in study.blocks.items()}
    plan = Plan(
        study=study,
        runs=MappingProxyType(expansion.runs),
        wanted=MappingProxyType({i: frozenset(names) for i, names in expansion.wanted.items()}),
        contents=MappingProxyType(contents),
    )
    check_last_batches(
        plan.runs.values(),
        {n: data.source.outline() for n, data in study.data.items() if not data.source.location()},
    )
    for name in study.blocks:
        jobs = len(plan.jobs_of(plan.runs_of(name)))
        if jobs > MOST_JOBS:
            raise UserError(
                f"{name} needs {jobs} jobs, but one command can name at most {MOST_JOBS}: raise "
                f"runs_per_job, which is {study.runs_per_job}"
            )
    return plan
