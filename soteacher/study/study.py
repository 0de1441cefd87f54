"""A whole study: everything that its file says."""

from __future__ import annotations

from soteacher.study.kinds.base import Block
from soteacher.study.schema import Components


class Study(Components):
    """A whole study, every name in it known and every value possible."""

    tables: dict[str, Block]
    figures: dict[str, Block]

    @property
    def blocks(self) -> dict[str, Block]:
        """All tables and figures."""
        return self.tables | self.figures
