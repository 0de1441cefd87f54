"""The shortest possible time of a training step: a model of its work, and GPUs' stated peaks.

Nothing here was measured. FLOP and bytes are those of `soteacher.study.gpu_hours`, which takes
shares of such peaks to model hours; here a measured time is compared with the whole peaks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.study import gpu_hours
from soteacher.study.cost import step_flop
from soteacher.study.gpu_hours import BYTES, FORWARD_TRAFFIC, TRAINING_TRAFFIC
from soteacher.study.specs import RunSpec


@dataclass(frozen=True)
class Peaks:
    """What the vendor states for one kind of GPU: dense TFLOP/s by precision, and TB/s."""

    float32: float
    tf32: float
    bfloat16: float
    memory: float


MODELLED = {
    gpu.name: Peaks(
        **{name: peak / 1e12 for name, peak in gpu.peak.items()}, memory=gpu.bandwidth / 1e12
    )
    for gpu in gpu_hours.GPUS
}
GPUS = {
    r"H200": Peaks(67, 495, 989, 4.8),
    r"GH200|H100.*HBM3|H100 SXM": MODELLED["H100"],
    r"H100 NVL": Peaks(60, 418, 835, 3.9),
    r"H100": Peaks(51, 378, 756, 2.0),
    r"A100-SXM.*80GB": MODELLED["A100"],
    r"A100.*80GB": Peaks(19.5, 156, 312, 1.94),
    r"A100": Peaks(19.5, 156, 312, 1.555),
    r"A30": Peaks(10.3, 82, 165, 0.933),
    r"A10\b": Peaks(31.2, 62.5, 125, 0.6),
    r"L40S": Peaks(91.6, 183, 362, 0.864),
    r"L4\b": Peaks(30.3, 60, 121, 0.3),
    r"RTX 4090": MODELLED["RTX 4090"],
    r"RTX 3090": Peaks(35.6, 35.6, 71, 0.936),
}
"""Pattern of a GPU's name to its peaks; the first pattern that is found counts."""


def peaks_of(gpu: str) -> Peaks | None:
    """Return the stated peaks of a GPU with this name, or None if it is not in the list."""
    return next((peaks for name, peaks in GPUS.items() if re.search(name, gpu)), None)


def work_of(spec: RunSpec, outline: Outline) -> tuple[float, float]:
    """Return the FLOP and the bytes of a full training step, a student's with its teacher's part.

    It is for runs whose batch has one view of each image.
    """
    size = outline.of_network
    values = sum(catalogue.values(spec.network.name, *size)) * TRAINING_TRAFFIC
    flop = step_flop(spec, outline)
    if spec.teacher is not None:
        teacher = spec.teacher.network.name
        values += sum(catalogue.values(teacher, *size)) * FORWARD_TRAFFIC
        flop += spec.recipe.batch * catalogue.flops(teacher, *size)
    return flop, spec.recipe.batch * values * BYTES[spec.precision]


def shortest(peaks: Peaks, precision: str, flop: float, n_bytes: float) -> tuple[float, str]:
    """Return the seconds of the roofline, and what bounds it: `arithmetic` or `memory`."""
    arithmetic = flop / (getattr(peaks, precision) * 1e12)
    memory = n_bytes / (peaks.memory * 1e12)
    return max((arithmetic, "arithmetic"), (memory, "memory"))
