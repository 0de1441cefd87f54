"""The check that networks can be built for their images, and have what distillers match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.distillers.base import Distiller
from soteacher.models import catalogue
from soteacher.study.runs import Run


def check_networks(runs: Iterable[Run], outlines: Mapping[str, Outline]) -> None:
    """Raise `UserError` if a run on one of these data sets has a network that cannot be used.

    outlines : name of a data set to its sizes.
    """
    known: set[tuple[str, str, str]] = set()
    for run in runs:
        if run.data not in outlines or run.spec.is_oracle:
            continue
        network = run.spec.network.name
        sizes = outlines[run.data].of_network
        ours = catalogue.facts(network, *sizes).features
        if run.teacher is None or run.teacher.spec.is_oracle:
            continue
        teacher = run.teacher.spec.network.name
        for name, term in run.spec.terms.items():
            if (network, teacher, name) in known:  # another seed
                continue
            known.add((network, teacher, name))
            part = term.part("distiller", name)
            assert issubclass(part, Distiller)
            theirs = catalogue.facts(teacher, *sizes).features
            for feature in part.needs:
                for who, features in ((teacher, theirs), (network, ours)):
                    if feature not in features:
                        raise UserError(_lacking(run.id, name, who, feature, features))


def _lacking(run_id: str, method: str, who: str, feature: str, features: tuple[str, ...]) -> str:
    return (
        f"{run_id}: {method} needs the feature '{feature}' of both networks, but {who} has only "
        f"{', '.join(features)}; leave out {method}, or choose another network"
    )
