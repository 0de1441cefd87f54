"""The images as other code reads them: PIL images, changed one by one by torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from soteacher.data.prepared import Prepared


class PILImages(Dataset[tuple[Any, ...]]):
    """The training images of a prepared data set, as torchvision's data sets return them.

    with_index : whether an item also has its row, which some losses need.
    """

    def __init__(self, data: Prepared, padding: int, flip: float, with_index: bool) -> None:
        # copies in memory, as torchvision's CIFAR100 keeps them
        self._images = np.array(data.array("train_images"))
        self._labels = data.array("train_labels").tolist()
        self._with_index = with_index
        _, height, width, _ = self._images.shape
        self._change = transforms.Compose(
            [
                transforms.RandomCrop((height, width), padding=padding),
                transforms.RandomHorizontalFlip(flip),
                transforms.ToTensor(),
                transforms.Normalize(data.manifest["mean"], data.manifest["std"]),
            ]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return the changed image, (3, H, W), its label and, if asked for, its row."""
        image = self._change(Image.fromarray(self._images[index]))
        item = (image, self._labels[index])
        return (*item, index) if self._with_index else item


def batches(images: PILImages, size: int) -> Iterator[Any]:
    """Yield shuffled batches, epoch after epoch, loaded in this process.

    Loading processes would take CPU time that a clock of this process does not see, on cores that
    could train other networks.
    """
    loader: DataLoader[Any] = DataLoader(images, batch_size=size, shuffle=True, num_workers=0)
    while True:
        yield from loader
