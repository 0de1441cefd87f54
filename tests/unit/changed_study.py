"""Studies of tests with other values."""

from __future__ import annotations

import copy
from typing import Any


def changed_study(study: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a study with other values, at any depth of mappings."""

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        both = {k: merge(old[k], v) for k, v in new.items() if v and isinstance(old.get(k), dict)}
        return old | new | both

    return merge(copy.deepcopy(study), values)
