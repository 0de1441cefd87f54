"""A study: everything in its study file and override files."""

from __future__ import annotations

from collections.abc import Mapping

from soteacher.study.kinds.base import Block
from soteacher.study.schema import Components


class Study(Components):
    """A checked study: every name in it is known and every value is valid."""

    tables: Mapping[str, Block]
    figures: Mapping[str, Block]
    impossible: Mapping[str, str]
    """Name of a table or figure to the reason why it is impossible with the rest of the study."""

    @property
    def blocks(self) -> dict[str, Block]:
        """All tables and figures."""
        return {**self.tables, **self.figures}
