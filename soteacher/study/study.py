"""A study: everything in its study file and override files."""

from __future__ import annotations

from soteacher.study.kinds.base import Block
from soteacher.study.schema import Components


class Study(Components):
    """A checked study: every name in it is known and every value is valid."""

    tables: dict[str, Block]
    figures: dict[str, Block]

    @property
    def blocks(self) -> dict[str, Block]:
        """All tables and figures."""
        return self.tables | self.figures
