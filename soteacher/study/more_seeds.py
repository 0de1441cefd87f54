"""A study with another number of seeds, to see what more certainty costs."""

from __future__ import annotations

from itertools import count, islice

from soteacher.core.errors import UserError
from soteacher.study.kinds.base import Block, RunsBlock
from soteacher.study.kinds.types import MOST_SEEDS
from soteacher.study.study import Study


def with_seeds(study: Study, n: int) -> Study:
    """Return the study with n seeds in every table and figure, also in blocks with their own seeds.

    The seeds are the first of the study's; if these are fewer than n, the smallest whole numbers
    that are not among them follow. Raises `UserError` unless n is from 1 to `MOST_SEEDS`.
    """
    if not 1 <= n <= MOST_SEEDS:
        raise UserError(f"got --seeds {n}: expected a whole number from 1 to {MOST_SEEDS}")
    others = (seed for seed in count() if seed not in study.seeds)
    seeds = tuple(islice((*study.seeds, *islice(others, n)), n))
    update = {
        part: {name: _with_the_study_s(block) for name, block in getattr(study, part).items()}
        for part in ("tables", "figures")
    }
    return study.model_copy(update={"seeds": seeds, **update})


def _with_the_study_s(block: Block) -> Block:
    """Return a block without seeds of its own, if it is one that trains runs."""
    return block.model_copy(update={"seeds": None}) if isinstance(block, RunsBlock) else block
