"""The stream of training batches: a pure function of (seed, role, stage, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from soteacher.core.batch import Batch
from soteacher.core.errors import UserError
from soteacher.core.random import generator, key, numpy_generator
from soteacher.data.augment import crop_and_flip, normalise, rotate, rotations
from soteacher.data.prepared import Prepared
from soteacher.data.resized_crop import boxes, crop_and_resize
from soteacher.data.settings import Augment

if TYPE_CHECKING:
    from soteacher.core.cursor import Cursor, Stage
    from soteacher.core.random import Random


class ImageChange(Protocol):
    """A change of the training images; `soteacher.regularizers.base.ImageChange` describes it."""

    def augment(self, images: Tensor, random: Random) -> Tensor:
        """Change uint8 images, (B, H, W, 3), before they are normalised."""

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Change a batch of normalised images, and its targets."""


@dataclass(frozen=True)
class _Epoch:
    order: Tensor
    crops: list[Tensor]
    """Crops of the upright view, and of the views turned by 90, 180 and 270 degrees: offsets in the
    padded image, (n, 2), or boxes to be resized, (n, 4)."""
    flips: Tensor
    rotations: Tensor | None


class Stream:
    """Batches of one data set, batch size, augmentation, seed and role, computed on the device.

    All random numbers of an epoch are drawn at once on the CPU and then moved: the numbers are the
    same on every device, and no step waits for them. A regularizer that changes the images draws
    its few numbers on the CPU, too, in each step.

    turns : number of views of each image (`terms.LossTerm.turns`). As in SSKD, an image is first
    flipped, then turned, and each view has a separate crop. The upright views equal those of
    `turns` 1.
    change : the regularizer that changes the images of a teacher, or None.
    rows : (n,) int64, the training images that are used; None: all of them.
    """

    def __init__(
        self,
        data: Prepared,
        augment: Augment,
        batch: int,
        seed: int,
        role: str,
        device: str,
        turns: int = 1,
        change: ImageChange | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.augment, self.batch_size, self.seed, self.role = augment, batch, seed, role
        self.device, self.turns, self._change = device, turns, change
        self._data = data
        self._images = torch.from_numpy(data.array("train_images")).to(device)
        self.labels = torch.from_numpy(np.array(data.train_labels(seed))).to(device)
        self._mean = torch.tensor(data.manifest["mean"], dtype=torch.float32, device=device)
        self._std = torch.tensor(data.manifest["std"], dtype=torch.float32, device=device)
        n_images, height, width, _ = self._images.shape
        whole, self._whole = data.whole_images("train"), self._images
        self._size: tuple[int, int] = whole.shape[1:3]
        if self._size != (height, width):  # they stay on the CPU, because few terms use them
            self._whole = torch.from_numpy(whole)
        if turns > 1 and height != width:
            raise UserError(
                f"images of {height}x{width} pixels cannot be turned by 90 degrees, as the method "
                "requires: expected square images"
            )
        self._use(np.arange(n_images) if rows is None else rows, "")

    def _use(self, rows: np.ndarray, part: str) -> None:
        """Set the images that are used, and the name of this part of the data set."""
        self._rows, self._part = torch.from_numpy(rows), part
        self.n_images = len(rows)
        """Number of images of an epoch."""
        self.steps = -(-self.n_images // self.batch_size)  # the last, short batch is kept
        self._drawn: dict[tuple[Stage, int], _Epoch] = {}

    def of_part(self, rows: np.ndarray, part: str) -> Stream:
        """Return a stream of other rows, with other random numbers; it shares the images."""
        stream = copy(self)
        stream._use(rows, part)
        return stream

    def _epoch(self, stage: Stage, epoch: int) -> _Epoch:
        if (stage, epoch) not in self._drawn:
            self._drawn = {(stage, epoch): self._draw(stage, epoch)}
        return self._drawn[stage, epoch]

    def _generator(self, purpose: str, stage: Stage, epoch: int) -> torch.Generator:
        return generator(key(self.seed, self.role, purpose + self._part, stage.name, epoch))

    def order(self, stage: Stage, epoch: int) -> Tensor:
        """Return the rows of the images of an epoch in their order, int64, on the CPU."""
        drawn = torch.randperm(self.n_images, generator=self._generator("order", stage, epoch))
        return self._rows[drawn]

    def _draw(self, stage: Stage, epoch: int) -> _Epoch:
        def draw(purpose: str) -> torch.Generator:
            return self._generator(purpose, stage, epoch)

        n = self.n_images
        order = self.order(stage, epoch)
        purposes = ("crop", *(f"crop of turn {turn}" for turn in range(1, self.turns)))
        crops = [self._drawn_crops(draw(purpose)) for purpose in purposes]
        flips = torch.rand(n, generator=draw("flip")) < self.augment.flip
        turned = None
        if self.augment.rotation:
            shares = torch.rand(n, generator=draw("rotation"), dtype=torch.float64) * 2 - 1
            angles = (shares * self.augment.rotation).tolist()
            turned = rotations(angles, *self._images.shape[1:3]).to(self.device)
        return _Epoch(
            order.to(self.device),
            [values.to(self.device) for values in crops],
            flips.to(self.device),
            turned,
        )

    def _drawn_crops(self, random: torch.Generator) -> Tensor:
        """Return one crop for each image of an epoch, on the CPU."""
        if (resized := self.augment.resized_crop) is not None:
            height, width = self._images.shape[1:3]
            return boxes(self.n_images, height, width, resized.scale, resized.ratio, random)
        highest = 2 * self.augment.crop_padding + 1
        return torch.randint(0, highest, (self.n_images, 2), generator=random)

    def _cropped(self, images: Tensor, crops: Tensor, flips: Tensor) -> Tensor:
        if self.augment.resized_crop is not None:
            return crop_and_resize(images, crops, flips, self._size)
        return crop_and_flip(images, self.augment.crop_padding, crops, flips)

    def batch(self, cursor: Cursor) -> Batch:
        """Return the batch of a cursor; each draw belongs to a position in the epoch's order."""
        epoch = self._epoch(cursor.stage, cursor.epoch)
        part = slice(cursor.step * self.batch_size, (cursor.step + 1) * self.batch_size)
        indices = epoch.order[part]
        images = self._images[indices]
        if epoch.rotations is not None:
            images = rotate(images, epoch.rotations[part])
        flips, crops = epoch.flips[part], [drawn[part] for drawn in epoch.crops]
        views = self._cropped(images, crops[0], flips)
        if self.turns > 1:
            flipped = torch.where(flips[:, None, None, None], images.flip(2), images)
            turned = [torch.rot90(flipped, turn, dims=(1, 2)) for turn in range(1, self.turns)]
            unflipped = torch.zeros_like(flips)
            others = [
                self._cropped(view, crop, unflipped)
                for view, crop in zip(turned, crops[1:], strict=True)
            ]
            views = torch.cat([views, *others])
        if self._change is None:
            return self._batch(views, indices, cursor)
        random = partial(self._random, cursor)
        batch = self._batch(self._change.augment(views, random), indices, cursor)
        return self._change.mix(batch, self._data.n_classes, random)

    def plain_images(self, size: int) -> Iterator[Tensor]:
        """Yield the images of an epoch without augmentation, uint8, (size, H, W, 3), in order."""
        for rows in torch.split(self._rows.to(self._whole.device), size):
            yield self._whole[rows].to(self.device)

    @property
    def own_labels(self) -> Tensor:
        """The labels of the images that `plain_images` yields, int64, (n_images,)."""
        return self.labels[self._rows.to(self.device)]

    def check_finite(self, cursor: Cursor) -> None:
        """Raise `UserError` if an image of a cursor's batch is not finite.

        A network that gets such images tells nothing about its training.
        """
        if not bool(self.batch(cursor).images.isfinite().all()):
            mean, std = (self._data.manifest[name] for name in ("mean", "std"))
            raise UserError(
                f"images of the prepared data in {self._data.folder} are not finite in epoch "
                f"{cursor.epoch + 1}, step {cursor.step + 1} (mean {mean}, standard deviation "
                f"{std}); expected finite means, and standard deviations above 0: delete the "
                "folder, then rerun the same snakemake command with `--forcerun prepare`"
            )

    def _batch(self, views: Tensor, indices: Tensor, cursor: Cursor) -> Batch:
        images = normalise(views, self._mean, self._std)
        return Batch(images, self.labels[indices], indices, cursor)

    def _random(self, cursor: Cursor, purpose: str) -> np.random.Generator:
        where = cursor.stage.name, cursor.epoch, cursor.step
        return numpy_generator(key(self.seed, self.role, purpose + self._part, *where))
