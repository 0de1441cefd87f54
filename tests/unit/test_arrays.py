"""Images in arrays of NumPy: what is read, what is refused, what the store makes of it."""

import zipfile

import numpy as np
import pytest

from soteacher.core.errors import Missing, UserError
from soteacher.data.prepared import prepare
from soteacher.data.sources.arrays import Arrays
from soteacher.data.sources.base import Outline
from soteacher.data.spec import DataSpec

SPEC = {"source": "arrays", "revision": 1}
N = {"train": 6, "test": 4}


def saved(**changes):
    """Arrays of a small data set of two classes; `changes` replaces some, None removes one."""
    random = np.random.default_rng(0)
    values = {}
    for split, n in N.items():
        values[f"{split}_images"] = random.integers(0, 256, (n, 5, 7, 3), dtype=np.uint8)
        values[f"{split}_labels"] = np.arange(n) % 2
    return {name: array for name, array in (values | changes).items() if array is not None}


def npz(folder, **changes):
    path = folder / "images.npz"
    np.savez(path, **saved(**changes))
    return path


def npy(folder, **changes):
    folder.mkdir()
    for name, array in saved(**changes).items():
        np.save(folder / f"{name}.npy", array)
    return folder


def refusal(path):
    """The one line with which both the plan and the preparation refuse a place."""
    texts = []
    for method in ("outline", "read"):
        with pytest.raises(UserError) as caught:
            getattr(Arrays(path=str(path)), method)()
        texts.append(str(caught.value))
    assert texts[0] == texts[1] and "\n" not in texts[0]
    return texts[0]


@pytest.mark.parametrize("save", [npz, lambda folder: npy(folder / "arrays")])
def test_images_and_labels_are_those_of_the_arrays(tmp_path, save):
    source = Arrays(path=str(save(tmp_path)))
    assert source.outline() == Outline(6, 4, 5, 7, 2)
    found = source.read()
    for name, array in saved().items():
        np.testing.assert_array_equal(getattr(found, name), array)
        assert getattr(found, name).dtype == (np.uint8 if "images" in name else np.int64)
    assert found.classes == ("0", "1")
    assert found.train_names is None


def test_an_npz_file_and_a_folder_with_equal_arrays_are_the_same_data(tmp_path):
    spec = DataSpec.from_json(SPEC)
    places = [npz(tmp_path), npy(tmp_path / "arrays")]
    store = tmp_path / "store"
    first, second = (prepare(spec, store, {"path": str(place)}) for place in places)
    assert first == second
    assert str(tmp_path) not in str(first)
    changed = npz(tmp_path, train_labels=np.array([1, 0, 1, 0, 1, 0]))
    assert prepare(spec, store, {"path": str(changed)})["content"] != first["content"]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey_images_have_the_grey_in_all_channels(tmp_path, shape):
    grey = {
        f"{split}_images": np.arange(n * 35, dtype=np.uint8).reshape(n, *shape)
        for split, n in N.items()
    }
    found = Arrays(path=str(npz(tmp_path, **grey))).read()
    for name, array in grey.items():
        expected = np.stack([array.reshape(-1, 5, 7)] * 3, axis=-1)
        np.testing.assert_array_equal(getattr(found, name), expected)


def test_labels_in_a_column_and_other_arrays_are_read_as_medmnist_saves_them(tmp_path, caplog):
    labels = np.array([[0], [1], [1], [0], [1], [0]], dtype=np.uint8)
    path = npz(tmp_path, train_labels=labels, val_labels=np.arange(3))
    with caplog.at_level("INFO"):
        found = Arrays(path=str(path)).read()
    assert found.train_labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert f"left out the arrays val_labels of {path}" in caplog.text


def test_classes_have_the_names_that_an_array_gives(tmp_path):
    names = np.array(["Katze", "Hündin"])
    source = Arrays(path=str(npz(tmp_path, classes=names)))
    assert source.read().classes == ("Katze", "Hündin")


def test_a_class_without_a_test_image_is_no_error(tmp_path):
    path = npz(tmp_path, test_labels=np.zeros(4, dtype=int))
    assert Arrays(path=str(path)).read().classes == ("0", "1")


@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_images_of_floats_are_refused(tmp_path, value):
    text = refusal(npz(tmp_path, train_images=np.full((6, 5, 7, 3), value)))
    assert text.startswith("train_images of ")
    assert "has values of float64; expected uint8, (N, H, W, 3) or (N, H, W) for grey" in text
    assert "np.rint(images * 255).astype('uint8')" in text


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((6, 3, 5, 7), "move the channels, images.transpose(0, 2, 3, 1)"),
        ((6, 105), "has the shape (6, 105); expected uint8, (N, H, W, 3)"),
        ((6, 5, 7, 4), "has the shape (6, 5, 7, 4)"),
        ((0, 5, 7, 3), "without a pixel"),
        ((6, 0, 7, 3), "without a pixel"),
        ((6, 7, 5, 3), "has training images of 5x7 pixels and test images of 7x5"),
    ],
)
def test_images_of_another_shape_are_refused(tmp_path, shape, said):
    assert said in refusal(npz(tmp_path, train_images=np.zeros(shape, np.uint8)))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(6, np.nan), "has values of float64; expected whole numbers"),
        (np.ones(6, bool), "has values of bool"),
        (np.array(["a"] * 6), "has values of <U1"),
        (np.zeros(5, int), "has the shape (5,); expected (6,), one label for each image"),
        (np.zeros((6, 2), int), "has the shape (6, 2); expected (6,)"),
        (np.array([0, 1, -1, 0, 1, 0]), "has the label -1; expected classes from 0"),
        (np.array([0, 1, 70_000, 0, 1, 0]), "has the label 70000; expected classes from 0"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, said):
    assert said in refusal(npz(tmp_path, train_labels=labels))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_labels": np.arange(6) % 2 + 1}, "has no training image of the class 0"),
        ({"test_labels": np.array([0, 1, 2, 1])}, "has no training image of the class 2"),
        (
            {"test_labels": np.array([0, 1, 2, 1]), "classes": np.array(["a", "b"])},
            "has the test label 2; expected labels from 0 to 1, because it has 2 classes",
        ),
        ({"classes": np.array(["a", "b", "c"])}, "has no training image of the class c"),
        (
            {"train_labels": np.zeros(6, int), "test_labels": np.zeros(4, int)},
            "has 1 class; expected at least two",
        ),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_refused(tmp_path, changes, said):
    with pytest.raises(UserError) as caught:
        Arrays(path=str(npz(tmp_path, **changes))).read()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [np.array([1, 2]), np.array(["a", "a"]), np.array([["a", "b"]]), np.array([b"a", b"b"])],
)
def test_names_of_classes_are_different_texts(tmp_path, names):
    assert "expected different texts, one for each class" in refusal(npz(tmp_path, classes=names))


def test_a_name_of_a_class_with_a_line_break_is_refused(tmp_path):
    assert "rename them" in refusal(npz(tmp_path, classes=np.array(["a", "b\nc"])))
    text = refusal(npz(tmp_path, classes=np.array(["a", ""])))
    assert "has class names without text: ''; expected names of one line of text" in text


class Marker:
    """Unpickling an instance would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [npz, lambda folder, **of: npy(folder / "arrays", **of)])
def test_pickled_arrays_are_refused_and_not_run(tmp_path, save):
    target = tmp_path / "run"
    pickled = np.array([Marker(target)], dtype=object)
    text = refusal(save(tmp_path, classes=pickled))
    assert "it has Python objects, which could run code" in text
    assert not target.exists()


def test_what_lacks_an_array_is_refused_by_its_name(tmp_path):
    text = refusal(npz(tmp_path, test_labels=None))
    assert "images.npz has no array test_labels; expected the arrays train_images" in text


def test_places_without_arrays_are_refused(tmp_path):
    with pytest.raises(Missing, match=r"does not exist .*: correct `path`"):
        Arrays(path=str(tmp_path / "none.npz")).outline()
    (tmp_path / "images.txt").write_text("")
    assert "is not an .npz file and not a folder of .npy files" in refusal(tmp_path / "images.txt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "images.npz"
    path.write_bytes(content)
    text = refusal(path)
    assert text.startswith(f"cannot read {path} (") and "intact copy" in text
    folder = npy(tmp_path / "arrays")
    (folder / "train_images.npy").write_bytes(content)
    text = refusal(folder)
    assert text.startswith(f"cannot read {folder / 'train_images.npy'} (")


def test_a_file_that_ends_early_is_refused(tmp_path):
    folder = npy(tmp_path / "arrays")
    path = folder / "train_labels.npy"
    path.write_bytes(path.read_bytes()[:-3])
    assert f"cannot read {path} (" in refusal(folder)


def test_a_file_with_two_arrays_of_one_name_is_refused(tmp_path):
    path = npz(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train_labels.npy", b"")
    assert "has two arrays of one name" in refusal(path)
