"""Distillers on features drawn at random, in float64: for the tests of each method's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soteacher.core import registry
from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.random import seeded
from soteacher.models.output import Output
from soteacher.terms import RunContext

Shapes = dict[str, tuple[int, ...]]
STUDENT: Shapes = {
    "stem": (3, 8, 8),
    **{name: (4, 8, 8) for name in ("stage1", "stage1_pre")},
    **{name: (5, 4, 4) for name in ("stage2", "stage2_pre")},
    **{name: (6, 2, 2) for name in ("stage3", "stage3_pre")},
    "pooled": (6,),
}
"""Like a small network's, and unlike the teachers' in every number of channels."""
SAME_SIZE: Shapes = {
    "stem": (5, 8, 8),
    **{name: (7, 8, 8) for name in ("stage1", "stage1_pre")},
    **{name: (8, 4, 4) for name in ("stage2", "stage2_pre")},
    **{name: (9, 2, 2) for name in ("stage3", "stage3_pre")},
    "pooled": (9,),
}
"""A teacher with maps of the student's size, as WRN40-2 for WRN40-1."""
TWICE: Shapes = {
    name: (shape[0], *(2 * size for size in shape[1:])) for name, shape in SAME_SIZE.items()
}
"""A teacher with maps of twice the student's size, as ResNet32x4 for ShuffleNetV2."""
TEACHERS = {"same size": SAME_SIZE, "twice the size": TWICE}
FIRST = Cursor(Stage.MAIN, 0, 0)


def site_of(
    teacher: Shapes, student: Shapes = STUDENT, labels: tuple[int, ...] = (0, 1, 2, 0, 1, 2)
) -> RunContext:
    """A context of so many training images, three classes and two epochs."""
    known = torch.tensor(labels)
    return RunContext(len(labels), 3, 2, "cpu", student, teacher, 7, "student", known)


@dataclass
class Method:
    """A started distiller and its extra modules, in float64."""

    term: Any
    modules: dict[str, nn.Module]

    def losses(self, batch: Batch, student: Output, teacher: Output) -> dict[str, Tensor]:
        """The losses of a step; the network itself is of no interest to them."""
        return self.term.losses(batch, student, teacher, nn.Identity())


def started(name: str, context: RunContext, **settings: Any) -> Method:
    """A registered distiller, ready for its first step; weights are Standard's unless given."""
    term = registry.get("distiller", name)(**settings).for_teacher("standard")
    term.start(context)
    with seeded(3):
        modules = term.build(context)
    for module in modules.values():
        module.double().train()
    return Method(term, modules)


def features_of(shapes: Shapes, n: int, seed: int, gradient: bool = False) -> dict[str, Tensor]:
    """Features of n images, float64, standard normal."""
    random = np.random.default_rng(seed)
    return {
        name: torch.tensor(random.standard_normal((n, *shape)), requires_grad=gradient)
        for name, shape in shapes.items()
    }


def outputs(teacher: Shapes, student: Shapes = STUDENT, n: int = 5) -> tuple[Output, Output]:
    """Student's and teacher's outputs for n images; the student's features take a gradient."""
    random = np.random.default_rng(5)
    logits = torch.tensor(random.standard_normal((2, n, 3)))
    return (
        Output(logits[0], features_of(student, n, 1, gradient=True)),
        Output(logits[1], features_of(teacher, n, 2)),
    )


def batch_of(n: int, at: Cursor = FIRST) -> Batch:
    """A batch of the first n training images, labelled 0, 1, 2, 0, ..., at the first step."""
    indices = torch.arange(n)
    return Batch(torch.zeros(n, 3, 8, 8), indices % 3, indices, at)


def with_feature(output: Output, name: str, value: Tensor) -> Output:
    """The output with another value of one feature."""
    return output._replace(features=output.features | {name: value})


def central_differences(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient of a scalar function at a point, from its values near it."""
    found = torch.zeros_like(at)
    with torch.no_grad():
        for place in np.ndindex(*at.shape):
            shift = torch.zeros_like(at)
            shift[place] = step
            found[place] = (loss(at.detach() + shift) - loss(at.detach() - shift)) / (2 * step)
    return found
