"""Route constrained optimization: Jin et al., Knowledge Distillation via Route Constrained
Optimization, 2019; one-stage, equal epoch intervals (EEI).

The student's epochs are split into n equal segments. In segment j = 0, ..., n - 1 the student
learns from an anchor: the checkpoint of its teacher after epoch round((j + 1) * T / n) of T.
SoTeacher, Appendix D.2: 24 anchors, one every 10 of 240 epochs.

The loss is that of KD, with its weights; one learning rate schedule covers all segments. Jin et al.
also choose anchors greedily and restart the schedule at each anchor; this code does neither.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.distillers.base import Distiller


@register
class RCO(Distiller):
    """KD from earlier checkpoints of the teacher, one after the other, then from the last one."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 0
    display_name: ClassVar[str] = "RCO"

    ce: float = Field(0.5, ge=0)
    """Weight of the cross-entropy with the labels."""
    kd: float = Field(0.5, ge=0)
    """Weight of the divergence from the anchor's predictions."""
    anchors: int = Field(24, ge=1)
    """Number of checkpoints of the teacher that the student learns from, at equal intervals of the
    teacher's epochs. The teacher's recipe must keep them (`keep_every`)."""

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Return the teacher's epoch (the anchor) for a 0-based epoch of `epochs`."""
        segment = epoch * self.anchors // epochs
        return round((segment + 1) * last / self.anchors)
