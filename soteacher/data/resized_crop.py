"""Random resized crops of whole batches of uint8 images: torchvision's `RandomResizedCrop`.

`boxes` draws the boxes of an epoch on the CPU, `crop_and_resize` applies those of a batch on the
device that holds its images. A box is never larger than the image, and it is resized to the image's
size. Nothing is made smaller, so antialiasing changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from soteacher.data.augment import picked

TRIES = 10
"""Number of sizes that are drawn for an image before the central box is taken."""
BITS = 22
"""Bits of Pillow's fixed-point weights of pixels."""


def boxes(
    n: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    random: torch.Generator,
) -> Tensor:
    """Draw the boxes of n images of one size, as torchvision's `RandomResizedCrop.get_params`.

    A box's share of the area is uniform in `scale`, the logarithm of its width over its height in
    `ratio`, and its place among those in the image. If ten boxes do not fit, it is the largest
    central box with a shape in `ratio`.

    Returns int64, (n, 4), on the CPU: top, left, height, width.
    """
    places = torch.rand(2, n, generator=random, dtype=torch.float64)
    low, high = map(math.log, ratio)
    found = torch.tensor(_central(height, width, ratio)).repeat(n, 1)
    missing = torch.ones(n, dtype=torch.bool)
    for _ in range(TRIES):
        shares = torch.rand(2, n, generator=random, dtype=torch.float64)
        areas = height * width * (scale[0] + (scale[1] - scale[0]) * shares[0])
        ratios = torch.exp(low + (high - low) * shares[1])
        heights, widths = (areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()
        fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
        tops = (places[0] * (height - heights + 1)).floor()
        lefts = (places[1] * (width - widths + 1)).floor()
        drawn = torch.stack([tops, lefts, heights, widths], dim=1).long()
        found = torch.where((missing & fits)[:, None], drawn, found)
        missing &= ~fits
    return found


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return the largest central box whose width over its height is in `ratio`."""
    lowest, highest = ratio
    box_height, box_width = height, width
    if width / height < lowest:
        box_height = round(width / lowest)
    elif width / height > highest:
        box_width = round(height * highest)
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def crop_and_resize(images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    """Crop each image to its box, resize it to the original size, and flip it if requested.

    images : uint8, (B, H, W, 3).   boxes : int64, (B, 4): top, left, height, width, in the image.
    flips : bool, (B,).   Returns uint8, (B, H, W, 3): the result of torchvision's `resized_crop`
    of a PIL image (bilinear), operation by operation: whole numbers, equal on every device.
    """
    _, height, width, _ = images.shape
    tops, lefts, heights, widths = boxes.unbind(1)
    columns, weights = _neighbours(lefts, widths, width)
    every_row = torch.arange(height, device=images.device)[:, None]
    pairs = picked(images, every_row, columns.flatten(1)[:, None, :])  # (B, H, 2 W, 3)
    # Pillow rounds to 8 bits after the columns, and again after the rows
    images = _blended(pairs.chunk(2, dim=2), weights[:, :, None, :, None])
    rows, weights = _neighbours(tops, heights, height)
    every_column = torch.arange(width, device=images.device)
    pairs = picked(images, rows.flatten(1)[:, :, None], every_column)  # (B, 2 H, W, 3)
    images = _blended(pairs.chunk(2, dim=1), weights[:, :, :, None, None])
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def _neighbours(starts: Tensor, lengths: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return between which two pixels the n pixels of a resized row or column of a box lie.

    starts, lengths : int64, (B,).   Returns the places of the two in the image, int64, (B, 2, n),
    and their weights, int32, (B, 2, n), in units of 2^-22.
    """
    steps, last = lengths.double()[:, None] / n, lengths[:, None] - 1
    centres = (torch.arange(n, device=starts.device, dtype=torch.float64) + 0.5) * steps  # (B, n)
    # beyond the centre of the box's first or last pixel, that pixel has the whole weight
    positions = torch.minimum((centres - 0.5).clamp_(min=0), last)
    lower = positions.floor()
    shares = positions - lower
    weights = torch.stack([1 - shares, shares], dim=1).mul_(2**BITS).add_(0.5).int()
    places = torch.stack([lower, torch.minimum(lower + 1, last)], dim=1).long()
    return places + starts[:, None, None], weights


def _blended(pixels: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Return weighted means of two pixels each, uint8, rounded to the nearest."""
    total = (pixels[0] * weights[:, 0]).add_(pixels[1] * weights[:, 1]).add_(1 << (BITS - 1))
    return total.bitwise_right_shift_(BITS).to(torch.uint8)
