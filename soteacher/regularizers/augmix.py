"""AugMix: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
Uncertainty", ICLR 2020; Table 7.

This follows the method's released code (google-research/augmix), for whole batches on the device.
`torchvision.transforms.v2.AugMix` differs: it draws the operations of a chain once for a whole
batch, and their strengths from a grid of ten values with 0 among them; by default it also changes
brightness, contrast, colour and sharpness; its shifts and turns blend the image with the black
outside; it truncates the result to whole numbers; and it has no consistency loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.lazy import numpy as np
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.regularizers.base import ImageChange

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.core.random import Random
    from soteacher.models.output import Output

POINTWISE = ("autocontrast", "equalize", "posterize", "solarize")
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*POINTWISE, *GEOMETRIC)
"""Equally likely operations, without those that the test sets of corrupted images contain."""
DEEPEST = 3
"""The largest number of operations in a chain; a chain has one, two or three."""


def operated(images: Tensor, operations: np.ndarray, levels: np.ndarray) -> Tensor:
    """Apply one operation to each image; the result is bit-identical to Pillow's.

    images : uint8, (R, H, W, 3).   operations : int, (R,), indices in `OPERATIONS`; -1 is none.
    levels : float, (R,), strength from 0.1 to 10; a negative strength is in the other direction
    if the operation has two; autocontrast and equalize ignore it.   Returns uint8, (R, H, W, 3).
    """
    _, height, width, _ = images.shape
    result = images.clone()
    for number, name in enumerate(POINTWISE):
        rows = np.flatnonzero(operations == number)
        if len(rows):
            at = torch.from_numpy(rows).to(images.device, non_blocking=True)
            result[at] = _pointwise(name, images[at], np.abs(levels[rows]))
    rows = np.flatnonzero(operations >= len(POINTWISE))
    if len(rows):
        from soteacher.data.augment import transform

        matrices = _matrices(operations[rows], levels[rows], height, width)
        at = torch.from_numpy(rows).to(images.device, non_blocking=True)
        maps = torch.from_numpy(matrices).to(images.device, non_blocking=True)
        result[at] = transform(images[at], maps)
    return result


def _pointwise(name: str, images: Tensor, levels: np.ndarray) -> Tensor:
    if name == "autocontrast":
        return _autocontrast(images)
    if name == "equalize":
        from torchvision.transforms.v2.functional import equalize

        return equalize(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    if name == "posterize":
        dropped = 4 + _whole(levels, 4)  # at most 4 bits are kept
        numbers = 255 - (1 << dropped) + 1
        return images & _column(numbers, images)
    darkest = (256 - _whole(levels, 256)).clip(0, 255)  # solarize: brighter pixels are inverted
    return torch.where(images >= _column(darkest, images), 255 - images, images)


def _column(numbers: np.ndarray, images: Tensor) -> Tensor:
    column = torch.from_numpy(numbers.astype(np.uint8)[:, None, None, None])
    return column.to(images.device, non_blocking=True)


def _autocontrast(images: Tensor) -> Tensor:
    """Spread each channel to 0..255; torchvision's version differs from Pillow's in rounding."""
    low, high = images.amin(dim=(1, 2), keepdim=True), images.amax(dim=(1, 2), keepdim=True)
    apart = (high - low).clamp(min=1).double()
    scale = torch.full_like(apart, 255) / apart  # `255 / apart` would be 255 times its reciprocal
    spread = (images * scale + -low.double() * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, spread, images)


def _matrices(operations: np.ndarray, levels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the matrices of geometric operations for `transform`: float64, (R, 6)."""
    from soteacher.data.augment import turned

    strength, sign = np.abs(levels), np.sign(levels)
    names = np.array(OPERATIONS)[operations]
    matrices = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(levels), 1))
    for name, place, values in (
        ("shear_x", 1, levels * 0.3 / 10),
        ("shear_y", 3, levels * 0.3 / 10),
        ("translate_x", 2, sign * _whole(strength, width / 3)),
        ("translate_y", 5, sign * _whole(strength, height / 3)),
    ):
        matrices[names == name, place] = values[names == name]
    rotated = names == "rotate"
    matrices[rotated] = turned((sign * _whole(strength, 30))[rotated], height, width)
    return matrices


def _whole(levels: np.ndarray, most: float) -> np.ndarray:
    """Return a strength as a whole number from 0 to `most`, rounded down."""
    return (levels * most / 10).astype(np.int64)


def jensen_shannon(logits: Tensor, views: int) -> Tensor:
    """Jensen-Shannon divergence of the predictions of the views of an image: AugMix, Eq. (2).

    mean over B of the mean over v of KL(p_v || m), with m the mean of the p_v, at least 1e-7.

    logits : Tensor, (views * B, K): first all first views.   Returns Tensor, ().
    """
    logs = logits.log_softmax(dim=1).unflatten(0, (views, -1))  # (V, B, K)
    mean = logs.exp().mean(dim=0).clamp(1e-7, 1).log()
    return (logs.exp() * (logs - mean)).sum(dim=2).mean()


@register
class AugMix(ImageChange):
    """Images are blended with a blend of `width` chains of random operations on them.

    (1 - m) x + m sum_k w_k chain_k(x), with w from Dirichlet(alpha, ..., alpha) and m from
    Beta(alpha, alpha) for each image, after crop and flip.
    """

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "AugMix"
    table7: ClassVar[bool] = True

    alpha: float = Field(1.0, gt=0)
    """Parameter of the Dirichlet and Beta distributions of the blending weights (the paper: 1)."""
    width: int = Field(3, ge=1)
    """Number of chains of operations (the paper: k = 3)."""
    severity: float = Field(3.0, gt=0.1, le=10)
    """Largest strength of an operation, of at most 10; strengths are drawn from 0.1 to it."""
    consistency_weight: float = Field(0.0, ge=0)
    """Weight of the Jensen-Shannon divergence between the predictions of the image and of two
    blends of it; the cross-entropy is then computed on the unchanged image. If it is 0, one blend
    replaces the image. The paper gives no value; AugMix's authors use 12 (A21)."""

    @property
    def views(self) -> int:
        """The number of views: the unchanged image and two blends (3), or one blend alone (1)."""
        return 3 if self.consistency_weight else 1

    def augment(self, images: Tensor, random: Random) -> Tensor:
        """Blend the images; each image has its own random operations."""
        copies, n = max(self.views - 1, 1), len(images)
        numbers = random("augmix")
        chains = (copies, n, self.width)
        shares = numbers.dirichlet([self.alpha] * self.width, chains[:2])
        blend = numbers.beta(self.alpha, self.alpha, chains[:2])
        depths = numbers.integers(1, DEEPEST + 1, chains)
        operations = numbers.integers(len(OPERATIONS), size=(*chains, DEEPEST))
        levels = numbers.uniform(0.1, self.severity, operations.shape)
        levels *= numbers.choice((-1, 1), operations.shape)
        operations[np.arange(DEEPEST) >= depths[..., None]] = -1
        chained = (
            images[None, :, None].expand(copies, n, self.width, *images.shape[1:]).flatten(0, 2)
        )
        for step in range(DEEPEST):
            chained = operated(chained, operations[..., step].ravel(), levels[..., step].ravel())
        weights = np.concatenate([1 - blend[..., None], blend[..., None] * shares], axis=2)
        weight = torch.from_numpy(weights.astype(np.float32)[..., None, None, None])
        weight = weight.to(images.device, non_blocking=True)  # (copies, B, 1 + width, 1, 1, 1)
        plain = images.to(torch.float32)
        mixed = (weight[:, :, 1:] * chained.unflatten(0, chains)).sum(dim=2)
        mixed = mixed + weight[:, :, 0] * plain
        mixed = mixed.flatten(0, 1)
        return torch.cat([plain, mixed]) if self.views > 1 else mixed

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted divergence, if its weight is not 0."""
        if not self.consistency_weight:
            return {}
        return {"augmix": self.consistency_weight * jensen_shannon(output.logits, self.views)}
