"""The Lipschitz penalty (LR): SoTeacher, Section 4 and Appendix C."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import torch
from torch import Tensor, nn

from soteacher.core.errors import UserError, one_of
from soteacher.penalties.checks import at_least_float32, checked_weight
from soteacher.penalties.choices import Norm

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class LipschitzPenalty(nn.Module):
    """weight * `lipschitz_sum` of a network: l_LR of the paper's Section 4.

    weight : weight of the sum (the paper: 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet).
    norm : norm of a convolution; see `lipschitz_sum`.
    """

    def __init__(self, weight: float = 1e-5, norm: Norm = "entrywise") -> None:
        super().__init__()
        self.weight, self.norm = checked_weight(weight), one_of("norm", norm, Norm)

    def forward(self, network: nn.Module) -> Tensor:
        """Return the weighted sum, (); call it once per step, after the network's forward pass."""
        return self.weight * lipschitz_sum(network, self.norm)


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
    Other layers (other convolutions and norms, embeddings, the separate parameters of an attention
    layer) add nothing.

    Returns Tensor, (), with gradients to the weights.   Raises UserError if no layer is counted,
    or if a batch norm keeps no running variance.
    """
    one_of("norm", norm, Norm)
    counted: list[nn.Module] = []  # in the network's order: the bits of the sum depend on it
    bounds: dict[nn.Module, Tensor] = {}
    norms_by_shape: dict[tuple[int, float], list[BatchNorm]] = defaultdict(list)
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            bounds[layer] = _convolution(layer, norm)
        elif isinstance(layer, torch.nn.Linear):
            columns = at_least_float32(layer.weight).abs().sum(dim=0)  # (K, J) -> (J,)
            bounds[layer] = columns.max()
        elif isinstance(layer, BatchNorm) and layer.affine:
            if layer.running_var is None:
                raise UserError(
                    f"batch norm '{name}' keeps no running variance, which its Lipschitz constant "
                    "needs; create it with track_running_stats=True"
                )
            norms_by_shape[layer.num_features, layer.eps].append(layer)
        else:
            continue
        counted.append(layer)
    for layers in norms_by_shape.values():
        bounds.update(zip(layers, _batch_norms(layers), strict=True))
    if not counted:
        raise UserError(
            "the network has no layer that the Lipschitz term counts: expected a Conv2d, a Linear "
            "or a batch norm with a trainable scale; remove the term for this network"
        )
    return torch.stack([bounds[layer] for layer in counted]).sum()


def _convolution(layer: nn.Conv2d, norm: Norm) -> Tensor:
    if norm == "entrywise":
        return torch.linalg.vector_norm(at_least_float32(layer.weight), 1)
    out, into, *kernel = layer.weight.shape
    taps = (
        at_least_float32(layer.weight)
        .abs()
        .reshape(layer.groups, out // layer.groups, into, *kernel)
        .sum(dim=1)
    )
    steps = [1, 1]  # every `step`-th tap belongs to the same phase
    if norm == "induced_strided":
        steps = [s // math.gcd(s, d) for s, d in zip(layer.stride, layer.dilation, strict=True)]
    phases = product(*(range(min(step, size)) for step, size in zip(steps, kernel, strict=True)))
    sums = [taps[..., a :: steps[0], b :: steps[1]].sum(dim=(2, 3)) for a, b in phases]
    return torch.stack(sums).max()  # (phases, groups, in / groups) -> ()


def _batch_norms(layers: list[BatchNorm]) -> tuple[Tensor, ...]:
    """Return the bounds of layers of one width and eps, computed together: fewer GPU kernels."""
    scales = at_least_float32(torch.stack([layer.weight for layer in layers]))  # (L, C)
    tracked = [layer.running_var for layer in layers if layer.running_var is not None]
    variances = at_least_float32(torch.stack(tracked))
    return (scales.abs() / (variances + layers[0].eps).sqrt()).amax(dim=1).unbind()
