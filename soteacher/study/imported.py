"""Imported teachers: networks that were trained elsewhere, with their weights in a file.

The content of a file is part of the specs of the teacher and its students; its location is not.
"""

from __future__ import annotations

from pathlib import Path

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.core.recipe import Recipe
from soteacher.data.settings import Augment
from soteacher.data.spec import DataSpec
from soteacher.study.schema import TeacherMethod
from soteacher.study.spec_parts import NetworkSpec, StreamSpec, WeightsSpec
from soteacher.study.specs import RunSpec

IMPORT = 1
"""Revision of the import. Increase it if the same file gives other weights or logits."""


def path_of(settings: TeacherMethod, method: str, network: str) -> str:
    """Return the path of a teacher network's file; `UserError` if the method has none for it."""
    if not isinstance(settings.weights, dict):
        return settings.weights
    if network not in settings.weights:
        raise UserError(
            f"teachers.{method}.weights: no file is given for the teacher network '{network}' "
            f"(given: {', '.join(settings.weights)}); add it, or leave out '{method}' or the pairs "
            "with this network"
        )
    return settings.weights[network]


def weights_spec(path: str, key: str) -> WeightsSpec:
    """Return the spec of a file of weights, which is hashed and not interpreted.

    key : the key of the study that names the file, for messages.   Raises `UserError` if there is
    no such file, or if it cannot be read.
    """
    if not files.is_file(Path(path), "the weights"):
        raise UserError(
            f"{key}: there is no file {path} (working directory: {Path.cwd()}); expected a state "
            "dict, .pth, .pt, .bin or .safetensors: correct the path"
        )
    try:
        return WeightsSpec(files.sha256_of(Path(path)), IMPORT)
    except OSError as error:
        raise UserError(
            f"{key}: cannot read {path}: {files.reason(error)}; give this user the permission to "
            "read it, or choose another file"
        ) from None


def imported_spec(
    data: DataSpec, network: NetworkSpec, weights: WeightsSpec, precision: str
) -> RunSpec:
    """Return the spec, of seed 0, of a teacher with given weights.

    What only matters in training has fixed values, the smallest that a spec can have. The precision
    is that of the study, because a GPU may round in the computation of the logits.
    """
    return RunSpec(
        role="teacher",
        data=data,
        stream=StreamSpec(Augment()),
        network=network,
        recipe=Recipe(epochs=1, batch=1, lr=1.0, decay_at=()),
        terms={},
        seed=0,
        precision=precision,
        weights=weights,
    )
