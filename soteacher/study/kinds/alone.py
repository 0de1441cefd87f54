"""The base class of tables that can show students alone."""

from __future__ import annotations

from soteacher.core.errors import UserError
from soteacher.study.expansion import ALONE
from soteacher.study.kinds.base import PairBlock
from soteacher.study.schema import Components


class AloneBlock(PairBlock):
    """A table of students that can have a row of students alone."""

    alone: bool = False
    """Whether to add a row of students alone: each pair's student network, trained with the labels
    and the student's recipe but without a teacher, once per seed."""

    def check(self, study: Components, where: str) -> None:
        """Also check that no teacher method has the name of the row."""
        super().check(study, where)
        if self.alone and ALONE in study.teachers:
            raise UserError(
                f"{where}.alone: the row of students alone is named '{ALONE}', and so is a teacher "
                "method of the study; choose another name for the method"
            )
