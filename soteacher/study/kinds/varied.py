"""Base class of figures of a teacher method with varied settings: kinds `sweep` and `grid`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.study.kinds.base import PairBlock, check_known
from soteacher.study.kinds.types import Listed, Value
from soteacher.study.schema import Components, regularizers
from soteacher.study.setting_change import Regularizers, SettingChange


class VariedBlock(PairBlock):
    """A teacher method with varied settings, and its students.

    `teachers` are the methods to compare it with.
    """

    base: str
    """Teacher method with the settings to change."""
    vary: Annotated[dict[str, Listed[Value]], Field(min_length=1)]
    """Values to show for each setting, `<regularizer>.<setting>`, of the teacher method `base`. A
    `weight` of 0 leaves the regularizer out. The value that `base` has is always shown."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the varied settings are settings of the base, with valid values."""
        super().check(study, where)
        check_known("teacher method", (self.base,), study.teachers, f"{where}.base")
        if self.base in self.teachers:
            raise UserError(
                f"{where}.teachers: expected methods to compare '{self.base}' with; leave out "
                f"'{self.base}', which the figure always shows"
            )
        for pair in self.pairs_in(study):
            base = self.base_in(study, pair)
            for name, values in self.vary.items():
                for value in values:
                    try:
                        SettingChange(name, value).of(base)
                    except UserError as error:
                        raise UserError(f"{where}.vary.{name}: {error}") from None

    def base_in(self, study: Components, pair: str) -> Regularizers:
        """Return the regularizers of the base method on a pair's data set."""
        return regularizers(study, self.base, study.pairs[pair].data)

    def values_of(self, setting: str, base: Regularizers) -> tuple[float | str, list[float | str]]:
        """Return the base's value of a setting, and all values, sorted if they are numbers."""
        base_value = SettingChange(setting, self.vary[setting][0]).without(base)
        values = list(dict.fromkeys([base_value, *self.vary[setting]]))
        if not any(isinstance(value, str) for value in values):
            values.sort()
        return base_value, values
