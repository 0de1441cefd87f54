"""The process that measures a network from outside on torch's meta device, for `models.facts`."""

from __future__ import annotations

import json
import re
import sys
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from soteacher.core.errors import UserError
from soteacher.models.facts import STAGE, Facts
from soteacher.models.outside import OutsideNetwork, build, check_output, refused

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)


def main() -> None:
    """Read a request from standard input; write the facts, or the error, as a line of JSON."""
    request = json.load(sys.stdin)
    sizes, code = request.pop("sizes"), request.pop("code")
    network = OutsideNetwork(**request, code=None if code is None else code.encode("latin-1"))
    with redirect_stdout(sys.stderr):  # the code of the network may print
        try:
            answer: dict[str, Any] = measured(network, *sizes)._asdict()
        except UserError as error:
            answer = {"error": str(error)}
    print(json.dumps(answer))


def measured(network: OutsideNetwork, n_classes: int, height: int, width: int) -> Facts:
    """Build a network and return its facts; raise `UserError` if it cannot be used."""
    module = build(network, n_classes, height, width)
    try:
        return facts_of_module(module, n_classes, height, width)
    except Exception as error:  # foreign code can raise anything
        raise refused(network, n_classes, height, width, error) from None


def facts_of_module(module: nn.Module, n_classes: int, height: int, width: int) -> Facts:
    """Return the facts of a network, which is moved to the meta device.

    Raises `ValueError` if it cannot be trained or if its output does not have the form of `Output`.
    """
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if not parameters:
        raise ValueError("it has no parameters with requires_grad=True; expected some to train")
    module.to("meta").eval()
    values: list[int] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(partial(_count, values))
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            output = module(torch.zeros(1, 3, height, width, device="meta"))
        check_output(output, 1, n_classes)
        of_one = tuple(values)
    module.train()
    trained = module(torch.zeros(2, 3, height, width, device="meta"))
    check_output(trained, 2, n_classes)
    if not trained.logits.requires_grad:
        raise ValueError(
            "its logits have no gradient in train mode; expected logits that depend on its "
            "parameters, without detach() or torch.no_grad()"
        )
    try:
        module(torch.zeros(1, 3, height, width, device="meta"))
        one_image = True
    except ValueError:  # a batch norm of a single value per channel
        one_image = False
    return Facts(
        parameters=parameters,
        flops=counter.get_total_flops(),
        values=of_one or (n_classes,),
        norms=sum(isinstance(layer, NORMS) for layer in module.modules()),
        features=tuple(output.features),
        maps={
            name: (value.shape[2], value.shape[3])
            for name, value in output.features.items()
            if re.fullmatch(STAGE, name)
        },
        one_image=one_image,
    )


def _count(values: list[int], layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    if output.ndim > 2:
        values.append(output.numel())
