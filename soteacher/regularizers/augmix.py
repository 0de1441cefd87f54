"""AugMix: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
Uncertainty", ICLR 2020; Table 7.

This follows the method's released code (google-research/augmix), for whole batches on the device.
`torchvision.transforms.v2.AugMix` differs: it draws the operations of a chain once for a whole
batch, and their strengths from a grid of ten values with 0 among them; by default it also changes
brightness, contrast, colour and sharpness; its shifts and turns blend the image with the black
outside; it truncates the result to whole numbers; and it has no consistency loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

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
MOVED = len(POINTWISE)
"""Number of the kind of all geometric operations: `transform` does them together."""
DEEPEST = 3
"""The largest number of operations in a chain; a chain has one, two or three."""


class Planned(NamedTuple):
    """What happens to each of R images in one step of the chains, decided on the host."""

    counts: dict[str, int]
    """Kind of operation to the number of its images: names of `POINTWISE`, `moved`, `unchanged`."""
    arrays: list[np.ndarray]
    """The images' order by kind, (R,); its inverse; and the numbers that each kind needs."""


def planned(operations: np.ndarray, levels: np.ndarray, height: int, width: int) -> Planned:
    """Plan one operation for each image; see `operated`."""
    kinds = np.array([*range(MOVED), *[MOVED] * len(GEOMETRIC), MOVED + 1])
    kind = kinds[operations]  # -1 is the last: unchanged
    order = np.argsort(kind, kind="stable")
    numbers, counts = [], {}
    for number, name in enumerate((*POINTWISE, "moved", "unchanged")):
        rows = order[kind[order] == number]
        if len(rows):
            counts[name] = len(rows)
            numbers.append(_numbers(name, operations[rows], levels[rows], height, width))
    return Planned(counts, [order, np.argsort(order), *numbers])


def _numbers(
    name: str, operations: np.ndarray, levels: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Return the numbers that a kind of operation needs: some for each image, or none."""
    if name == "moved":
        return _matrices(operations, levels, height, width)
    if name == "posterize":
        dropped = 4 + _whole(np.abs(levels), 4)  # at most 4 bits are kept
        return 255 - (1 << dropped) + 1
    if name == "solarize":
        return (256 - _whole(np.abs(levels), 256)).clip(0, 255)
    return np.empty(0)


def on_device(arrays: list[np.ndarray], device: torch.device) -> list[Tensor]:
    """Return arrays as float64 on a device, by one copy that the host does not wait for."""
    joined = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]).astype(float))
    if device.type == "cuda":
        joined = joined.pin_memory()
    parts = joined.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def operated(images: Tensor, operations: np.ndarray, levels: np.ndarray) -> Tensor:
    """Apply one operation to each image; the result is bit-identical to Pillow's.

    images : uint8, (R, H, W, 3).   operations : int, (R,), indices in `OPERATIONS`; -1 is none.
    levels : float, (R,), strength from 0.1 to 10; a negative strength is in the other direction
    if the operation has two; autocontrast and equalize ignore it.   Returns uint8, (R, H, W, 3).
    """
    plan = planned(operations, levels, *images.shape[1:3])
    return _applied(images, plan.counts, on_device(plan.arrays, images.device))


def _applied(images: Tensor, counts: dict[str, int], arrays: list[Tensor]) -> Tensor:
    """Apply a plan whose arrays are on the device: images are sorted by kind, and back."""
    order, inverse, *numbers = arrays
    groups = images[order.long()].split([*counts.values()])
    changed = [_changed(*part) for part in zip(counts, groups, numbers, strict=True)]
    return torch.cat(changed)[inverse.long()]


def _changed(name: str, images: Tensor, numbers: Tensor) -> Tensor:
    """Apply one kind of operation to images, (R, H, W, 3)."""
    if name == "moved":
        from soteacher.data.augment import transform

        return transform(images, numbers)
    if name == "autocontrast":
        return _autocontrast(images)
    if name == "equalize":
        return _equalized(images)
    if name == "unchanged":
        return images
    column = numbers.to(torch.uint8)[:, None, None, None]
    if name == "posterize":
        return images & column
    return torch.where(images >= column, 255 - images, images)  # solarize: invert brighter pixels


def _equalized(images: Tensor) -> Tensor:
    """Spread each channel's values to equal shares of the pixels.

    torchvision counts the pixels of each value by `scatter_add_`, which makes the host wait for a
    GPU in deterministic mode; here they are counted in the sorted pixels.
    """
    pixels = images.permute(0, 3, 1, 2).contiguous().flatten(2)  # (R, 3, H * W)
    values = torch.arange(255, dtype=torch.uint8, device=images.device)
    values = values.expand(*pixels.shape[:2], -1).contiguous()
    # the number of pixels of at most each value: (R, 3, 255)
    n_up_to = torch.searchsorted(pixels.sort(dim=2).values, values, right=True)
    below_largest = (pixels != pixels.amax(dim=2, keepdim=True)).sum(dim=2, keepdim=True)
    step = below_largest // 255
    mapped = ((n_up_to + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.nn.functional.pad(mapped, (1, 0)).to(torch.uint8)  # (R, 3, 256); 0 stays 0
    spread = table.gather(2, pixels.long())
    spread = torch.where(step > 0, spread, pixels)
    return spread.unflatten(2, images.shape[1:3]).permute(0, 2, 3, 1)


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
    operations: ClassVar[int] = 405
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
        plans = [
            planned(operations[..., step].ravel(), levels[..., step].ravel(), *images.shape[1:3])
            for step in range(DEEPEST)
        ]
        weights = np.concatenate([1 - blend[..., None], blend[..., None] * shares], axis=2)
        every = [array for plan in plans for array in plan.arrays]
        weight, *arrays = on_device([weights, *every], images.device)
        weight = weight.to(torch.float32)[..., None, None, None]  # (copies, B, 1 + width, 1, 1, 1)
        for plan in plans:
            n_arrays = len(plan.arrays)
            chained = _applied(chained, plan.counts, arrays[:n_arrays])
            arrays = arrays[n_arrays:]
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
