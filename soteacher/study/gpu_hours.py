"""The time that runs take on a GPU, by a model whose constants are from one machine with an H100.

The host launches the operations of a step one by one, while the device computes them: a pass takes
the longer of both. The device takes, for each network of a step, the longer of two times: its
arithmetic at a share of the GPU's peak, and its traffic at a share of the memory's bandwidth. The
layers of distillers and of first stages are left out, as in `soteacher.study.cost`.

The peaks are the vendors' figures for dense products, recalled from their data sheets. The time of
a launch and the shares of the peaks are those of docs/gpu_check_h100.json, and
`tests/unit/test_cost.py` compares the model with its steps. Other machines launch faster or slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.study.cost import (
    FORWARD_AND_BACKWARD,
    TEST_BATCH,
    gpu_bytes,
    taken_epochs,
    taken_images,
)
from soteacher.study.operations import (
    FIRST_STAGE,
    batch_operations,
    evaluation_operations,
    own_operations,
)
from soteacher.study.specs import PreparationSpec, RunSpec

LAUNCH = 26e-6
"""Seconds of the host per ATen operation in eager PyTorch, deterministic: 23 to 30 microseconds in
TF32 and bfloat16 on a virtual machine with an H100. 5 to 12 are often stated for fast hosts."""
LEARNER = 0.35e-3
"""Seconds of the host per step of a run besides its operations: the loop and the fused SGD."""
FORWARD_TRAFFIC, TRAINING_TRAFFIC = 7.1, 17.3
"""Numbers that a network's operations read and write per value of a convolution's output, in a
forward pass and in a training step; counted on torch's meta device."""
CASTS = 1
"""Further operations per batch norm in bfloat16, in a forward or a backward pass: a cast."""
SHARE = {"float32": 0.4, "tf32": 0.25, "bfloat16": 0.2}
"""Precision to the share of the peak that convolutions reach, on the H100 with the networks of
Tiny-ImageNet; assumed for the others."""
OF_BANDWIDTH = 0.8
"""Assumed share of the memory's bandwidth that is reached."""
BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}
"""Precision to the bytes of a number in the maps of a network."""
SIZES = (24, 40, 80)
"""Memory of common GPUs, in GB."""
USABLE = 0.95
"""Assumed share of a GPU's memory that training processes can use."""


class Gpu(NamedTuple):
    """A kind of GPU, by the figures of its vendor."""

    name: str
    peak: dict[str, float]
    """Precision to FLOP per second of dense products."""
    bandwidth: float
    """Bytes per second of its memory."""

    def flop_per_second(self, precision: str) -> float:
        """Return the assumed rate of convolutions; TF32 is not used where it would be slower."""
        rates = {name: SHARE[name] * peak for name, peak in self.peak.items()}
        return max(rates[precision], rates["float32"])


GPUS = (
    Gpu("H100", {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12}, 3.35e12),
    Gpu("A100", {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12}, 2.04e12),
    Gpu("RTX 4090", {"float32": 82.6e12, "tf32": 82.6e12, "bfloat16": 165e12}, 1.01e12),
)
"""H100 SXM, A100 of 80 GB, RTX 4090."""


class Seconds(NamedTuple):
    """The time of some training on one GPU."""

    one_process: float
    """Seconds if one process trains at a time."""
    device: float
    """Seconds in which the device computes: a bound for several processes on one GPU."""


@dataclass
class Work:
    """What a pass, or a first stage on a teacher's outputs, asks of host and device."""

    operations: float = 0
    """ATen operations in float32."""
    casts: float = 0
    """Further operations in bfloat16."""
    learner_steps: int = 0
    """Training steps of single runs."""
    networks: list[tuple[float, float]] = field(default_factory=list)
    """FLOP, and numbers read and written, of each network's forward passes or training steps."""

    def evaluate(self, spec: RunSpec, outline: Outline, images: int, times: int) -> None:
        """Add forward passes of a run's network, each on this number of images."""
        flop, values = _of_an_image(spec, outline)
        times *= spec.n_networks
        self.operations += times * evaluation_operations(spec, outline)
        self.casts += times * catalogue.norms(spec.network.name, *outline.of_network)
        images *= times
        self.networks.append((flop * images, FORWARD_TRAFFIC * values * images))

    def share(self, spec: RunSpec, outline: Outline, steps: int) -> None:
        """Add the batches of steps, and the teacher's outputs for them."""
        self.operations += steps * batch_operations(spec, outline)
        if spec.teacher is not None:
            # each network of a cross-fitted teacher predicts its share of the images
            images = -(-_images(spec) // spec.teacher.n_networks)
            self.evaluate(spec.teacher, outline, images, steps)

    def train(self, spec: RunSpec, outline: Outline, steps: int) -> None:
        """Add training steps of a run, without batches and teacher."""
        flop, values = _of_an_image(spec, outline)
        self.operations += steps * own_operations(spec, outline)
        self.casts += steps * 2 * catalogue.norms(spec.network.name, *outline.of_network)
        self.learner_steps += steps
        images = steps * _images(spec)
        flop *= FORWARD_AND_BACKWARD
        self.networks.append((flop * images, TRAINING_TRAFFIC * values * images))

    def seconds_on(self, gpu: Gpu, precision: str) -> Seconds:
        """Return the time on one GPU, where host and device work at the same time."""
        casts = self.casts if precision == "bfloat16" else 0
        host = (self.operations + casts) * LAUNCH + self.learner_steps * LEARNER
        flop_per_second = gpu.flop_per_second(precision)
        values_per_second = OF_BANDWIDTH * gpu.bandwidth / BYTES[precision]
        device = sum(max(f / flop_per_second, v / values_per_second) for f, v in self.networks)
        return Seconds(max(host, device), device)


def work_of(passes: Iterable[tuple[Sequence[RunSpec], Outline]]) -> list[Work]:
    """Return the work of passes, and of the first stages of their methods; equal ones once."""
    works = []
    first_stages = {}
    for specs, outline in passes:
        works.append(_of_pass(specs, outline))
        for spec in specs:
            if _prepares_from_teacher(spec):
                first_stages[PreparationSpec(spec).canonical] = _of_first_stage(spec, outline)
    return [*works, *first_stages.values()]


def gpu_facts(passes: Sequence[tuple[Sequence[RunSpec], Outline]]) -> dict[str, Any]:
    """Return the modelled seconds of passes on each GPU, and the memory of a training process.

    `hours` has one entry per GPU and precision; `memory` has one per role and network, with the
    peak bytes of the largest process, and the number of such processes that fit on a GPU of each
    of the `SIZES`.
    """
    works = work_of(passes)
    hours = []
    for gpu in GPUS:
        for precision in SHARE:
            times = [work.seconds_on(gpu, precision) for work in works]
            one, device = (sum(values) for values in zip(*times, strict=True)) if times else (0, 0)
            hours.append({"gpu": gpu.name, "precision": precision, "seconds": one, "bound": device})
    largest: dict[tuple[str, str], int] = {}
    for specs, outline in passes:
        needed = gpu_bytes(specs, outline)
        for spec in specs:
            kind = spec.role, spec.network.name
            largest[kind] = max(largest.get(kind, 0), needed)
    memory = [
        {
            "role": role,
            "network": network,
            "bytes": needed,
            "fit": {str(size): int(USABLE * size * 1e9 // needed) for size in SIZES},
        }
        for (role, network), needed in largest.items()
    ]
    return {"hours": hours, "memory": sorted(memory, key=lambda row: -row["bytes"])}


def _of_pass(specs: Sequence[RunSpec], outline: Outline) -> Work:
    work = Work()
    steps, tests = _steps(specs[0], outline), -(-outline.n_test // TEST_BATCH)
    epochs = []
    for spec in specs:
        apart = _prepares_from_teacher(spec)
        epochs.append(spec.recipe.epochs + (0 if apart else _prepare_epochs(spec)))
        if before := spec.recipe.terms_from:
            work.train(replace(spec, terms={}), outline, before * steps)
        work.train(spec, outline, (epochs[-1] - before) * steps)
        tested = (spec.tested_epochs + 1) * tests
        work.evaluate(spec, outline, -(-outline.n_test // tests), tested)
        if spec.is_early_stopped:
            held_out = outline.n_train - sum(spec.trained_images(outline.n_train))
            batches = -(-held_out // TEST_BATCH)
            work.evaluate(spec, outline, -(-held_out // batches), spec.recipe.epochs * batches)
        if taken := -(-taken_images(spec, outline) // spec.n_networks):
            batches = -(-taken // TEST_BATCH)
            times = taken_epochs(spec) * batches
            work.evaluate(spec, outline, -(-taken // batches), times)
    work.share(specs[0], outline, max(epochs) * steps)
    return work


def _of_first_stage(spec: RunSpec, outline: Outline) -> Work:
    """Return the work of a first stage on the teacher's outputs alone, without its modules."""
    steps = _prepare_epochs(spec) * _steps(spec, outline)
    work = Work(operations=steps * FIRST_STAGE, learner_steps=steps)
    work.share(spec, outline, steps)
    return work


def _steps(spec: RunSpec, outline: Outline) -> int:
    """Return the steps of an epoch, of all networks of the run together."""
    counts = spec.trained_images(outline.n_train)
    return sum(-(-count // spec.recipe.batch) for count in counts)


def _images(spec: RunSpec) -> int:
    """Return the number of images in a full step, with all their views."""
    return spec.recipe.batch * spec.stream.turns * spec.stream.views


def _of_an_image(spec: RunSpec, outline: Outline) -> tuple[int, int]:
    """Return FLOP and values of convolutions' outputs of a forward pass of one image."""
    name, sizes = spec.network.name, outline.of_network
    return catalogue.flops(name, *sizes), sum(catalogue.values(name, *sizes))


def _prepares_from_teacher(spec: RunSpec) -> bool:
    """Return whether a run has a first stage on the teacher's outputs alone."""
    return any(part.prepares_from_teacher for part in spec.parts())


def _prepare_epochs(spec: RunSpec) -> int:
    """Return the epochs of the first stage of a run's method, as its setting says; else 0."""
    return sum(getattr(term, "prepare_epochs", 0) for term in spec.loss_terms())
