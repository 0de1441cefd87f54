"""Predictions in eval mode on unaugmented images, in order, at temperature 1.

They are computed in float32 also for runs of the precision bfloat16: logits that are rounded to 8
bits would have ties between classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from soteacher.data.augment import normalise
from soteacher.data.prepared import Prepared

BATCH = 512
"""Number of images per batch. It is fixed, because the last bits of logits depend on it."""


class Evaluator:
    """The images of one data set on the device; it evaluates any network."""

    def __init__(self, data: Prepared, device: str) -> None:
        self._data, self._device = data, device
        self._mean = torch.tensor(data.manifest["mean"], dtype=torch.float32, device=device)
        self._std = torch.tensor(data.manifest["std"], dtype=torch.float32, device=device)
        self._test_images = self._images("test")
        self._test_classes = torch.from_numpy(np.array(data.test_classes)).to(device)

    def top1(self, network: nn.Module) -> float:
        """Return the share of test images with the largest logit at their class.

        If p* is known, the class of an image is argmax p*.
        """
        predicted = self.forward(network, self._test_images).argmax(dim=1)
        return (predicted == self._test_classes).sum().item() / len(predicted)

    def logits(self, network: nn.Module, split: str) -> np.ndarray:
        """Return the logits of the images of a split, (N, K) float32."""
        images = self._test_images if split == "test" else self._images(split)
        return self.forward(network, images).cpu().numpy()

    def train_images(self, rows: np.ndarray) -> Tensor:
        """Return rows of the training images, uint8, (n, H, W, 3), on the device."""
        return torch.from_numpy(self._data.whole_images("train")[rows]).to(self._device)

    def _images(self, split: str) -> Tensor:
        return torch.from_numpy(self._data.whole_images(split)).to(self._device)

    @torch.no_grad()
    def forward(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return the logits of uint8 images, (n, K) float32, on the device."""
        network.eval()
        parts = [
            network(normalise(p, self._mean, self._std)).logits for p in torch.split(images, BATCH)
        ]
        return torch.cat(parts)
