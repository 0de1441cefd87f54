"""Intervals over test images, for networks that were trained with one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence


def difference_over_images(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float, float]:
    """Return a difference of two runs and an interval of it, over test images alone.

    The intervals of the two are joined as if they were independent (MOVER; Zou and Donner, 2008):
    low = d - sqrt((a - a_low)^2 + (b_high - b)^2), and high likewise. The two networks are tested
    on the same images and mostly fail on the same ones, so this interval is rather too wide. It
    says nothing about other seeds.

    first, second : value, lower end and upper end of a run's interval.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    difference = a - b
    below = math.hypot(a - a_low, b_high - b)
    above = math.hypot(a_high - a, b - b_low)
    return difference, difference - below, difference + above
