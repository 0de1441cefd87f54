"""Everything that the file of a distiller or regularizer imports: see docs/add-a-method.md.

    from soteacher.methods import Distiller, Field, register, torch

Importing this module does not import torch, and neither should a method's file, because studies are
also read on machines without torch. The `torch` of this module is imported when it is first used.
In annotations, use `torch.Tensor` and `torch.nn.Module`, with `from __future__ import annotations`.
"""

from __future__ import annotations

from pydantic import Field, PrivateAttr

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.lazy import torch
from soteacher.core.random import Random, generator, key
from soteacher.core.registry import register
from soteacher.distillers.base import (
    Distiller,
    FeatureDistiller,
    Table5,
    Weight,
    directions,
    kd_loss,
    stages,
)
from soteacher.models.output import Features, Output
from soteacher.regularizers.base import ImageChange, Regularizer
from soteacher.terms import Preparation, RunContext, cross_entropy, soft_targets

__all__ = [
    "Batch",
    "Cursor",
    "Distiller",
    "FeatureDistiller",
    "Features",
    "Field",
    "ImageChange",
    "Output",
    "Preparation",
    "PrivateAttr",
    "Random",
    "Regularizer",
    "RunContext",
    "Stage",
    "Table5",
    "UserError",
    "Weight",
    "cross_entropy",
    "directions",
    "generator",
    "kd_loss",
    "key",
    "register",
    "soft_targets",
    "stages",
    "torch",
]
