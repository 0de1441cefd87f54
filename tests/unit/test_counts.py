"""True label distributions from counts of each image: what is read, drawn and refused."""

import csv

import numpy as np
import pytest
from PIL import Image

from soteacher.core.errors import UserError
from soteacher.data.prepared import Prepared, folder_of, prepare
from soteacher.data.spec import DataSpec
from soteacher.results.truth import Truth
from soteacher.store import study_data
from soteacher.study.expand import expand
from soteacher.study.json_schema import json_schema
from soteacher.study.load import read
from soteacher.training import oracle

SPEC = {"source": "image_folder", "revision": 1, "true_labels": {"revision": 1, "given": True}}
N = {"train": 3, "test": 2}
CLASSES = ("cat", "dog")
TRAIN = np.array([[9, 1], [5, 5], [10, 0], [2, 8], [0, 3], [1, 1]])
TEST = np.array([[4, 0], [3, 1], [1, 3], [0, 4]])


@pytest.fixture
def folder(tmp_path):
    """Class folders of two classes, three training and two test images of each."""
    random = np.random.default_rng(0)
    for name in names_of("train") + names_of("test"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def names_of(split):
    return [f"{split}/{name}/{k}.png" for name in CLASSES for k in range(N[split])]


def table(path, rows, header=("image", *CLASSES)):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(split, counts):
    return [[name, *row] for name, row in zip(names_of(split), counts.tolist(), strict=True)]


def prepared(folder, counts, **spec):
    spec = DataSpec.from_json(SPEC | spec)
    store = folder.parent / "store"
    location = {"path": str(folder), "counts": str(counts)}
    manifest = prepare(spec, store, location)
    return Prepared(folder_of(spec, store, manifest["content"]), manifest)


def refusal(folder, counts):
    with pytest.raises(UserError) as caught:
        prepared(folder, counts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shares(counts):
    return counts / counts.sum(axis=1, keepdims=True)


def test_a_table_of_counts_gives_the_distributions_whatever_the_order(folder, tmp_path):
    rows = rows_of("train", TRAIN)[::-1]
    data = prepared(folder, table(tmp_path / "counts.csv", rows))
    np.testing.assert_allclose(data.array("train_truth"), shares(TRAIN), rtol=1e-15)
    other = [[dog, name, cat] for name, cat, dog in rows]
    swapped = prepared(folder, table(tmp_path / "other.csv", other, ("dog", "image", "cat")))
    np.testing.assert_allclose(swapped.array("train_truth"), shares(TRAIN), rtol=1e-15)
    assert swapped.sha256 == data.sha256  # so the runs are the same


def test_without_test_images_in_the_table_their_labels_are_those_of_the_data(folder, tmp_path):
    data = prepared(folder, table(tmp_path / "counts.csv", rows_of("train", TRAIN)))
    assert data.has_truth and not data.has_test_truth
    assert data.test_classes.tolist() == data.array("test_labels").tolist() == [0, 0, 1, 1]
    assert Truth(data).known and not Truth(data).known_of_test


def test_with_test_images_in_the_table_accuracy_counts_against_their_likeliest_class(
    folder, tmp_path
):
    rows = rows_of("train", TRAIN) + rows_of("test", TEST[::-1])
    data = prepared(folder, table(tmp_path / "counts.csv", rows))
    np.testing.assert_allclose(data.array("test_truth"), shares(TEST[::-1]))
    assert data.test_classes.tolist() == [1, 1, 0, 0]  # unlike the folders
    assert {*data.array("test_labels").tolist()} <= {0, 1}
    assert Truth(data).known_of_test


@pytest.mark.parametrize("scale", [1, None])
def test_rows_of_an_array_are_counts_or_probabilities_in_the_order_of_the_images(
    folder, tmp_path, scale
):
    np.save(tmp_path / "counts.npy", TRAIN if scale else shares(TRAIN).astype(np.float32))
    data = prepared(folder, tmp_path / "counts.npy")
    np.testing.assert_allclose(data.array("train_truth"), shares(TRAIN), rtol=1e-6)
    np.testing.assert_allclose(data.array("train_truth").sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("with_test", [False, True])
def test_arrays_can_have_both_splits(folder, tmp_path, with_test):
    arrays = {"train_truth": TRAIN, "images": np.zeros(3)}
    np.savez(tmp_path / "counts.npz", **arrays | ({"test_truth": TEST} if with_test else {}))
    data = prepared(folder, tmp_path / "counts.npz")
    assert data.has_test_truth is with_test
    if with_test:
        np.testing.assert_allclose(data.array("test_truth"), shares(TEST))


def test_labels_are_drawn_from_the_counts_for_each_seed(tmp_path):
    """The frequencies over seeds are those of the counts, and a seed always has the same labels."""
    n = 4000
    images = {f"{split}_images": np.zeros((n, 1, 1), np.uint8) for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(n) % 3 for split in ("train", "test")}
    images["train_images"][::2] = 9
    np.savez(tmp_path / "data.npz", **images, **labels, train_truth=np.tile([1, 3, 6], (n, 1)))
    spec = DataSpec.from_json({**SPEC, "source": "arrays"})
    place = str(tmp_path / "data.npz")
    manifest = prepare(spec, tmp_path / "store", {"path": place, "counts": place})
    data = Prepared(folder_of(spec, tmp_path / "store", manifest["content"]), manifest)
    drawn = np.stack([data.train_labels(seed) for seed in range(10)])
    np.testing.assert_array_equal(drawn[3], data.train_labels(3))
    found = np.stack([np.bincount(row, minlength=3) / n for row in drawn])
    off = 4 * np.sqrt(0.25 / n)  # four standard errors of a share, at most
    np.testing.assert_allclose(found, np.tile([0.1, 0.3, 0.6], (10, 1)), atol=off)
    # two seeds agree where independent draws do: 0.1 ** 2 + 0.3 ** 2 + 0.6 ** 2
    assert (drawn[0] == drawn[1]).mean() == pytest.approx(0.46, abs=off)


def test_an_oracle_predicts_the_label_of_test_images_without_counts(folder, tmp_path):
    data = prepared(folder, table(tmp_path / "counts.csv", rows_of("train", TRAIN)))
    logits = oracle.logits_of(oracle._of_test(data))
    assert logits.argmax(axis=1).tolist() == [0, 0, 1, 1]
    assert logits.max() == 0


# specs, locations and the store


def study_of(demo, folder, counts):
    demo["data"]["digits"] = {
        "source": "image_folder",
        "path": str(folder),
        "true_labels": {"counts": str(counts)},
    }
    return expand(read(demo | {"store": str(folder.parent / "store")}))


def test_a_spec_says_that_counts_are_given_but_not_where(demo, folder, tmp_path):
    plans = [study_of(demo, folder, tmp_path / name) for name in ("one.csv", "two.csv")]
    first, second = (plan.data_spec("digits") for plan in plans)
    assert first == second
    assert first.to_json() == SPEC
    assert DataSpec.from_json(first.to_json()) == first
    assert plans[0].data_location("digits") == {
        "path": str(folder),
        "counts": str(tmp_path / "one.csv"),
    }
    spec = next(run.spec for run in plans[0].runs.values() if run.data == "digits")
    assert spec.to_json()["data"]["true_labels"] == {"revision": 1, "given": True}


def test_other_counts_are_other_data(demo, folder, tmp_path):
    path = table(tmp_path / "counts.csv", rows_of("train", TRAIN))
    first = prepared(folder, path)
    plan = study_of(demo, folder, path)
    assert study_data.prepared_of(plan)["digits"].sha256 == first.sha256
    table(path, rows_of("train", TRAIN[::-1]))
    assert "digits" not in study_data.prepared_of(plan)
    second = prepared(folder, path)
    assert second.folder != first.folder and second.sha256 != first.sha256
    assert study_data.prepared_of(plan)["digits"].sha256 == second.sha256


def test_both_forms_of_true_labels_are_in_the_schema():
    sources = json_schema()["properties"]["data"]["additionalProperties"]["anyOf"]
    for source in sources:
        forms = source["properties"]["true_labels"]["anyOf"]
        named = [{*form.get("properties", {})} for form in forms]
        assert named == [{"confusion", "split"}, {"counts"}, set()]


def test_counts_and_a_confusion_cannot_both_be_given(demo):
    demo["data"]["digits"]["true_labels"] = {"counts": "a.csv", "confusion": 0.3}
    with pytest.raises(UserError, match=r"true_labels.*unknown key 'confusion'; known: counts"):
        read(demo)


def test_a_spec_without_the_location_of_its_counts_is_refused(folder):
    with pytest.raises(UserError, match="expected its path as 'counts' of the location"):
        prepare(DataSpec.from_json(SPEC), folder.parent / "store", {"path": str(folder)})


# what is refused


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (rows_of("train", TRAIN)[1:], "lacks 1 of the 6 train images: train/cat/0.png"),
        (
            rows_of("train", TRAIN) + rows_of("test", TEST)[1:],
            "lacks 1 of the 4 test images: test/cat/0.png",
        ),
        (rows_of("train", TRAIN)[:1] + rows_of("train", TRAIN), "several rows for train/cat/0.png"),
        (
            [*rows_of("train", TRAIN), ["train/cat/9.png", 1, 1]],
            "has images that the data set does not have: train/cat/9.png; expected paths like "
            "train/cat/0.png",
        ),
        ([["train/cat/0.png", 1]], "has train/cat/0.png,1 in line 2; "),
        ([["train/cat/0.png", 1, "x"]], "expected an image and 2 numbers"),
        ([["train/cat/0.png", 1, 2, 3]], "expected an image and 2 numbers"),
        ([["train/cat/0.png", "1_0", 2]], "has train/cat/0.png,1_0,2 in line 2; expected an image"),
        ([["train/cat/0.png", "\u0661", 2]], "expected an image and 2 numbers"),
        (
            [[], ["train/cat/0.png", 1, 2], [], ["train/cat/1.png", ""]],
            "has train/cat/1.png, in line 5; ",
        ),
        ([], "lacks 6 of the 6 train images"),
    ],
)
def test_rows_that_are_not_those_of_the_images_are_refused(folder, tmp_path, rows, said):
    assert said in refusal(folder, table(tmp_path / "counts.csv", rows))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (("image", "cat", "cow"), "(only in the file: cow; missing: dog)"),
        (("image", "cat", "cat"), "missing: dog"),
        (("file", "cat", "dog"), "(only in the file: file; missing: image)"),
    ],
)
def test_columns_that_are_not_the_classes_are_refused(folder, tmp_path, header, said):
    assert said in refusal(folder, table(tmp_path / "c.csv", rows_of("train", TRAIN), header))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'image,cat,dog\n"open'])
def test_broken_tables_are_refused(folder, tmp_path, content):
    path = tmp_path / "counts.csv"
    path.write_bytes(content)
    assert str(path) in refusal(folder, path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (TRAIN[1:], "have the shape (5, 2); expected (6, 2), one row for each of the 6 images"),
        (TRAIN[:, :1], "have the shape (6, 1); expected (6, 2)"),
        (-TRAIN, "have the value -9.0 for class 0, counted from 0, in row 0"),
        (
            np.where(TRAIN == 8, np.nan, TRAIN),
            "have the value nan for class 1, counted from 0, in row 3",
        ),
        (np.where(TRAIN == 8, np.inf, TRAIN), "have the value inf for class 1, counted from 0, in"),
        (np.where(TRAIN == 5, 1e308, TRAIN), "a sum that is too large to compute in row 1"),
        (np.where(TRAIN > 9, np.longdouble("1e400"), TRAIN), "have the value inf for class 0"),
        (TRAIN * (TRAIN < 9), "have no label in row 2"),
        (TRAIN / 10, "have the sum 0.3 in row 4, counted from 0; expected whole counts"),
        (TRAIN.astype(str), "have values of <U21; expected numbers"),
        (TRAIN.astype(object), "it has Python objects, which could run code"),
    ],
)
def test_rows_that_are_no_distributions_are_refused(folder, tmp_path, rows, said):
    np.save(tmp_path / "counts.npy", rows)
    assert said in refusal(folder, tmp_path / "counts.npy")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("nan", 1), "have the value nan for class 0, counted from 0, in the row of "),
        (("inf", "-inf"), "have the value inf for class 0, counted from 0, in the row of "),
        ((1, -1), "have the value -1.0 for class 1, counted from 0, in the row of "),
        ((1e308, 1e308), "a sum that is too large to compute in the row of "),
        ((0, 0), "have no label in the row of "),
        ((0.5, 0.1), "have the sum 0.6 in the row of "),
    ],
)
def test_a_row_of_a_table_is_named_by_its_image_whatever_the_order(folder, tmp_path, values, said):
    name = names_of("train")[4]
    others = [row for row in rows_of("train", shares(TRAIN)) if row[0] != name]
    for rows in ([[name, *values], *others], [*others[::-1], [name, *values]]):
        assert f"{said}{name}; expected" in refusal(folder, table(tmp_path / "counts.csv", rows))


@pytest.mark.parametrize("header", [("image", "image", "dog"), ("image", "cat", "dog")])
def test_a_class_with_the_name_of_the_column_of_images_needs_an_array(folder, tmp_path, header):
    for split in N:
        (folder / split / "cat").rename(folder / split / "image")
    rows = [[f"train/image/{k}.png", *TRAIN[k]] for k in range(3)]
    text = refusal(folder, table(tmp_path / "counts.csv", rows, header))
    assert "cannot have counts of the class 'image'" in text and "expected an .npy file" in text
    np.save(tmp_path / "counts.npy", TRAIN)  # classes by name: dog, image
    data = prepared(folder, tmp_path / "counts.npy")
    np.testing.assert_allclose(data.array("train_truth"), shares(TRAIN))


def test_files_of_another_kind_are_refused(folder, tmp_path):
    assert "does not exist" in refusal(folder, tmp_path / "none.csv")
    (tmp_path / "counts.txt").write_text("")
    assert "is no file of counts; expected a .csv file" in refusal(folder, tmp_path / "counts.txt")
    np.savez(tmp_path / "counts.npz", counts=TRAIN)
    assert "has no array train_truth (it has counts)" in refusal(folder, tmp_path / "counts.npz")


def test_a_table_needs_images_with_names(tmp_path):
    path = table(tmp_path / "counts.csv", [["0", 1, 1]], ("image", "0", "1"))
    images = {f"{split}_images": np.zeros((2, 1, 1), np.uint8) for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(2) for split in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)
    location = {"path": str(tmp_path / "data.npz"), "counts": str(path)}
    with pytest.raises(UserError, match=r"images of this source have no names; expected an \.npy"):
        prepare(DataSpec.from_json({**SPEC, "source": "arrays"}), tmp_path / "store", location)
