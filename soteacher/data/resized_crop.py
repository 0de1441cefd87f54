"""Random resized crops of whole batches of uint8 images: torchvision's `RandomResizedCrop`.

`boxes` draws the boxes of an epoch on the CPU, `crop_and_resize` applies those of a batch on the
device that holds its images. A box that is larger than its result is resized with antialiasing.
"""

from __future__ import annotations

import math
from functools import cache, reduce

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


def crop_and_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop each image to its box, resize the box, and flip it if requested.

    images : uint8, (B, H, W, 3).   boxes : int64, (B, 4): top, left, height, width, in the image.
    flips : bool, (B,).   size : height and width of the result.   Returns uint8, (B, *size, 3): the
    result of torchvision's `resized_crop` of a PIL image (bilinear, antialiased), operation by
    operation: whole numbers, equal on every device. Columns are resized before rows. Pillow does
    so, too, but from version 13 on not where a box gets smaller in height more than in width: it
    then rounds in the other order, and values differ by 1 of 255.
    """
    _, height, width, _ = images.shape
    tops, lefts, heights, widths = boxes.unbind(1)
    columns, weights = _sources(lefts, widths, width, size[1])
    every_row = torch.arange(height, device=images.device)[:, None]
    pixels = picked(images, every_row, columns.flatten(1)[:, None, :])  # (B, H, taps * w, 3)
    # Pillow rounds to 8 bits after the columns, and again after the rows
    images = _blended(pixels.chunk(columns.shape[1], dim=2), weights[:, :, None, :, None])
    rows, weights = _sources(tops, heights, height, size[0])
    every_column = torch.arange(size[1], device=images.device)
    pixels = picked(images, rows.flatten(1)[:, :, None], every_column)  # (B, taps * h, w, 3)
    images = _blended(pixels.chunk(rows.shape[1], dim=1), weights[:, :, :, None, None])
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def _sources(starts: Tensor, lengths: Tensor, longest: int, n: int) -> tuple[Tensor, Tensor]:
    """Return of which pixels the n pixels of a resized row or column of a box are means.

    starts, lengths : int64, (B,).   longest : number of pixels of the image.   Returns the places
    of the pixels in the image, int64, (B, taps, n), and their weights, int32, (B, taps, n).
    """
    places, weights = _tables(longest, n, starts.device)
    return places[lengths - 1] + starts[:, None, None], weights[lengths - 1]


@cache
def _tables(longest: int, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which pixels are summed, and their weights, where 1 to `longest` pixels become n.

    They are those of Pillow, operation by operation: a triangle of weights about the centre of the
    new pixel, which is wider where pixels get fewer. They are computed on the CPU,
    so that they are equal on every device.

    Returns places from 0, int64, (longest, taps, n), and weights in units of 2^-22, int32.
    """
    taps = math.ceil(2 * max(1, longest / n))
    lengths = torch.arange(1, longest + 1)[:, None]
    steps = lengths.double() / n
    reach = steps.clamp(min=1)
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) * steps  # (longest, n)
    ends = torch.minimum((centres + reach + 0.5).long(), lengths)
    # where a sum is rounded up to a whole number, there is one pixel more, whose weight is 0
    firsts = torch.maximum((centres - reach + 0.5).long().clamp_(min=0), ends - taps)
    places = firsts[:, None] + torch.arange(taps)[:, None]  # (longest, taps, n)
    far = ((places - centres[:, None] + 0.5) * (1 / reach[:, None])).abs()
    shares = (1 - far).clamp(min=0).masked_fill(places >= ends[:, None], 0)
    total = reduce(torch.add, shares.unbind(1))  # in Pillow's order
    weights = (shares / total[:, None] * 2**BITS + 0.5).int()
    return torch.minimum(places, lengths[:, None] - 1).to(device), weights.to(device)


def _blended(pixels: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Return weighted means of a few pixels each, uint8, rounded to the nearest."""
    total = pixels[0] * weights[:, 0]
    for number, values in enumerate(pixels[1:], start=1):
        total.add_(values * weights[:, number])
    return total.add_(1 << (BITS - 1)).bitwise_right_shift_(BITS).to(torch.uint8)
