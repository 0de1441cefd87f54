"""Training images that are stored in a larger size than that of networks: `input_size`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize, functional

from soteacher.cli.plan import facts_of, to_text
from soteacher.core import memory
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import OutOfMemory, UserError
from soteacher.core.random import generator, key
from soteacher.data.augment import normalise
from soteacher.data.memory import preparing_bytes
from soteacher.data.prepared import Prepared, folder_of, prepare
from soteacher.data.resized_crop import boxes, crop_and_resize
from soteacher.data.settings import Augment
from soteacher.data.sources.base import Outline
from soteacher.data.spec import DataSpec
from soteacher.data.stream import Stream
from soteacher.exchange.imported import import_teacher
from soteacher.models import catalogue
from soteacher.store.forecast import Forecast
from soteacher.study.cost import data_bytes, gpu_bytes, pass_flop, run_bytes, training_bytes
from soteacher.study.expand import expand
from soteacher.study.gpu_hours import gpu_facts
from soteacher.study.load import read
from soteacher.training.evaluate import Evaluator
from soteacher.training.memory_limit import check_passes

BILINEAR = InterpolationMode.BILINEAR
CASES = [
    ((64, 64), (48, 48)),
    ((72, 72), (48, 48)),
    ((128, 128), (32, 32)),
    ((50, 70), (20, 33)),
    ((9, 9), (1, 1)),
]
CROPPED = {"resized_crop": {}, "flip": 0.5}
GB = 10**9


def columns_then_rows(image, box, size, flip=False):
    """A resized crop by Pillow, one direction at a time, as all versions before 13 do it."""
    top, left, height, width = box
    view = Image.fromarray(image).crop((left, top, left + width, top + height))
    for shape in ((size[1], height), (size[1], size[0])):
        view = view.resize(shape, Image.Resampling.BILINEAR)
    return np.array(functional.hflip(view) if flip else view)


def some_boxes(shape, n, random):
    sizes = random.integers(1, np.array(shape) + 1, (n, 2))
    sizes[:2] = [shape, (1, 1)]
    return np.concatenate([random.integers(0, np.array(shape) - sizes + 1), sizes], axis=1)


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_smaller_views_are_pillow_s_bit_for_bit_and_torchvision_s_to_one_grey_level(shape, size):
    """From version 13 on, Pillow resizes rows first where the height shrinks more."""
    random = np.random.default_rng(sum(shape))
    images = random.integers(0, 256, (100, *shape, 3), dtype=np.uint8)
    given, flips = some_boxes(shape, 100, random), random.random(100) < 0.5
    found = crop_and_resize(*map(torch.from_numpy, (images, given, flips)), size).numpy()
    for image, box, flip, view in zip(images, given.tolist(), flips, found, strict=True):
        assert np.array_equal(view, columns_then_rows(image, box, size, flip))
        whole = Image.fromarray(image)
        expected = functional.resized_crop(whole, *box, list(size), BILINEAR, antialias=True)
        expected = np.array(functional.hflip(expected) if flip else expected)
        assert np.abs(view.astype(int) - expected).max() <= 1
        if box[2] * size[1] <= box[3] * size[0]:  # the height does not shrink more
            assert np.array_equal(view, expected)


def stored(folder, **changes):
    """A prepared data set of noise, 12x12 stored, for networks of 8x8."""
    sizes = {"n_train": 60, "n_test": 20, "size": 12, "n_classes": 5, "input_size": 8}
    values = {"source": "generated", "revision": 1, **sizes, **changes}
    spec = DataSpec.from_json({k: v for k, v in values.items() if v is not None})
    return Prepared(folder_of(spec, folder), prepare(spec, folder))


@pytest.fixture
def data(tmp_path):
    return stored(tmp_path)


def test_images_are_prepared_in_both_sizes_by_torchvision_s_resize(data, tmp_path):
    plain = stored(tmp_path, input_size=None)
    resize = Resize(8, BILINEAR, antialias=True)
    for name, source in (("test_images", "test_images"), ("train_resized", "train_images")):
        expected = [np.array(resize(Image.fromarray(x))) for x in plain.array(source)]
        assert np.array_equal(data.array(name), expected)
    assert np.array_equal(data.array("train_images"), plain.array("train_images"))
    assert data.outline == Outline(60, 20, 8, 8, 5, stored_size=12)
    assert data.outline.of_network == (8, 8, 5)
    assert plain.outline == Outline(60, 20, 12, 12, 5)
    assert "train_resized" not in plain.manifest["arrays"]
    assert data.sha256 != plain.sha256


def test_the_plan_knows_the_sizes_of_the_prepared_data_and_their_bytes(data):
    spec = DataSpec.from_json(data.manifest["spec"])
    assert spec.open_source().outline() == data.outline
    n_bytes = sum(data.array(name).nbytes for name in data.manifest["arrays"])
    assert data_bytes(spec, data.outline) == n_bytes


@pytest.mark.parametrize("turns", [1, 4])
def test_boxes_are_drawn_in_the_stored_image_and_resized_to_that_of_networks(data, turns):
    stream = Stream(data, Augment(**CROPPED), 60, 3, "teacher", "cpu", turns)
    batch = stream.batch(Cursor(Stage.MAIN, 1, 0))
    assert batch.images.shape == (60 * turns, 3, 8, 8)
    draws = [generator(key(3, "teacher", kind, Stage.MAIN.name, 1)) for kind in ("crop", "flip")]
    given = boxes(60, 12, 12, (0.08, 1.0), (3 / 4, 4 / 3), draws[0]).tolist()
    flips = (torch.rand(60, generator=draws[1]) < 0.5).tolist()
    images = data.array("train_images")[batch.indices.numpy()]
    views = [
        columns_then_rows(image, box, (8, 8), flip)
        for image, box, flip in zip(images, given, flips, strict=True)
    ]
    mean, std = (torch.tensor(data.manifest[name]) for name in ("mean", "std"))
    expected = normalise(torch.from_numpy(np.array(views)), mean, std)
    assert torch.equal(batch.images[:60], expected)


def test_networks_are_tested_on_whole_images_of_their_size(data):
    resized = data.array("train_resized")
    evaluator, rows = Evaluator(data, "cpu"), np.array([3, 1])
    assert np.array_equal(evaluator.train_images(rows), resized[rows])
    stream = Stream(data, Augment(**CROPPED), 16, 0, "teacher", "cpu", rows=np.arange(5, 25))
    assert np.array_equal(torch.cat([*stream.plain_images(8)]), resized[5:25])
    network = catalogue.build("wrn_10_1", 5, (8, 8))
    for split, images in (("train", resized), ("test", data.array("test_images"))):
        expected = evaluator.forward(network, torch.from_numpy(np.array(images)))
        assert np.array_equal(evaluator.logits(network, split), expected.numpy())


def test_an_imported_teacher_is_measured_and_written_with_the_size_of_networks(data, tmp_path):
    torch.save(catalogue.build("wrn_10_1", 5, (8, 8)).state_dict(), tmp_path / "net.pth")
    card = import_teacher(tmp_path / "net.pth", "wrn_10_1", data, tmp_path / "out")
    assert (card["height"], card["width"]) == (8, 8)
    assert "8x8 pixels" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


# costs


def runs_of(wide, **changes):
    """The plan of a study, and the specs of its runs on a data set of noise."""
    sizes = {"n_train": 50_000, "n_test": 1000, "size": 64, "n_classes": 10}
    wide["data"]["digits"] = {"source": "generated", **sizes, "augment": CROPPED, **changes}
    plan = expand(read(wide))
    return plan, [run.spec for run in plan.runs.values() if run.data == "digits"]


def test_networks_cost_what_their_size_costs_and_memory_follows_the_stored_size(wide):
    _, specs = runs_of(wide, input_size=48)
    [spec] = [spec for spec in specs if spec.role == "teacher"][:1]
    small = Outline(50_000, 1000, 48, 48, 10)
    larger = spec.data.open_source().outline()
    assert larger == replace(small, stored_size=64)
    assert pass_flop([spec], larger) == pass_flop([spec], small)
    assert run_bytes(spec, larger) == run_bytes(spec, small)
    # two sets of training images for one; 3 pixels are averaged for 2, of which each has 11 bytes
    cropping = spec.recipe.batch * 48 * (64 * 3 - 48 * 2) * 11
    more = 50_000 * 64**2 * 3 + cropping
    assert training_bytes([spec], larger) - training_bytes([spec], small) == more
    assert gpu_bytes([spec], larger) - gpu_bytes([spec], small) == more
    hours, of_small = (gpu_facts([([spec], outline)])["hours"] for outline in (larger, small))
    for row, other in zip(hours, of_small, strict=True):  # only the crops take longer
        assert other["seconds"] <= row["seconds"] < 1.1 * other["seconds"]
        assert other["bound"] == row["bound"]


def test_without_the_setting_specs_have_no_entry_of_it(wide):
    _, [plain, *_] = runs_of(wide)
    _, [larger, *_] = runs_of(wide, input_size=48)
    assert "input_size" not in json.dumps(plain.to_json())
    assert larger.to_json()["data"] == {**plain.to_json()["data"], "input_size": 48}


# what fits


def needed_to_prepare(size):
    return 80_000_000 + 51_000 * 3 * (size**2 + 48**2) + 51_000 * 8


def test_a_preparation_that_does_not_fit_names_the_largest_stored_size(monkeypatch, tmp_path):
    left = (needed_to_prepare(57) + needed_to_prepare(58)) // 2
    monkeypatch.setattr(memory, "available", lambda: left)
    with pytest.raises(UserError) as caught:
        stored(tmp_path, n_train=50_000, n_test=1000, size=64, n_classes=10, input_size=48)
    needed = needed_to_prepare(64)
    assert str(caught.value) == (
        f"preparing generated needs about {needed / GB:.1f} GB of memory for 51,000 images of "
        f"48x48 (training images: 64x64) pixels, but this process can use {left / GB:.1f} GB: set "
        "`size: 57`, the largest that fits, or use fewer images, or a machine with more memory"
    )


def test_where_no_larger_size_fits_the_largest_without_the_setting_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available", lambda: 80_000_000 + 51_000 * (3 * 40**2 + 8))
    with pytest.raises(UserError, match="set `size: 40` without `input_size`, the largest that"):
        stored(tmp_path, n_train=50_000, n_test=1000, size=64, n_classes=10, input_size=48)


def test_training_that_does_not_fit_names_the_largest_stored_size(wide, monkeypatch):
    _, specs = runs_of(wide, input_size=48)
    [spec] = [spec for spec in specs if spec.role == "teacher"][:1]
    outline = spec.data.open_source().outline()
    needed = training_bytes([spec], outline)
    short = 50_000 * 3 * (64**2 - 60**2)  # for images of 60x60 pixels, it would suffice
    monkeypatch.setattr(memory, "available", lambda: needed - short)
    with pytest.raises(UserError) as caught:
        check_passes([[spec]], outline, "cpu")
    text = str(caught.value)
    assert "51,000 images of 48x48 (training images: 64x64) pixels needs" in text
    assert "GB: store images of 60x60 pixels, the largest that fit, or use smaller or" in text
    with pytest.raises(OutOfMemory, match="fit, or use smaller"):
        check_passes([[spec, spec]], outline, "cpu")
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(UserError, match=r"0\.0 GB: use smaller or fewer images"):
        check_passes([[spec]], outline, "cpu")


def test_the_plan_counts_the_stored_size_and_names_the_largest_that_fits(wide):
    plan, _ = runs_of(wide, input_size=48)
    forecast = Forecast(plan, parallel=1)
    facts, source = facts_of(plan, forecast), plan.study.data["digits"].source
    outline = source.outline()
    needed = max(preparing_bytes(source, None, outline), facts["training_bytes"])
    assert forecast.largest_stored_sizes(needed) == {}
    short = 51_000 * 3 * (64**2 - 63**2)
    sizes = forecast.largest_stored_sizes(needed - short)
    assert sizes.keys() == {"digits"} and 48 < sizes["digits"] <= 63
    said = f"Images of 'digits' that are stored in {sizes['digits']}x{sizes['digits']} pixels would"
    assert said in to_text(facts, needed - short, sizes)
    assert "that are stored" not in to_text(facts, needed, {})
    assert forecast.largest_stored_sizes(1000) == {}


# what is refused


BIRDS = {"source": "image_folder", "path": "birds", "augment": CROPPED}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {**BIRDS, "size": 48, "input_size": 64},
            "data.digits: expected `input_size` below `size`, 48; got 64: set `size` to a larger "
            "number, or remove `input_size`",
        ),
        ({**BIRDS, "size": 48, "input_size": 48}, "expected `input_size` below `size`, 48; got 48"),
        ({**BIRDS, "size": 48, "input_size": 0}, "data.digits.input_size: "),
        ({**BIRDS, "size": 48, "input_size": 12.5}, "data.digits.input_size: "),
        ({**BIRDS, "size": 48, "input_size": True}, "data.digits.input_size: "),
        (
            {"source": "digits", "input_size": 8, "augment": CROPPED},
            "`input_size: 8` does not fit the images of the source digits, which have 8x8 pixels; "
            "expected larger, square images: remove `input_size`",
        ),
        (
            {"source": "cifar100", "input_size": 33, "augment": CROPPED},
            "the images of the source cifar100, which have 32x32 pixels",
        ),
        (
            {**BIRDS, "size": 64, "input_size": 48, "augment": {"crop_padding": 4}},
            "data.digits: `input_size` needs `augment: {resized_crop: {}}`, which makes training "
            "images of this size out of larger ones: add it, or remove `input_size`",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(wide, data, message):
    wide["data"]["digits"] = data
    with pytest.raises(UserError) as caught:
        expand(read(wide))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "input_size"), [((8, 6), 4), ((6, 8), 4), ((8, 8), 8)])
def test_images_of_arrays_must_be_larger_and_square(tmp_path, size, input_size):
    labels = np.array([0, 1])
    images = np.zeros((2, *size), np.uint8)
    path = tmp_path / "images.npz"
    arrays = {f"{split}_images": images for split in ("train", "test")}
    np.savez(path, **arrays, train_labels=labels, test_labels=labels)
    spec = DataSpec.from_json({"source": "arrays", "revision": 1, "input_size": input_size})
    with pytest.raises(UserError) as caught:
        prepare(spec, tmp_path / "store", {"path": str(path)})
    text = (
        f"the images of the source arrays, which have {size[1]}x{size[0]} pixels; expected larger"
    )
    assert text in str(caught.value)


def test_arrays_and_published_sets_can_have_larger_images(wide):
    for source in ("cifar100", "tiny_imagenet"):
        wide["data"]["digits"] = {"source": source, "input_size": 24, "augment": CROPPED}
        outline = read(wide).data["digits"].source.outline()
        assert outline.of_network[:2] == (24, 24)
        assert outline.stored_size == {"cifar100": 32, "tiny_imagenet": 64}[source]
