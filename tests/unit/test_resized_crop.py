"""Random resized crops of training images: torchvision's of a PIL image, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode, RandomResizedCrop, functional

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.random import generator, key
from soteacher.core.settings import parse
from soteacher.data.resized_crop import boxes, crop_and_resize
from soteacher.data.settings import Augment
from soteacher.data.stream import Stream

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
BILINEAR = InterpolationMode.BILINEAR
RARE = 1e-4
"""A fixed seed's draws are called wrong where chance alone would be this rare."""
SHAPES = [(64, 64), (8, 8), (7, 9), (33, 20), (1, 5), (128, 160)]


def torchvision_view(image, box, flip=False):
    """What torchvision's transforms of a PIL image give; image and view are (H, W, 3)."""
    view = functional.resized_crop(Image.fromarray(image), *box, list(image.shape[:2]), BILINEAR)
    return np.array(functional.hflip(view) if flip else view)


def some_views(shape, n=200, size=None):
    """Random images, boxes of every size in them, and flips."""
    random = np.random.default_rng(sum(shape))
    images = random.integers(0, 256, (n, *shape, 3), dtype=np.uint8)
    sizes = random.integers(1, np.array(shape) + 1, (n, 2))
    sizes[:2] = [shape, (1, 1)]
    given = np.concatenate([random.integers(0, np.array(shape) - sizes + 1), sizes], axis=1)
    flips = random.random(n) < 0.5
    found = crop_and_resize(*map(torch.from_numpy, (images, given, flips)), size or shape)
    return images, given.tolist(), flips.tolist(), found


@pytest.mark.parametrize("shape", SHAPES)
def test_resized_crops_are_torchvision_s_of_pil_images_bit_for_bit(shape):
    images, given, flips, found = some_views(shape)
    assert found.dtype == torch.uint8
    expected = [torchvision_view(*each) for each in zip(images, given, flips, strict=True)]
    np.testing.assert_array_equal(found.numpy(), expected)


def test_resized_crops_are_those_of_antialiased_tensors_to_one_grey_level():
    images, given, _, found = some_views((33, 20))
    flips = [False] * len(given)
    found = crop_and_resize(*map(torch.tensor, (images, given, flips)), (33, 20))
    for image, box, view in zip(images, given, found, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        expected = functional.resized_crop(pixels, *box, [33, 20], BILINEAR, antialias=True)
        assert (view.permute(2, 0, 1) - expected).abs().max() < 1.001  # rounded twice


def drawn(shape, n=2000, scale=SCALE, ratio=RATIO):
    """Boxes of ours and of torchvision, (n, 4) each: top, left, height, width."""
    torch.manual_seed(1)
    image = torch.zeros(3, *shape)
    others = [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]
    return boxes(n, *shape, scale, ratio, generator(2)).numpy(), np.array(others)


@pytest.mark.parametrize(
    ("shape", "scale", "ratio"),
    [
        ((64, 64), SCALE, RATIO),
        ((48, 96), SCALE, RATIO),
        ((96, 40), (0.5, 1.0), RATIO),
        ((32, 32), (0.2, 0.4), (0.5, 1.0)),
    ],
)
def test_boxes_have_the_distribution_of_torchvision_s(shape, scale, ratio):
    ours, theirs = drawn(shape, scale=scale, ratio=ratio)
    assert (ours >= 0).all() and (ours[:, :2] + ours[:, 2:] <= shape).all()
    kinds = {
        "top": lambda box: box[:, 0],
        "left": lambda box: box[:, 1],
        "height": lambda box: box[:, 2],
        "width": lambda box: box[:, 3],
        "area": lambda box: box[:, 2] * box[:, 3],
        "shape": lambda box: box[:, 3] / box[:, 2],
        "place of low boxes": lambda box: box[box[:, 2] < np.median(theirs[:, 2]), 0],
    }
    for name, of in kinds.items():
        assert stats.ks_2samp(of(ours), of(theirs)).pvalue > RARE, name


def test_shares_and_shapes_are_uniform_in_their_ranges():
    ours = boxes(4000, 2000, 2000, (0.1, 0.5), (0.5, 2.0), generator(4)).numpy()
    areas = ours[:, 2] * ours[:, 3] / 2000**2
    assert stats.kstest(areas, stats.uniform(0.1, 0.4).cdf).pvalue > RARE
    shapes = np.log2(ours[:, 3] / ours[:, 2])
    assert stats.kstest(shapes, stats.uniform(-1, 2).cdf).pvalue > RARE


@pytest.mark.parametrize(
    ("shape", "ratio", "box"),
    [
        ((4, 100), RATIO, (0, 47, 4, 5)),
        ((100, 4), RATIO, (47, 0, 5, 4)),
        ((50, 60), (1.5, 1.5), (5, 0, 40, 60)),
    ],
)
def test_where_no_box_fits_it_is_the_central_one(shape, ratio, box):
    ours, theirs = drawn(shape, 20, (1.0, 1.0), ratio)
    assert ours.tolist() == theirs.tolist() == [list(box)] * 20


# in the stream of batches


def stream_of(data, turns=1, batch=64, seed=0, role="teacher", **augment):
    return Stream(data, Augment(**augment), batch, seed, role, "cpu", turns)


def epoch_of(stream, epoch=0):
    """Indices and images of a whole epoch; with turns, those of the upright views."""
    batches = [stream.batch(Cursor(Stage.MAIN, epoch, step)) for step in range(stream.steps)]
    return [
        torch.cat([getattr(batch, name)[: len(batch.indices)] for batch in batches])
        for name in ("indices", "images")
    ]


def test_a_batch_is_cropped_and_resized_then_flipped_as_torchvision_does(digits):
    indices, found = epoch_of(stream_of(digits, resized_crop={}, flip=0.5), epoch=2)
    n = len(indices)
    draws = {
        purpose: generator(key(0, "teacher", purpose, Stage.MAIN.name, 2))
        for purpose in ("crop", "flip")
    }
    given = boxes(n, 8, 8, SCALE, RATIO, draws["crop"]).tolist()
    flips = (torch.rand(n, generator=draws["flip"]) < 0.5).tolist()
    mean, std = digits.manifest["mean"], digits.manifest["std"]
    images = digits.array("train_images")[indices.numpy()]
    for image, view, box, flip in zip(images, found, given, flips, strict=True):
        expected = functional.to_tensor(torchvision_view(image, box, flip))
        assert torch.equal(view, functional.normalize(expected, mean, std))


def test_the_size_of_batches_changes_no_resized_crop(digits):
    small, large = (
        epoch_of(stream_of(digits, batch=batch, resized_crop={}, flip=0.5)) for batch in (32, 500)
    )
    assert all(map(torch.equal, small, large))


def test_resized_crops_change_neither_order_nor_flips(digits):
    whole = {"scale": [1, 1], "ratio": [1, 1]}
    plain = epoch_of(stream_of(digits, flip=0.5))
    assert all(map(torch.equal, plain, epoch_of(stream_of(digits, resized_crop=whole, flip=0.5))))


@pytest.mark.parametrize("other", [{"seed": 1}, {"role": "student"}])
def test_another_seed_or_role_has_other_boxes(digits, other):
    views = []
    for which in ({}, other):
        indices, images = epoch_of(stream_of(digits, resized_crop={}, **which))
        views.append(images[indices.argsort()])
    assert (views[0] == views[1]).flatten(1).all(dim=1).float().mean() < 0.1


def test_each_turned_view_has_its_own_box(digits):
    augment = {"resized_crop": {}, "flip": 0.5}
    at = Cursor(Stage.MAIN, 0, 0)
    batch, upright = (stream_of(digits, turns, **augment).batch(at) for turns in (4, 1))
    views = batch.images.unflatten(0, (4, 64))
    assert torch.equal(views[0], upright.images)
    draw = generator(key(0, "teacher", "crop of turn 2", Stage.MAIN.name, 0))
    given = boxes(1347, 8, 8, SCALE, RATIO, draw)[:64].tolist()
    flips = torch.rand(1347, generator=generator(key(0, "teacher", "flip", Stage.MAIN.name, 0)))
    mean, std = digits.manifest["mean"], digits.manifest["std"]
    images = digits.array("train_images")[batch.indices.numpy()]
    for image, view, box, share in zip(images, views[2], given, flips[:64], strict=True):
        flipped = image[:, ::-1] if share < 0.5 else image
        turned = np.ascontiguousarray(np.rot90(flipped, 2))
        expected = functional.to_tensor(torchvision_view(turned, box))
        assert torch.equal(view, functional.normalize(expected, mean, std))


# in a study


def test_only_what_differs_from_torchvision_s_ranges_is_part_of_a_spec():
    assert Augment(flip=0.5).spec() == {"flip": 0.5}
    assert Augment(resized_crop={}).spec() == {"resized_crop": {}}
    assert Augment(resized_crop=None) == Augment(resized_crop={})  # a key with nothing after it
    given = Augment(resized_crop={"scale": (0.2, 1)})
    assert given.spec() == {"resized_crop": {"scale": [0.2, 1.0]}}
    assert parse(Augment, given.spec(), "augment") == given


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            {"crop_padding": 4, "resized_crop": {}},
            "augment: expected `crop_padding` or `resized_crop`, not both: remove one of them",
        ),
        (
            {"resized_crop": {"scale": [0, 1]}},
            "augment.resized_crop: expected `scale: [least, largest]`, above 0, in order, and at "
            "most 1",
        ),
        ({"resized_crop": {"scale": [0.5, 1.5]}}, "at most 1"),
        ({"resized_crop": {"scale": [0.9, 0.5]}}, "in order"),
        (
            {"resized_crop": {"ratio": [1.5, 0.5]}},
            "augment.resized_crop: expected `ratio: [least, largest]`, above 0 and in order",
        ),
        ({"resized_crop": {"ratio": [0, 1]}}, "above 0"),
        ({"resized_crop": {"scale": [0.5]}}, "augment.resized_crop.scale"),
        ({"resized_crop": True}, "augment.resized_crop: expected a mapping"),
        ({"resized_crop": {"size": 3}}, "augment.resized_crop: unknown key 'size'"),
    ],
)
def test_settings_that_are_no_resized_crop_are_refused_in_one_line(augment, message):
    with pytest.raises(UserError) as error:
        parse(Augment, augment, "augment")
    assert message in str(error.value) and "\n" not in str(error.value)
