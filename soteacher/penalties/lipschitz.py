"""The Lipschitz penalty (LR): SoTeacher, Section 4 and Appendix C."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, product
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from soteacher.core.errors import UserError, few, one_of
from soteacher.penalties.checks import at_least_float32, check_network, checked_weight
from soteacher.penalties.choices import Norm
from soteacher.penalties.entrywise import added, in_few_operations, sum_of_norms

LazyBatchNorm = nn.LazyBatchNorm1d | nn.LazyBatchNorm2d | nn.LazyBatchNorm3d
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm | LazyBatchNorm
Layer = nn.Conv2d | nn.Linear | BatchNorm


class Counted(NamedTuple):
    """What the Lipschitz sum counts in a network, and what it does not."""

    layers: tuple[str, ...]
    """Names of the layers whose bounds are added."""
    frozen: tuple[str, ...]
    """Names of layers that would be counted, but are not, because their weights are frozen."""
    others: tuple[str, ...]
    """Names of trainable parameters of all other layers, except biases: they add nothing."""


class LipschitzPenalty(nn.Module):
    """weight * `lipschitz_sum` of a network: l_LR of the paper's Section 4.

    weight : weight of the sum (the paper: 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet).
    norm : norm of a convolution; see `lipschitz_sum`.

    If the network has layers that the sum does not count, the first call warns once and names their
    parameters. `counted` lists them, too.
    """

    def __init__(self, weight: float = 1e-5, norm: Norm = "entrywise") -> None:
        super().__init__()
        self.weight, self.norm = checked_weight(weight), one_of("norm", norm, Norm)
        self._told = False

    def forward(self, network: nn.Module) -> Tensor:
        """Return the weighted sum, (); call it once per step, after the network's forward pass."""
        total = lipschitz_sum(network, self.norm)
        if not self._told:
            self._told = True
            if others := counted(network).others:
                warnings.warn(
                    "the Lipschitz sum counts Conv2d, Linear and batch norm layers only; it does "
                    f"not count {few(others)} (lipschitz.counted(network) lists all)",
                    stacklevel=4,  # the caller of the module
                )
        return self.weight * total

    def counted(self, network: nn.Module) -> Counted:
        """Return what the sum counts in a network; see `counted`."""
        return counted(network)

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        return f"weight={self.weight}, norm={self.norm!r}"


def counted(network: nn.Module) -> Counted:
    """Return the names of the layers that the Lipschitz sum counts, and of what it leaves out."""
    layers: list[str] = []
    frozen: list[str] = []
    weights: set[int] = set()
    for name, layer in _layers(network):
        trained = list(_trained(layer))
        (layers if trained else frozen).append(name)
        weights.update(map(id, trained))
    others = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and id(parameter) not in weights and not _is_bias(name)
    ]
    return Counted(tuple(layers), tuple(frozen), tuple(others))


def _layers(network: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Yield name and layer of each layer of a counted kind, trainable or frozen."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) or (
            isinstance(layer, BatchNorm) and layer.affine
        ):
            yield name, layer


def _trained(layer: Layer) -> Iterator[nn.Parameter]:
    """Yield the trainable parameters that a layer's weight is, or is computed from."""
    for name, parameter in layer.named_parameters():
        if parameter.requires_grad and not _is_bias(name):
            yield parameter


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2] or ".parametrizations.bias." in f".{name}"


def _weight(layer: Layer) -> Tensor:
    """Return the weight of a layer, without a change of its parametrization's buffers.

    A spectral norm in train mode would do one more step of its power iteration.
    """
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight
    parts = [(part, part.training) for part in layer.parametrizations.modules()]  # type: ignore[union-attr]
    try:
        for part, _ in parts:
            part.training = False
        return layer.weight
    finally:
        for part, training in parts:
            part.training = training


def lipschitz_sum(network: nn.Module, norm: Norm = "entrywise") -> Tensor:
    """Return the sum over trainable layers of a bound on the Lipschitz constant in the 1-norm.

    l_LR = sum_conv c(W)  +  sum_bn max_c |gamma_c| / sqrt(var_c + eps)
         + sum_linear max_j sum_k |W_kj|

    The linear term is the norm that the 1-norm induces (largest column sum). `var` is the running
    variance, a constant: no gradient flows through it. Biases are not counted. The norm of a
    convolution, with W of shape (out, in / groups, height, width), is

    entrywise : sum_oiab |W_oiab|, as in the authors' code (shwinshaker/SoTeacher,
        helper/lip_util.py): an upper bound of the others, with a gradient to every weight.
    induced : max_i sum_oab |W_oiab| over the o that use channel i, as in the paper's text and in
        Gouk et al. (2021): the norm that the 1-norm induces at stride 1, and a bound at any stride.
    induced_strided : the norm that the 1-norm induces at any stride s and dilation d. An input
        pixel meets only the taps (a, b) of one phase (a d mod s, b d mod s), so this is the largest
        sum over the o and the taps of one phase, for any i and phase.

    The latter two are exact if some input pixel meets all taps of the largest sum inside the map;
    on smaller maps with zero padding they are upper bounds.

    Conv2d, Linear and batch norms with a trainable scale are counted, anywhere in the network.
    Other layers (other and transposed convolutions, other norms, embeddings, recurrent layers, the
    input projection of an attention layer) and frozen layers add nothing; `counted` lists them. A
    parametrized weight (weight norm, spectral norm) counts with the value that the layer uses.
    Layers that share one weight count once each, because the bound of a network has a factor for
    each layer. A layer that is called several times counts once, because its calls are not known.

    Returns Tensor, (), with gradients to the weights.   Raises UserError if no layer is counted,
    if a parameter is not initialised, or if a batch norm keeps no running variance.
    """
    one_of("norm", norm, Norm)
    check_network(network)
    in_order: list[nn.Module] = []  # in the network's order: the bits of the sum depend on it
    convolutions: list[Tensor] = []  # those whose norms are added in few operations
    bounds: dict[nn.Module, Tensor] = {}
    batch_norms: dict[tuple[Any, ...], list[BatchNorm]] = defaultdict(list)
    for name, layer in _layers(network):
        if next(_trained(layer), None) is None:
            continue
        if isinstance(layer, nn.Conv2d):
            weight = at_least_float32(_weight(layer))
            if norm == "entrywise" and in_few_operations([weight]):
                convolutions.append(weight)
                continue
            bounds[layer] = _convolution(layer, weight, norm)
        elif isinstance(layer, nn.Linear):
            columns = at_least_float32(_weight(layer)).abs().sum(dim=0)  # (K, J) -> (J,)
            bounds[layer] = columns.max()
        elif layer.running_var is None:
            raise UserError(
                f"batch norm '{name}' keeps no running variance, which its Lipschitz constant "
                "needs; create it with track_running_stats=True"
            )
        else:
            variance = layer.running_var
            batch_norms[layer.eps, variance.dtype, variance.device].append(layer)
        in_order.append(layer)
    for layers in batch_norms.values():
        bounds.update(_batch_norms(layers))
    if not in_order and not convolutions:
        raise UserError(
            "the network has no layer that the Lipschitz term counts: expected a Conv2d, a Linear "
            "or a batch norm with a trainable weight; remove the term for this network"
        )
    terms = [bounds[layer] for layer in in_order]
    if convolutions:
        terms.append(sum_of_norms(convolutions))
    return added(terms)


def _convolution(layer: nn.Conv2d, weight: Tensor, norm: Norm) -> Tensor:
    if norm == "entrywise":
        return torch.linalg.vector_norm(weight, 1)
    out, into, *kernel = weight.shape
    taps = weight.abs().reshape(layer.groups, out // layer.groups, into, *kernel).sum(dim=1)
    steps = [1, 1]  # every `step`-th tap belongs to the same phase
    if norm == "induced_strided":
        steps = [s // math.gcd(s, d) for s, d in zip(layer.stride, layer.dilation, strict=True)]
    phases = product(*(range(min(step, size)) for step, size in zip(steps, kernel, strict=True)))
    sums = [taps[..., a :: steps[0], b :: steps[1]].sum(dim=(2, 3)) for a, b in phases]
    return torch.stack(sums).max()  # (phases, groups, in / groups) -> ()


def _batch_norms(layers: list[BatchNorm]) -> dict[nn.Module, Tensor]:
    """Return the bounds of layers of one eps, computed together: fewer operations."""
    width = attrgetter("num_features")
    groups = [list(group) for _, group in groupby(sorted(layers, key=width), key=width)]
    in_groups = [layer for group in groups for layer in group]
    scales = at_least_float32(torch.cat([_weight(layer) for layer in in_groups]))
    tracked = [layer.running_var for layer in in_groups if layer.running_var is not None]
    variances = at_least_float32(torch.cat(tracked))
    ratios = scales.abs() / (variances + layers[0].eps).sqrt()
    sizes = [len(group) * group[0].num_features for group in groups]
    parts = ratios.split(sizes)  # type: ignore[no-untyped-call]
    bounds: dict[nn.Module, Tensor] = {}
    for group, part in zip(groups, parts, strict=True):
        largest = part.view(len(group), -1).amax(dim=1)  # (L * C,) -> (L, C) -> (L,)
        bounds.update(zip(group, largest.unbind(), strict=True))
    return bounds
