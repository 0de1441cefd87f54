"""Augmentation of whole batches of uint8 images, on the device that holds them.

Each function gives exactly the result of torchvision's transform of one image for the same offsets
and flips. Nothing is random here: the stream draws the offsets and flips.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def turned(angles: np.ndarray | list[float], height: int, width: int) -> np.ndarray:
    """Return the matrices with which `transform` turns images of this size about their centre.

    angles : degrees, counter-clockwise.   Returns float64, (B, 6): rows a..f. Cosines and their
    rounding are those of Pillow, operation by operation.
    """
    radians = [-math.radians(angle % 360.0) for angle in angles]
    cos = np.array([round(math.cos(angle), 15) for angle in radians])
    sin = np.array([round(math.sin(angle), 15) for angle in radians])
    x, y = width / 2, height / 2
    c = (cos * -x + sin * -y) + x
    f = (-sin * -x + cos * -y) + y
    return np.stack([cos, sin, c, -sin, cos, f], axis=1)


def rotations(angles: list[float], height: int, width: int) -> Tensor:
    """Return the maps with which `rotate` turns images of this size about their centre.

    They are computed on the CPU.

    angles : degrees, counter-clockwise.   Returns int64, (B, 6): rows a..f of the map from a pixel
    (x, y) of the view to (a x + b y + c, d x + e y + f) in the image, in units of 2^-16 pixels, the
    fixed point of Pillow.
    """
    a, b, c, d, e, f = turned(angles, height, width).T
    # a pixel's coordinates are those of its centre: half a pixel to the right and down
    rows = [a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5]
    return torch.from_numpy(np.floor(np.stack(rows, axis=1) * 65536 + 0.5).astype(np.int64))


def transform(images: Tensor, matrices: Tensor) -> Tensor:
    """Move the pixels of each image by a separate affine map, with bilinear interpolation.

    images : uint8, (B, H, W, 3).   matrices : float64, (B, 6), rows a..f: the centre (x, y) of a
    pixel is looked up at (a x + b y + c, d x + e y + f) in the image, and is 0 outside it.
    Returns uint8, (B, H, W, 3): the result of Pillow's `transform`, operation by operation.
    """
    _, height, width, _ = images.shape
    a, b, c, d, e, f = matrices[:, :, None, None].unbind(1)  # each (B, 1, 1)
    x = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    y = torch.arange(height, device=images.device, dtype=torch.float64)[:, None] + 0.5
    x, y = a * x + b * y + c, d * x + e * y + f  # (B, H, W)
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    columns = [(left + step).long().clamp_(0, width - 1) for step in (0, 1)]
    rows = [(top + step).long().clamp_(0, height - 1) for step in (0, 1)]
    right, down = (x - left)[..., None], (y - top)[..., None]
    lines = []
    for row in rows:
        first, second = (picked(images, row, column).double() for column in columns)
        lines.append(first + (second - first) * right)
    moved = lines[0] + (lines[1] - lines[0]) * down
    return moved.masked_fill_(outside[..., None], 0).to(torch.uint8)


def rotate(images: Tensor, rotations: Tensor) -> Tensor:
    """Turn each image about its centre: nearest pixel, same size, zeros outside the image.

    images : uint8, (B, H, W, 3).   rotations : int64, (B, 6), from the function `rotations`.
    Returns uint8, (B, H, W, 3): the result of torchvision's `rotate` of a PIL image.
    """
    _, height, width, _ = images.shape
    a, b, c, d, e, f = rotations[:, :, None, None].unbind(1)  # each (B, 1, 1)
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    columns = (a * x + (b * y + c)) >> 16  # (B, H, W)
    rows = (d * x + (e * y + f)) >> 16
    padded = torch.nn.functional.pad(images, (0, 0, 1, 1, 1, 1))  # zeros outside the image
    return picked(padded, rows.clamp_(-1, height).add_(1), columns.clamp_(-1, width).add_(1))


def crop_and_flip(images: Tensor, padding: int, offsets: Tensor, flips: Tensor) -> Tensor:
    """Zero-pad each image, crop it at its offset to the original size, and flip it if requested.

    images : uint8, (B, H, W, 3).   offsets : int64, (B, 2), rows and columns in 0..2*padding.
    flips : bool, (B,).   Returns uint8, (B, H, W, 3).
    """
    n, height, width, _ = images.shape
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    rows = offsets[:, :1] + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = torch.where(flips[:, None], columns.flip(1), columns) + offsets[:, 1:]  # (B, W)
    return picked(padded, rows[:, :, None], columns[:, None, :])


def picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at rows and columns that broadcast to (B, H, W).

    This is faster than indexing with three tensors.
    """
    n, height, width, channels = images.shape
    first = torch.arange(n, device=images.device)[:, None, None] * (height * width)
    places = torch.add(first + columns, rows, alpha=width)
    picked = images.reshape(-1, channels).index_select(0, places.flatten())
    return picked.view(*places.shape, channels)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Scale pixels to [0, 1], subtract the mean and divide by the standard deviation, per channel.

    images : uint8, or float32 from 0 to 255, (B, H, W, 3).   mean, std : float32, (3,).
    Returns float32, (B, 3, H, W), in channels_last memory format.
    """
    scaled = images.to(torch.float32).div_(255).sub_(mean).div_(std)
    return scaled.permute(0, 3, 1, 2)
