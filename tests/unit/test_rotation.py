"""Random rotation of training images: torchvision's of a PIL image, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import functional

from soteacher.core import files
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.random import generator, key
from soteacher.data.augment import rotate, rotations
from soteacher.data.prepared import Prepared
from soteacher.data.settings import Augment
from soteacher.data.stream import Stream

SPECIAL = [0, 20, -20, 30, 45, -45, 60, 90, -90, 180, -180, 270, 360]
SPECIAL += [
    sign * (turn + tiny) for tiny in (1e-3, 1e-9, 1e-14) for turn in (0, 90) for sign in (1, -1)
]
RARE = 1e-4
"""A fixed seed's draws are called wrong where chance alone would be this rare."""


def torchvision_view(image, angle, padding=0, offset=(0, 0), flip=False):
    """What torchvision's transforms of a PIL image give; image and view are (H, W, 3)."""
    view = functional.rotate(Image.fromarray(image), angle)  # nearest, same size, zeros
    view = functional.pad(view, [padding] * 4)
    view = functional.crop(view, *offset, *image.shape[:2])
    return np.array(functional.hflip(view) if flip else view)


@pytest.mark.parametrize("shape", [(64, 64), (8, 8), (7, 9), (33, 20), (1, 5), (200, 301)])
def test_rotated_batches_are_torchvision_s_of_pil_images_bit_for_bit(shape):
    random = np.random.default_rng(sum(shape))
    angles = [*random.uniform(-20, 20, 300), *random.uniform(-180, 180, 100), *SPECIAL]
    images = random.integers(1, 256, (len(angles), *shape, 3), dtype=np.uint8)
    found = rotate(torch.from_numpy(images), rotations(angles, *shape))
    assert found.dtype == torch.uint8
    expected = [torchvision_view(*each) for each in zip(images, angles, strict=True)]
    np.testing.assert_array_equal(found.numpy(), expected)


# in the stream of batches


def epoch_of(data, epoch=0, seed=0, role="teacher", **augment):
    """Indices and images of a whole epoch."""
    stream = Stream(data, Augment(**augment), 64, seed, role, "cpu")
    batches = [stream.batch(Cursor(Stage.MAIN, epoch, step)) for step in range(stream.steps)]
    return [torch.cat([getattr(b, name) for b in batches]) for name in ("indices", "images")]


def test_a_batch_is_rotated_then_cropped_then_flipped_as_torchvision_does(digits):
    indices, found = epoch_of(digits, epoch=2, rotation=20, crop_padding=1, flip=0.5)
    n = len(indices)
    draws = {
        purpose: generator(key(0, "teacher", purpose, Stage.MAIN.name, 2))
        for purpose in ("rotation", "crop", "flip")
    }
    angles = 40 * torch.rand(n, generator=draws["rotation"], dtype=torch.float64) - 20
    offsets = torch.randint(0, 3, (n, 2), generator=draws["crop"])
    flips = torch.rand(n, generator=draws["flip"]) < 0.5
    mean, std = digits.manifest["mean"], digits.manifest["std"]
    images = digits.array("train_images")[indices.numpy()]
    drawn = (angles.tolist(), offsets.tolist(), flips.tolist())
    for image, view, angle, offset, flip in zip(images, found, *drawn, strict=True):
        expected = functional.to_tensor(torchvision_view(image, angle, 1, offset, flip))
        assert torch.equal(view, functional.normalize(expected, mean, std))


def test_rotation_changes_neither_order_nor_crops_nor_flips(digits):
    plain = epoch_of(digits, crop_padding=1, flip=0.5)
    turned = epoch_of(digits, rotation=1e-9, crop_padding=1, flip=0.5)  # less than any pixel sees
    assert all(map(torch.equal, plain, turned))


@pytest.fixture
def traceable(tmp_path):
    """Large images whose pixels tell their own row, so that a view tells its angle."""
    rows = np.arange(201, dtype=np.uint8)[:, None, None]
    images = np.broadcast_to(rows, (150, 201, 201, 3))
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.zeros(150, dtype=np.int64))
    arrays = {
        name: {"sha256": files.sha256_of(tmp_path / f"{name}.npy")}
        for name in ("train_images", "train_labels")
    }
    return Prepared(tmp_path, {"arrays": arrays, "mean": [0.0] * 3, "std": [1.0] * 3})


def angles_of(data, **which):
    """The angle of each view of an epoch, in degrees, to half a degree."""
    _, images = epoch_of(data, **which, rotation=20)
    edge = (images[:, 0, 100, 200] * 255).double()  # 100 pixels to the right of the centre
    return torch.rad2deg(torch.asin((edge - 100) / 100))


def test_angles_are_uniform_to_both_sides(traceable):
    angles = angles_of(traceable)
    assert angles.abs().max() < 20.6
    assert stats.kstest(angles, stats.uniform(-20, 40).cdf).pvalue > RARE


@pytest.mark.parametrize("other", [{"seed": 1}, {"role": "student"}, {"epoch": 1}])
def test_another_seed_role_or_epoch_has_other_angles(traceable, other):
    first, second = angles_of(traceable), angles_of(traceable, **other)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(150)


def test_no_rotation_is_no_part_of_a_spec():
    assert Augment(rotation=0, crop_padding=4).spec() == {"crop_padding": 4}
    assert Augment(rotation=20, crop_padding=4).spec() == {"rotation": 20.0, "crop_padding": 4}
