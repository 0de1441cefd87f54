"""A study expanded into a plan."""

from __future__ import annotations

from types import MappingProxyType

from soteacher.core.errors import UserError
from soteacher.study.expansion import Expansion
from soteacher.study.plan import Plan
from soteacher.study.study import Study

MOST_JOBS = 1000
"""Whose measures one table or figure may need: a shell command that names the files of many more
would have 128 KiB, and cannot be run on Linux."""


def expand(study: Study) -> Plan:
    """Expand a study into runs and jobs. `UserError` where two runs would share an id."""
    expansion = Expansion(study)
    contents = {name: block.content(expansion, name) for name, block in study.blocks.items()}
    plan = Plan(
        study=study,
        runs=MappingProxyType(expansion.runs),
        wanted=MappingProxyType({i: frozenset(names) for i, names in expansion.wanted.items()}),
        contents=MappingProxyType(contents),
    )
    for name in study.blocks:
        jobs = len(plan.jobs_of(plan.runs_of(name)))
        if jobs > MOST_JOBS:
            raise UserError(
                f"{name} needs {jobs} jobs, more than one command can name ({MOST_JOBS}): raise "
                f"runs_per_job, which is {study.runs_per_job}"
            )
    return plan
