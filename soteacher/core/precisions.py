"""The precisions of a run's networks; specs leave out float32, the default."""

from __future__ import annotations

PRECISIONS = FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
