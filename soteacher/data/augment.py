"""Augmentation of whole batches of uint8 images, on the device they lie on.

Each function gives exactly what torchvision's transform of one image gives for the same offsets
and flips; what is drawn at random is drawn by the stream, not here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop_and_flip(images: Tensor, padding: int, offsets: Tensor, flips: Tensor) -> Tensor:
    """Zero-pad, crop each image at its offset to its own size, mirror where `flips` says so.

    images : uint8, (B, H, W, 3).   offsets : int64, (B, 2), rows and columns in 0..2*padding.
    flips : bool, (B,).   Returns uint8, (B, H, W, 3).
    """
    n, height, width, _ = images.shape
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    rows = offsets[:, :1] + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = torch.where(flips[:, None], columns.flip(1), columns) + offsets[:, 1:]  # (B, W)
    index = torch.arange(n, device=images.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]]


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels to [0, 1], less the mean, over the standard deviation, channel by channel.

    images : uint8, (B, H, W, 3).   mean, std : float32, (3,).
    Returns float32, (B, 3, H, W), in channels_last memory format.
    """
    scaled = images.to(torch.float32).div_(255).sub_(mean).div_(std)
    return scaled.permute(0, 3, 1, 2)
