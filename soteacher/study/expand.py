"""Expand a study into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from soteacher.core.errors import UserError
from soteacher.study.contents import Content
from soteacher.study.expansion import Expansion, TooManyRuns
from soteacher.study.last_batch import check_last_batches
from soteacher.study.network_checks import check_networks
from soteacher.study.plan import Plan
from soteacher.study.study import Study


def expand(study: Study) -> Plan:
    """Return the plan of a study; raise `UserError` if a table or figure of it is impossible."""
    plan = expand_possible(study)
    plan.check(study.blocks)
    return plan


def expand_possible(study: Study) -> Plan:
    """Return the plan of the study's tables and figures that are possible.

    `Plan.check` raises the errors of the others. A table is not refused because of another one.
    """
    expansion = Expansion(study)
    contents: dict[str, Content] = {}
    errors = dict(study.impossible)
    for name, block in study.blocks.items():
        if name not in errors:
            try:
                contents[name] = block.content(expansion, name)
            except TooManyRuns:
                raise
            except UserError as error:
                errors[name] = str(error)
                expansion.remove(name)
    outlines = {  # of the data sets whose sizes are known without reading a file
        name: data.source.outline()
        for name, data in study.data.items()
        if not data.source.location()
    }
    for name in [*contents]:
        runs = [run for run in expansion.runs.values() if name in expansion.wanted[run.id]]
        try:
            check_networks(runs, outlines)
            check_last_batches(runs, outlines)
        except UserError as error:
            errors[name] = str(error)
            del contents[name]
            expansion.remove(name)
    return _plan(study, expansion, contents, errors)


def _plan(
    study: Study,
    expansion: Expansion,
    contents: Mapping[str, Content],
    errors: dict[str, str],
) -> Plan:
    wanted = {run_id: frozenset(names) for run_id, names in expansion.wanted.items()}
    return Plan(
        study=study,
        runs=MappingProxyType(dict(expansion.runs)),
        wanted=MappingProxyType(wanted),
        contents=MappingProxyType(dict(contents)),
        impossible=MappingProxyType(errors),
    )
