"""Knowledge distillation: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network,
2015. SoTeacher, Appendix D.2: alpha 0.5, temperature 4.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.distillers.base import Distiller


@register
class KD(Distiller):
    """0.5 * cross-entropy + 0.5 * T^2 KL(teacher || student) at T = 4, without other losses."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 0
    logits_only: ClassVar[bool] = True
    display_name: ClassVar[str] = "KD"

    ce: float = Field(0.5, ge=0)
    """Weight of the cross-entropy with the labels (alpha of Appendix D.2)."""
    kd: float = Field(0.5, ge=0)
    """Weight of the divergence (1 - alpha of Appendix D.2)."""
