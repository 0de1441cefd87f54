"""The oracle: a teacher that knows the true label distributions p*, and is not trained."""

from __future__ import annotations

from soteacher.core.recipe import Recipe
from soteacher.data.settings import Augment
from soteacher.data.spec import DataSpec
from soteacher.models.catalogue import TRUE_LABELS
from soteacher.study.spec_parts import NetworkSpec, StreamSpec
from soteacher.study.specs import RunSpec

ORACLE = 1
"""Revision of the oracle's logits. Increase it if they change."""


def oracle_spec(data: DataSpec) -> RunSpec:
    """Return the spec, of seed 0, of the oracle of a data set with known distributions.

    All oracles of a data set are equal: what only matters in training has fixed values, the
    smallest that a spec can have.
    """
    return RunSpec(
        role="teacher",
        data=data,
        stream=StreamSpec(Augment()),
        network=NetworkSpec(TRUE_LABELS, ORACLE),
        recipe=Recipe(epochs=1, batch=1, lr=1.0, decay_at=()),
        terms={},
        seed=0,
    )
