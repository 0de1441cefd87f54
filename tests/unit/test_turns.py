"""Streams of batches in which each image is seen turned, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.data.settings import Augment
from soteacher.data.stream import Stream

AT = Cursor(Stage.MAIN, 1, 1)


class Images:
    """Prepared images, every pixel of all of them another."""

    def __init__(self, height=6, width=6):
        self.manifest = {"mean": [0.0] * 3, "std": [1 / 255] * 3}
        pixels = np.random.default_rng(0).integers(1, 256, (10, height, width, 3), dtype=np.uint8)
        self.images = pixels

    def array(self, name):
        return self.images

    def whole_images(self, split):
        return self.images

    def train_labels(self, seed):
        return np.arange(10) % 3


def batch_of(turns, images=None, at=AT, **augment):
    stream = Stream(images or Images(), Augment(**augment), 4, 3, "student", "cpu", turns)
    return stream.batch(at)


def pixels(images):
    """(B, 3, H, W) normalised to (B, H, W, 3) as they lay in the file."""
    return images.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def test_without_crops_and_flips_the_views_are_quarter_turns():
    batch = batch_of(4)
    assert batch.images.shape == (16, 3, 6, 6)
    assert batch.labels.shape == batch.indices.shape == (4,)
    views = pixels(batch.images).reshape(4, 4, 6, 6, 3)
    for turn, view in enumerate(views):
        for made, index in zip(view, batch.indices, strict=True):
            assert np.array_equal(made, np.rot90(Images().images[index], turn))


def test_an_image_is_flipped_first_and_then_turned():
    batch = batch_of(4, flip=1.0)
    for turn, view in enumerate(pixels(batch.images).reshape(4, 4, 6, 6, 3)):
        for made, index in zip(view, batch.indices, strict=True):
            assert np.array_equal(made, np.rot90(Images().images[index][:, ::-1], turn))


@pytest.mark.parametrize("rotation", [0, 20])
def test_upright_views_and_all_else_are_those_of_a_stream_without_turns(rotation):
    augment = {"crop_padding": 2, "flip": 0.5, "rotation": rotation}
    turned, plain = batch_of(4, **augment), batch_of(1, **augment)
    assert turned.images[:4].equal(plain.images)
    assert turned.labels.equal(plain.labels) and turned.indices.equal(plain.indices)


def offset_of(view, whole):
    """Where a view was cut out of a padded image."""
    padded = np.pad(whole, ((2, 2), (2, 2), (0, 0)))
    found = [
        (row, column)
        for row in range(5)
        for column in range(5)
        if np.array_equal(view, padded[row : row + 6, column : column + 6])
    ]
    assert len(found) == 1
    return found[0]


def test_each_view_has_a_crop_of_its_own():
    stream = Stream(Images(), Augment(crop_padding=2), 10, 3, "student", "cpu", 4)
    offsets = []
    for epoch in range(4):
        batch = stream.batch(Cursor(Stage.MAIN, epoch, 0))
        views = pixels(batch.images).reshape(4, 10, 6, 6, 3)
        for turn, view in enumerate(views):
            wholes = (np.rot90(Images().images[index], turn) for index in batch.indices)
            offsets.append([offset_of(*both) for both in zip(view, wholes, strict=True)])
    assert len({tuple(found) for found in offsets}) == 16
    assert {value for found in offsets for pair in found for value in pair} == set(range(5))


def test_the_last_batch_of_an_epoch_is_short_in_every_view():
    batch = batch_of(4, at=Cursor(Stage.MAIN, 0, 2))
    assert len(batch.labels) == 2 and batch.images.shape[0] == 8


def test_images_that_are_not_square_cannot_be_turned():
    with pytest.raises(UserError, match="images of 6x8 pixels cannot be turned by 90 degrees"):
        batch_of(4, Images(6, 8))
    assert batch_of(1, Images(6, 8)).images.shape == (4, 3, 6, 8)
