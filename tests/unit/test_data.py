"""Prepared images, their augmentation, the stream of batches and known true labels."""

import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import functional

from soteacher.core import files, registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.random import key
from soteacher.data import true_labels as truth
from soteacher.data.augment import crop_and_flip, normalise
from soteacher.data.prepared import Prepared, open_prepared
from soteacher.data.settings import STREAM, TRUE_LABELS, Augment
from soteacher.data.stream import Stream

STREAMS = {1: "7957f07624a6a6af"}
"""Revision of the stream to a hash of one epoch of it."""
SOURCES = {1: "f5c7c24375b37794"}
"""Revision of the digits to a hash of all of them."""
DRAWN = {1: "6673e1ff9e145109"}
"""Revision of true labels to a hash of the distributions and of labels drawn from them."""
RARE = 1e-4
"""A fixed seed's draws are called wrong where chance alone would be this rare."""


def all_files(folder):
    """Every file below a folder: its path to its inode and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = os.stat(path)
        found[path] = (facts.st_ino, facts.st_mtime_ns)
    return found


# the digits


def test_the_digits_are_1347_and_450_grey_images_of_eight_by_eight(digits):
    train, test = digits.array("train_images"), digits.array("test_images")
    assert train.shape == (1347, 8, 8, 3)
    assert test.shape == (450, 8, 8, 3)
    for images in (train, test):
        assert images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
        assert (images == images[..., :1]).all()
    assert digits.manifest["classes"] == [str(k) for k in range(10)]
    assert digits.n_classes == 10


def test_the_outline_of_the_digits_is_that_of_what_is_read(digits):
    outline = registry.get("data source", "digits")().outline()
    arrays = digits.manifest["arrays"]
    size = (outline.height, outline.width, 3)
    assert arrays["train_images"]["shape"] == [outline.n_train, *size]
    assert arrays["test_images"]["shape"] == [outline.n_test, *size]
    assert len(digits.manifest["classes"]) == outline.n_classes


def test_the_digits_are_split_by_class_in_equal_shares(digits):
    train = np.bincount(digits.array("train_labels"), minlength=10)
    test = np.bincount(digits.array("test_labels"), minlength=10)
    assert (np.abs(test - (train + test) * 450 / 1797) < 1).all()


def test_fewer_training_digits_are_some_of_all_in_equal_shares_and_the_test_images_stay(digits):
    part = registry.get("data source", "digits")(n_train=674)
    images = part.read()
    assert part.outline().n_train == len(images.train_images) == 674
    known = {image.tobytes() for image in digits.array("train_images")}
    assert {image.tobytes() for image in images.train_images} <= known
    shares = np.bincount(digits.array("train_labels")) * 674 / 1347
    assert np.all(np.abs(np.bincount(images.train_labels) - shares) < 1)
    np.testing.assert_array_equal(images.test_images, digits.array("test_images"))


def test_the_two_splits_are_scikit_learn_s_digits_each_once_with_its_label(digits):
    from sklearn.datasets import load_digits

    known = load_digits()
    grey = np.concatenate([digits.array(f"{split}_images")[..., 0] for split in ("train", "test")])
    labels = np.concatenate([digits.array(f"{split}_labels") for split in ("train", "test")])
    rows = np.column_stack([labels, np.rint(grey.reshape(len(grey), -1) / 255 * 16)])
    expected = np.column_stack([known.target, known.data])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, expected))


def test_mean_and_deviation_are_those_of_the_training_pixels(digits):
    pixels = digits.array("train_images").reshape(-1, 3) / 255
    np.testing.assert_allclose(digits.manifest["mean"], pixels.mean(axis=0), atol=6e-5)
    np.testing.assert_allclose(digits.manifest["std"], pixels.std(axis=0), atol=6e-5)


def test_the_digits_are_those_of_their_revision(digits):
    arrays = digits.manifest["arrays"]
    hashes = "".join(arrays[name]["sha256"] for name in sorted(arrays))
    digest = hashlib.sha256(hashes.encode())
    assert digest.hexdigest()[:16] == SOURCES[registry.get("data source", "digits").revision]


# preparation


@pytest.mark.parametrize("name", ["digits", "noisy"])
def test_two_preparations_give_the_same_manifest_and_hashes(prepare_data, tmp_path, name):
    first, second = (prepare_data(tmp_path / store, name) for store in ("one", "two"))
    assert first.manifest == second.manifest
    assert first.sha256 == second.sha256
    for array in first.manifest["arrays"]:
        hashes = {files.sha256_of(data.folder / f"{array}.npy") for data in (first, second)}
        assert hashes == {first.manifest["arrays"][array]["sha256"]}


def test_the_manifest_tells_what_the_data_are_and_no_time_host_or_path(noisy):
    named = {"spec", "classes", "mean", "std", "look_alikes", "arrays", "sha256"}
    assert set(noisy.manifest) == named
    assert set(noisy.manifest["arrays"]) == {
        f"{split}_{what}" for split in ("train", "test") for what in ("images", "labels", "truth")
    }
    for name, facts in noisy.manifest["arrays"].items():
        assert set(facts) == {"sha256", "shape", "dtype"}
        assert facts["shape"] == list(noisy.array(name).shape)
        assert facts["dtype"] == str(noisy.array(name).dtype)
    assert noisy.manifest == json.loads((noisy.folder / "manifest.json").read_text())


def test_preparing_again_writes_nothing(prepare_data, tmp_path):
    first = prepare_data(tmp_path, "noisy")
    before = all_files(tmp_path)
    assert prepare_data(tmp_path, "noisy").manifest == first.manifest
    assert all_files(tmp_path) == before


def test_other_data_of_the_same_source_lie_beside_each_other(prepare_data, tmp_path):
    folders = {prepare_data(tmp_path, name).folder for name in ("digits", "noisy")}
    assert len(folders) == 2
    assert set((tmp_path / "data").iterdir()) == folders


@pytest.mark.parametrize("name", ["train_images", "test_truth"])
def test_a_damaged_array_is_refused_by_name_with_what_to_do(prepare_data, tmp_path, name):
    path = prepare_data(tmp_path, "noisy").folder / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        prepare_data(tmp_path, "noisy")
    text = str(caught.value)
    assert text.startswith(f"prepared array {name} has changed since it was recorded: {path} ")
    assert "delete it, then" in text and "--forcerun prepare teach distill" in text
    assert "\n" not in text


def test_a_missing_array_is_refused_by_name_and_made_again_by_preparing(prepare_data, tmp_path):
    whole = prepare_data(tmp_path, "digits")
    (whole.folder / "test_labels.npy").unlink()
    with pytest.raises(UserError, match="prepared array test_labels is missing"):
        whole.check()
    assert prepare_data(tmp_path, "digits").sha256 == whole.sha256
    whole.check()


def test_a_preparation_that_was_cut_short_is_done_again(prepare_data, tmp_path):
    whole = prepare_data(tmp_path, "digits")
    (whole.folder / "manifest.json").unlink()
    (whole.folder / "train_images.npy").write_bytes(b"half")
    assert prepare_data(tmp_path, "digits").manifest == whole.manifest
    assert set((tmp_path / "data").iterdir()) == {whole.folder}


def test_data_that_a_manifest_tells_of_must_be_in_the_store(prepare_data, tmp_path):
    data = prepare_data(tmp_path / "store", "digits")
    manifest = data.folder / "manifest.json"
    assert open_prepared(manifest, tmp_path / "store") == data
    with pytest.raises(UserError, match="not in the store"):
        open_prepared(manifest, tmp_path / "another")


@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_an_array_is_mapped_and_what_is_written_to_it_reaches_no_file(digits, name):
    array = digits.array(name)
    before = array.copy()
    assert isinstance(array, np.memmap)
    tensor = torch.from_numpy(array)
    tensor += 1
    np.testing.assert_array_equal(array, before + 1)  # no copy of it
    np.testing.assert_array_equal(digits.array(name), before)
    digits.check()


@pytest.mark.filterwarnings("error")
def test_on_the_cpu_a_stream_reads_the_images_where_they_lie(digits, monkeypatch):
    mapped = []
    opened = Prepared.array

    def watched(data, name):
        mapped.append(opened(data, name))
        return mapped[-1]

    monkeypatch.setattr(Prepared, "array", watched)
    stream = Stream(digits, Augment(), 4, 0, "teacher", "cpu")
    mapped[0][:] = 0
    black = (0 - torch.tensor(digits.manifest["mean"])) / torch.tensor(digits.manifest["std"])
    images = stream.batch(Cursor(Stage.MAIN, 0, 0)).images
    torch.testing.assert_close(images.amax(dim=(0, 2, 3)), black)


def test_an_array_that_is_not_there_is_refused_by_name(digits):
    with pytest.raises(UserError, match="unknown array 'train_truth'"):
        digits.array("train_truth")


# augmentation


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (12, 4)])
def test_augmented_batches_are_torchvision_s_bit_for_bit(padding, shape):
    draw = torch.Generator().manual_seed(padding)
    n = 3 * (2 * padding + 1) ** 2
    images = torch.randint(0, 256, (n, *shape, 3), dtype=torch.uint8, generator=draw)
    offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=draw)
    flips = torch.rand(n, generator=draw) < 0.5
    mean, std = [0.507, 0.487, 0.441], [0.267, 0.256, 0.276]

    expected = []
    for image, (top, left), flip in zip(images, offsets.tolist(), flips.tolist(), strict=True):
        view = functional.pad(image.permute(2, 0, 1), [padding] * 4)
        view = functional.crop(view, top, left, *shape)
        view = functional.hflip(view) if flip else view
        view = functional.to_tensor(view.permute(1, 2, 0).numpy())
        expected.append(functional.normalize(view, mean, std))

    views = crop_and_flip(images, padding, offsets, flips)
    assert views.dtype == torch.uint8
    found = normalise(views, torch.tensor(mean), torch.tensor(std))
    assert flips.any() and not flips.all()
    assert torch.equal(found, torch.stack(expected))
    assert found.is_contiguous(memory_format=torch.channels_last)


# the stream of batches

AUGMENT = Augment(crop_padding=1, flip=0.5)


@dataclass(frozen=True)
class Which:
    """Which stream is asked for."""

    seed: int = 0
    role: str = "teacher"
    batch: int = 64
    augment: Augment = AUGMENT

    def stream(self, data):
        return Stream(data, self.augment, self.batch, self.seed, self.role, "cpu")


def epoch_of(stream, epoch=0, stage=Stage.MAIN):
    """All batches of an epoch, one after another: images, labels and indices."""
    batches = [stream.batch(Cursor(stage, epoch, step)) for step in range(stream.steps)]
    return {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in ("images", "labels", "indices")
    }


def test_a_batch_is_the_same_in_whatever_order_and_from_whatever_stream_it_is_asked_for(noisy):
    moments = [
        Cursor(stage, epoch, step)
        for stage in (Stage.PREPARE, Stage.MAIN)
        for epoch in (0, 1, 7)
        for step in (0, 5, 21)
    ]
    stream = Which().stream(noisy)
    batches = {at: stream.batch(at) for at in moments}
    shuffled = [moments[place] for place in np.random.Generator(np.random.PCG64(0)).permutation(18)]
    for at in shuffled:
        for other in (stream, Which().stream(noisy)):
            batch = other.batch(at)
            assert batch.cursor == at
            assert torch.equal(batch.images, batches[at].images)
            assert torch.equal(batch.labels, batches[at].labels)
            assert torch.equal(batch.indices, batches[at].indices)


def test_random_numbers_drawn_elsewhere_do_not_disturb_the_stream(noisy):
    first = epoch_of(Which().stream(noisy))
    torch.manual_seed(99)
    np.random.seed(99)
    torch.rand(5)
    assert all(
        torch.equal(first[name], again) for name, again in epoch_of(Which().stream(noisy)).items()
    )


@pytest.mark.parametrize(
    ("which", "epoch", "stage"),
    [
        (Which(seed=1), 0, Stage.MAIN),
        (Which(role="student"), 0, Stage.MAIN),
        (Which(), 1, Stage.MAIN),
        (Which(), 0, Stage.PREPARE),
    ],
    ids=["seed", "role", "epoch", "stage"],
)
def test_another_seed_role_epoch_or_stage_has_another_order_and_other_views(
    digits, which, epoch, stage
):
    first = epoch_of(Which().stream(digits))
    other = epoch_of(which.stream(digits), epoch, stage)
    same_place = (first["indices"] == other["indices"]).float().mean()
    assert same_place < 0.01
    views = [found["images"][found["indices"].argsort()] for found in (first, other)]
    same_view = (views[0] == views[1]).flatten(1).all(dim=1).float().mean()
    assert same_view < 0.2  # by chance 1/18, and a few images are symmetric


@pytest.mark.parametrize(("batch", "sizes"), [(64, [64] * 21 + [3]), (449, [449] * 3)])
def test_every_image_comes_once_an_epoch_and_the_last_short_batch_is_kept(digits, batch, sizes):
    stream = Which(batch=batch).stream(digits)
    assert stream.steps == len(sizes)
    found = [stream.batch(Cursor(Stage.MAIN, 3, step)).indices for step in range(stream.steps)]
    assert [len(indices) for indices in found] == sizes
    assert torch.equal(torch.cat(found).sort().values, torch.arange(1347))


def test_the_size_of_batches_changes_neither_order_nor_views(digits):
    small, large = (epoch_of(Which(batch=batch).stream(digits)) for batch in (32, 500))
    assert all(torch.equal(small[name], large[name]) for name in small)


def test_without_augmentation_a_batch_is_the_normalised_images_themselves(digits):
    found = epoch_of(Which(augment=Augment()).stream(digits))
    images = torch.from_numpy(np.array(digits.array("train_images")))[found["indices"]]
    mean, std = (torch.tensor(digits.manifest[name]).float() for name in ("mean", "std"))
    assert torch.equal(found["images"], normalise(images, mean, std))
    assert torch.equal(
        found["labels"], torch.tensor(digits.array("train_labels"))[found["indices"]]
    )


def test_all_roles_stages_and_epochs_of_a_seed_have_its_labels(noisy):
    labels = torch.from_numpy(noisy.train_labels(3))
    for role in ("teacher", "student"):
        stream = Which(seed=3, role=role).stream(noisy)
        for stage, epoch in ((Stage.PREPARE, 0), (Stage.MAIN, 0), (Stage.MAIN, 9)):
            found = epoch_of(stream, epoch, stage)
            assert torch.equal(found["labels"], labels[found["indices"]])


@pytest.fixture
def traceable(tmp_path):
    """Images whose pixels tell their own row and column, so that a view tells how it was made."""
    n, height, width = 2000, 5, 7
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    np.save(tmp_path / "train_images.npy", np.repeat(image[None], n, axis=0))
    np.save(tmp_path / "train_labels.npy", np.zeros(n, dtype=np.int64))
    arrays = {
        name: {"sha256": files.sha256_of(tmp_path / f"{name}.npy")}
        for name in ("train_images", "train_labels")
    }
    return Prepared(tmp_path, {"arrays": arrays, "mean": [0.0] * 3, "std": [1.0] * 3})


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_crops_are_uniform_and_flips_as_frequent_as_the_study_says(traceable, flip):
    padding, n = 2, 2000
    stream = Which(seed=5, augment=Augment(crop_padding=padding, flip=flip)).stream(traceable)
    seen = (epoch_of(stream)["images"] * 255).round().long()
    rows, columns = seen[:, 0, 2, 3] - 2, seen[:, 1, 2, 3] - 3  # of the middle: how far it moved
    flipped = seen[:, 1, 2, 2] > seen[:, 1, 2, 3]
    places = (rows + padding) * (2 * padding + 1) + columns + padding
    counts = torch.bincount(places, minlength=(2 * padding + 1) ** 2)
    assert len(counts) == (2 * padding + 1) ** 2
    assert stats.chisquare(counts).pvalue > RARE
    assert stats.binomtest(int(flipped.sum()), n, flip).pvalue > RARE


def test_order_crops_and_flips_of_an_epoch_are_drawn_apart_from_each_other(traceable):
    stream = Which(augment=Augment(crop_padding=2, flip=0.5)).stream(traceable)
    found = epoch_of(stream)
    seen = (found["images"] * 255).round().long()
    draws = np.stack(
        [
            found["indices"],
            seen[:, 0, 2, 3],
            seen[:, 1, 2, 3],
            seen[:, 1, 2, 2] > seen[:, 1, 2, 3],
        ]
    )
    correlation = np.corrcoef(draws.astype(float)) - np.eye(4)
    assert np.abs(correlation).max() < 4 / np.sqrt(2000)


def test_the_stream_gives_the_batches_of_its_revision(traceable):
    found = epoch_of(Which(augment=Augment(crop_padding=2, flip=0.3)).stream(traceable))
    seen = (found["images"] * 255).round().to(torch.uint8).contiguous()
    digest = hashlib.sha256(found["indices"].numpy().tobytes() + seen.numpy().tobytes())
    assert digest.hexdigest()[:16] == STREAMS[STREAM]


# known true labels

TOY_IMAGES = np.array([0, 2, 10, 12, 17, 19, 100, 102], dtype=np.uint8).reshape(8, 1, 1, 1)
TOY_LABELS = np.array([2, 2, 0, 0, 3, 3, 1, 1])
"""Mean images: class 2 at 1, class 0 at 11, class 3 at 18, class 1 at 101."""


def test_look_alikes_are_the_classes_with_the_nearest_mean_images():
    found = truth.look_alikes(TOY_IMAGES, TOY_LABELS, n_classes=4, n=2)
    assert found.tolist() == [[3, 2], [3, 0], [0, 3], [0, 2]]


def test_a_class_at_the_same_distance_as_another_comes_in_the_order_of_classes():
    images = np.array([10, 0, 20, 30], dtype=np.uint8).reshape(4, 1, 1, 1)
    found = truth.look_alikes(images, np.arange(4), n_classes=4, n=2)
    assert found.tolist() == [[1, 2], [0, 2], [0, 3], [2, 0]]


def test_true_distributions_have_the_stated_shares():
    near = np.array([[1, 2], [2, 0], [0, 1]])
    found = truth.distributions(np.array([1, 0, 2, 1]), near, 0.4, (0.75, 0.25))
    expected = [[0.1, 0.6, 0.3], [0.6, 0.3, 0.1], [0.3, 0.1, 0.6], [0.1, 0.6, 0.3]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("split", ["train", "test"])
def test_true_distributions_of_the_digits_are_around_the_true_class(noisy, digits, split):
    shares = np.asarray(noisy.array(f"{split}_truth"))
    classes = np.asarray(digits.array(f"{split}_labels"))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    assert (shares.argmax(axis=1) == classes).all()
    np.testing.assert_allclose(np.sort(shares)[:, :7], 0)
    np.testing.assert_allclose(np.sort(shares)[:, 7:], [[0.09, 0.21, 0.7]] * len(shares))
    near = np.array(noisy.manifest["look_alikes"])[classes]
    assert (np.argsort(-shares, axis=1)[:, 1:3] == near).all()


def test_look_alikes_are_found_on_the_training_images(noisy, digits):
    images = digits.array("train_images").astype(float)
    labels = digits.array("train_labels")
    means = [images[labels == k].mean(axis=0) for k in range(10)]
    for k, near in enumerate(noisy.manifest["look_alikes"]):
        distances = [((means[k] - mean) ** 2).sum() for mean in means]
        assert sorted(range(10), key=lambda other: distances[other])[1:3] == near


def test_drawn_labels_have_the_frequencies_of_their_distribution():
    shares = np.array([0.5, 0.0, 0.3, 0.2])
    drawn = truth.draw(np.repeat(shares[None], 20_000, axis=0), key(0, "test", "labels"))
    counts = np.bincount(drawn, minlength=4)
    assert drawn.dtype == np.int64
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 20_000 * shares[[0, 2, 3]]).pvalue > RARE


def test_training_labels_of_the_digits_have_the_frequencies_of_their_distributions(noisy):
    shares = np.asarray(noisy.array("train_truth"))
    drawn = np.stack([noisy.train_labels(seed) for seed in range(20)])
    for k in range(10):
        rows = shares.argmax(axis=1) == k
        counts = np.bincount(drawn[:, rows].ravel(), minlength=10)
        expected = shares[rows][0] * counts.sum()
        assert counts[expected == 0].sum() == 0
        assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > RARE


def test_labels_are_drawn_image_by_image(noisy):
    """Two seeds agree about as often as two draws from p* do, and neither repeats a pattern."""
    shares = np.asarray(noisy.array("train_truth"))
    agree = (shares**2).sum(axis=1).mean()
    first, second = noisy.train_labels(0), noisy.train_labels(1)
    found = int((first == second).sum())
    assert stats.binomtest(found, len(first), agree).pvalue > RARE


def test_a_seed_s_labels_are_always_the_same_and_another_seed_s_are_others(noisy):
    assert (noisy.train_labels(0) == noisy.train_labels(0)).all()
    assert (noisy.train_labels(0) != noisy.train_labels(1)).any()


def test_without_known_distributions_all_seeds_have_the_labels_of_the_source(digits):
    assert not digits.has_truth
    assert (digits.train_labels(0) == digits.array("train_labels")).all()
    assert (digits.train_labels(1) == digits.array("train_labels")).all()
    assert (digits.test_classes == digits.array("test_labels")).all()


def test_test_labels_are_drawn_once_and_accuracy_counts_against_the_true_class(noisy, digits):
    classes = np.asarray(digits.array("test_labels"))
    assert noisy.has_truth
    assert (noisy.test_classes == classes).all()
    assert (noisy.test_classes == noisy.array("test_truth").argmax(axis=1)).all()
    drawn = np.asarray(noisy.array("test_labels"))
    assert stats.binomtest(int((drawn != classes).sum()), len(drawn), 0.3).pvalue > RARE
    chances = np.take_along_axis(noisy.array("test_truth"), drawn[:, None], axis=1)
    assert (chances > 0).all()


def test_true_labels_are_those_of_their_revision(noisy):
    truths = [noisy.array(f"{split}_truth").round(9) for split in ("train", "test")]
    arrays = [*truths, noisy.train_labels(0), noisy.train_labels(1), noisy.array("test_labels")]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays))
    assert digest.hexdigest()[:16] == DRAWN[TRUE_LABELS]
