"""Route constrained optimization: Jin et al., Knowledge Distillation via Route Constrained
Optimization, 2019; one-stage, equal epoch intervals (EEI).

The student's epochs are cut into n equal segments. In segment j = 0, ..., n - 1 its teacher is not
the final one but the same teacher as it was after epoch round((j + 1) * T / n) of T: an anchor on
the teacher's own way. SoTeacher, Appendix D.2: 24 anchors, every 10 of 240 epochs.

The loss is KD's, with its weights; one learning rate schedule runs over all segments. Jin et al.
also choose anchors greedily, and begin the schedule anew at each: neither is done here.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.distillers.base import Distiller


@register
class RCO(Distiller):
    """KD from one earlier state of the teacher after the other, and at last from the final one."""

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "RCO"

    ce: float = Field(0.5, ge=0)
    """Weight of the cross-entropy with the labels."""
    kd: float = Field(0.5, ge=0)
    """Weight of the divergence from the anchor's predictions."""
    anchors: int = Field(24, ge=1)
    """States of the teacher that the student learns from, at equal intervals of its epochs; the
    teacher's recipe must keep them (`keep_every`)."""

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """The anchor of the segment that a 0-based epoch of `epochs` is in."""
        segment = epoch * self.anchors // epochs
        return round((segment + 1) * last / self.anchors)
