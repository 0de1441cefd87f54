"""Images in parquet files, as downloaded from Hugging Face: what is read and what is refused."""

import builtins
import io
import json

import numpy as np
import pytest
from PIL import Image

from soteacher.core.errors import Missing, UserError
from soteacher.data.sources.base import Outline
from soteacher.data.sources.parquet import Parquet

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet as files  # noqa: E402

N = {"train": 5, "test": 4}
FILES = {"train": ["train-00000-of-00002", "train-00001-of-00002"], "test": ["test-00000-of-00001"]}


def pixels(seed, shape=(6, 8, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def images_of(split, shape=(6, 8, 3)):
    start = 0 if split == "train" else 100
    return [pixels(start + k, shape) for k in range(N[split])]


def save(path, images, labels, label="label", image="image", metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(images)]
    table = pyarrow.table({image: rows, label: labels, "coarse": [str(k) for k in labels]})
    files.write_table(table.replace_schema_metadata(metadata), path)


def made(folder, names=FILES, **of):
    """Files of a small data set of two classes; the training images are in two files."""
    for split, stems in names.items():
        images = [encoded(image) for image in images_of(split)]
        for part, stem in enumerate(stems):
            rows = np.array_split(np.arange(N[split]), len(stems))[part].tolist()
            path = folder / f"{stem}.parquet"
            save(path, [images[k] for k in rows], [k % 2 for k in rows], **of)
    return folder


def refusal(folder, **settings):
    with pytest.raises(UserError) as caught:
        Parquet(path=str(folder), **settings).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


LAYOUTS = {
    "shards": FILES,
    "plain": {"train": ["train"], "test": ["test"]},
    "folders": {"train": ["train/0", "train/1"], "test": ["test/0000"]},
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_images_are_read_in_the_order_of_files_and_rows(tmp_path, names):
    source = Parquet(path=str(made(tmp_path, names)))
    assert source.outline() == Outline(5, 4, 6, 8, 2)
    found = source.read()
    np.testing.assert_array_equal(found.train_images, images_of("train"))
    np.testing.assert_array_equal(found.test_images, images_of("test"))
    assert found.train_labels.tolist() == [0, 1, 0, 1, 0]
    assert found.test_labels.tolist() == [0, 1, 0, 1]
    assert found.classes == ("0", "1")


def test_columns_and_splits_have_the_names_that_settings_give(tmp_path):
    names = {"train": ["train-00000-of-00001"], "test": ["validation-00000-of-00001"]}
    made(tmp_path, names, label="fine_label", image="img")
    source = Parquet(path=str(tmp_path), test="validation", label="fine_label")
    assert source.read().test_labels.tolist() == [0, 1, 0, 1]
    text = refusal(tmp_path, test="validation")
    assert "has no column 'label'; it has coarse, fine_label, img: set `label`" in text
    text = refusal(tmp_path, label="fine_label")
    assert "no file test.parquet or test-*.parquet" in text
    assert "(there: train-00000-of-00001.parquet, validation-00000-of-00001.parquet)" in text


def test_classes_have_the_names_that_hugging_face_wrote(tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    source = Parquet(path=str(made(tmp_path, metadata=metadata)))
    assert source.read().classes == ("cat", "dog")
    assert source.outline().n_classes == 2


def test_classes_need_names_with_text(tmp_path):
    features = {"label": {"names": ["cat", ""], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    assert "class names without text: ''; expected" in refusal(made(tmp_path, metadata=metadata))


def test_images_of_several_sizes_need_a_size(tmp_path):
    made(tmp_path)
    other = [encoded(pixels(7, (12, 9, 3))), encoded(pixels(8, (10, 10)))]
    save(tmp_path / "test-00000-of-00001.parquet", other, [0, 1])
    text = refusal(tmp_path)
    assert "train-00000-of-00002.parquet, row 0 has 8x6 pixels and" in text
    assert "test-00000-of-00001.parquet, row 0 has 9x12; expected images of one size" in text
    found = Parquet(path=str(tmp_path), size=5).read()
    assert found.test_images.shape == (2, 5, 5, 3)
    grey = found.test_images[1]
    assert (grey == grey[..., :1]).all()


def test_names_of_images_are_theirs_if_each_has_one_of_its_own(tmp_path):
    made(tmp_path, LAYOUTS["plain"])
    assert Parquet(path=str(tmp_path)).read().test_names == ("0.png", "1.png", "2.png", "3.png")
    made(tmp_path / "parts")  # each of two files counts from 0
    assert Parquet(path=str(tmp_path / "parts")).read().train_names is None


def test_images_may_be_bytes_alone(tmp_path):
    for split in N:
        data = [encoded(image) for image in images_of(split)]
        table = pyarrow.table({"image": data, "label": [k % 2 for k in range(N[split])]})
        files.write_table(table, tmp_path / f"{split}.parquet")
    found = Parquet(path=str(tmp_path)).read()
    np.testing.assert_array_equal(found.train_images, images_of("train"))
    assert found.train_names is None


def test_the_content_and_not_the_place_identifies_the_data(tmp_path):
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    assert Parquet(path=str(first)).content_key() == Parquet(path=str(second)).content_key()
    save(second / "test-00000-of-00001.parquet", [encoded(pixels(1))], [0])
    assert Parquet(path=str(first)).content_key() != Parquet(path=str(second)).content_key()


@pytest.mark.parametrize("name", ["train-00000-of-00002", "train-00001-of-00002"])
def test_a_file_that_was_not_downloaded_is_missed(tmp_path, name):
    made(tmp_path)
    (tmp_path / f"{name}.parquet").unlink()
    assert "parts of 2 files; expected each part once" in refusal(tmp_path)


def test_files_of_two_downloads_are_not_mixed(tmp_path):
    made(tmp_path)
    save(tmp_path / "train-extra.parquet", [encoded(pixels(1))], [0])
    assert "no other file of the split" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 broken PAR1", b"text"])
def test_broken_files_are_refused(tmp_path, content):
    path = made(tmp_path) / "test-00000-of-00001.parquet"
    path.write_bytes(content)
    text = refusal(tmp_path)
    assert text.startswith(f"cannot read {path} (") and text.endswith("download it again")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, -1, 0], "has the label -1; expected classes from 0"),
        ([0, None, 1, 0], "has no value in row 1; expected a label for each image"),
        ([0.0, 1.0, 0.0, 1.0], "has values of double; expected whole numbers"),
        (["a", "b", "a", "b"], "has values of string; expected whole numbers"),
        ([0, 1, 2, 0], "has no training image of the class 2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, said):
    made(tmp_path)
    images = [encoded(image) for image in images_of("test")]
    save(tmp_path / "test-00000-of-00001.parquet", images, labels)
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "test-00000-of-00001.parquet, row 1 has no bytes of an image"),
        (b"", "row 1 has no bytes of an image"),
        (b"text", "row 1 (its content is not that of a BMP"),
        (encoded(pixels(0), "GIF"), "row 1 (its content is not that of a BMP"),
    ],
)
def test_images_that_cannot_be_decoded_are_refused(tmp_path, image, said):
    made(tmp_path)
    images = [encoded(pixels(0)), image]
    save(tmp_path / "test-00000-of-00001.parquet", images, [0, 1])
    assert said in refusal(tmp_path)


def test_files_without_rows_are_refused(tmp_path):
    made(tmp_path)
    table = files.read_table(tmp_path / "test-00000-of-00001.parquet")[:0]
    files.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    assert "has no rows; expected images" in refusal(tmp_path)


def test_a_column_that_has_no_images_is_refused(tmp_path):
    made(tmp_path)
    text = refusal(tmp_path, image="coarse")
    assert "has no column 'coarse' of images" in text
    assert "(columns of this kind: image; all: coarse, image, label)" in text


def retyped(folder, column):
    """Files of two images each, with an array of pyarrow as the column of images."""
    for split in N:
        table = pyarrow.table({"image": column, "label": [0, 1]})
        files.write_table(table, folder / f"{split}.parquet")
    return folder


NO_FILES = {
    "text": [{"bytes": "a"}, {"bytes": "b"}],
    "number": [{"bytes": 1}, {"bytes": 2}],
    "list": [{"bytes": [1, 2]}, {"bytes": [3]}],
    "structure": [{"bytes": {"bytes": b"a"}}, {"bytes": {"bytes": b"b"}}],
    "other name": [{"my_bytes": b"a"}, {"my_bytes": b"b"}],
    "nested": [{"a": {"bytes": b"a", "path": "a"}}, {"a": {"bytes": b"b", "path": "b"}}],
    "list of structures": [[{"bytes": b"a"}], [{"bytes": b"b"}]],
}


@pytest.mark.parametrize("image", [None, "image"])
@pytest.mark.parametrize("values", NO_FILES.values(), ids=NO_FILES)
def test_a_structure_without_bytes_of_its_own_is_no_column_of_images(tmp_path, values, image):
    text = refusal(retyped(tmp_path, pyarrow.array(values)), image=image)
    assert "expected a structure {bytes, path} or bytes (columns of this kind: none" in text


def test_a_structure_whose_bytes_are_null_in_all_rows_lacks_its_images(tmp_path):
    column = pyarrow.array([{"bytes": None, "path": "a.png"}] * 2)
    text = refusal(retyped(tmp_path, column))
    assert "row 0 has no bytes of an image; expected image files inside" in text


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
@pytest.mark.parametrize("paths", [[3, 4], [["a"], ["b"]], [b"a", b"b"]])
def test_only_texts_are_names_of_images(tmp_path, kind, paths):
    data = pyarrow.array([encoded(pixels(0)), encoded(pixels(1))], kind)
    column = pyarrow.StructArray.from_arrays([data, pyarrow.array(paths)], ["bytes", "path"])
    found = Parquet(path=str(retyped(tmp_path, column))).read()
    np.testing.assert_array_equal(found.test_images, [pixels(0), pixels(1)])
    assert found.train_names is None and found.test_names is None


def test_a_place_without_files_is_refused(tmp_path):
    with pytest.raises(Missing, match="is not a folder"):
        Parquet(path=str(tmp_path / "none")).outline()
    made(tmp_path / "data")
    text = refusal(tmp_path)
    assert "no file train.parquet or train-*.parquet" in text and "(there: data/)" in text


def test_one_split_cannot_be_both(tmp_path):
    text = refusal(made(tmp_path), test="train")
    assert "would be training and test images at once" in text


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError("No module named 'pyarrow'")
        return real(name, *args, **kwargs)

    made(tmp_path)
    monkeypatch.setattr(builtins, "__import__", without)
    text = refusal(tmp_path)
    assert "`source: parquet` needs pyarrow" in text and "`pip install pyarrow`" in text
