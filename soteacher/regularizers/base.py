"""The base of every regularizer."""

from __future__ import annotations

from typing import Self

from soteacher.terms import LossTerm


class Regularizer(LossTerm):
    """A loss term of a teacher. Its file's name is its key in a study's `teachers`."""

    def data_sets(self) -> tuple[str, ...]:
        """The data sets that these settings name."""
        return ()

    def for_data(self, data: str, where: str) -> Self:
        """These settings for one data set of the study: some may be a map by data set."""
        return self
