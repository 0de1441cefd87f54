"""Class folders of one's own images: what is read, what is refused, what the store makes of it."""

import os
import shutil
import stat
import struct
import subprocess
import sys
import zlib
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soteacher.core import files
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.data import prepared
from soteacher.data.prepared import open_prepared, prepare
from soteacher.data.settings import Augment
from soteacher.data.sources.base import Outline
from soteacher.data.sources.cifar100 import Cifar100
from soteacher.data.sources.image_folder import ImageFolder
from soteacher.data.sources.tiny_imagenet import TinyImagenet
from soteacher.data.spec import DataSpec
from soteacher.data.stream import Stream
from soteacher.store import study_data
from soteacher.study.expand import expand
from soteacher.study.load import read

ROOT = Path(__file__).parents[2]
SPEC = {"source": "image_folder", "revision": 1}
PLACES = [f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")]


def pixels(seed, shape=(6, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def made(folder, seed=0, shape=(6, 6, 3)):
    """A folder with two classes, three images of each for training and two for testing."""
    for number, place in enumerate(PLACES):
        for k in range(3 if place.startswith("train") else 2):
            save(folder / place / f"{k}.png", pixels([seed, number, k], shape))
    return folder


@pytest.fixture
def folder(tmp_path):
    return made(tmp_path / "images")


def read_one(path, size=None):
    """What training sees of an image: it is put first into a folder where all else is black."""
    place = path.parent / "around"
    shutil.rmtree(place, ignore_errors=True)
    (place / "train/a").mkdir(parents=True)
    shutil.copy(path, place / "train/a" / f"0{path.suffix}")
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) > 4
        width, height = reversed(image.size) if turned else image.size
    for other in ("train/b", "test/a", "test/b"):
        save(place / other / "0.png", np.zeros((height, width, 3), np.uint8))
    return ImageFolder(path=str(place), size=size).read().train_images[0]


def refusal(path, size=None):
    """The one line with which reading a folder is refused."""
    with pytest.raises(UserError) as caught:
        ImageFolder(path=str(path), size=size).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def prepared_from(folder, store, **spec):
    """The data as a job opens them: from the manifest that `prepare` published."""
    manifest = prepare(DataSpec.from_json(SPEC | spec), store, {"path": str(folder)})
    published = store.parent / "published.json"
    files.write_json(published, manifest)
    return open_prepared(published, store)


def test_without_results_the_images_tell_which_prepared_data_are_meant(
    folder, demo, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    truth = {"confusion": 0.4, "split": [1.0]}  # as the demo's oracle needs
    place = {"source": "image_folder", "path": str(folder)}
    demo["data"]["digits"] = {**place, "true_labels": truth}
    plan = expand(read(demo | {"store": "store"}))
    assert study_data.prepared_of(plan) == {}
    manifest = prepare(plan.data_spec("digits"), tmp_path / "store", {"path": str(folder)})
    assert study_data.prepared_of(plan)["digits"].manifest == manifest
    save(folder / PLACES[0] / "0.png", pixels(99))
    assert study_data.prepared_of(plan) == {}
    shutil.rmtree(folder)
    assert study_data.prepared_of(plan) == {}


@pytest.mark.parametrize("command", ["plan", "status", "tables"])
def test_commands_of_a_study_name_what_is_no_image_and_end(folder, wide, tmp_path, command):
    wide["data"] = {"digits": {"source": "image_folder", "path": str(folder)}}
    wide["pairs"].pop("small")
    wide["tables"].pop("second")
    os.mkfifo(folder / "train/cat/x.png")
    files.write_json(tmp_path / "study.yaml", wide)
    found = subprocess.run(
        [sys.executable, "-m", "soteacher", command, "study.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2
    assert f"error: {folder}/train/cat/x.png is a FIFO, a socket or a device, or " in found.stderr
    assert len(found.stderr.splitlines()) == 1


# what is read


def test_images_of_one_size_are_read_as_they_are(folder):
    found = ImageFolder(path=str(folder)).read()
    assert found.classes == ("cat", "dog")
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    assert {found.train_labels.dtype, found.test_labels.dtype} == {np.dtype(np.int64)}
    assert {found.train_images.dtype, found.test_images.dtype} == {np.dtype(np.uint8)}
    for images, numbers, n in ((found.train_images, (0, 1), 3), (found.test_images, (2, 3), 2)):
        expected = [pixels([0, number, k]) for number in numbers for k in range(n)]
        np.testing.assert_array_equal(images, expected)


def test_images_need_not_be_square(tmp_path):
    found = ImageFolder(path=str(made(tmp_path, shape=(5, 9, 3)))).read()
    assert found.train_images.shape == (6, 5, 9, 3)


def test_classes_and_files_are_in_the_order_of_their_names(tmp_path):
    names = {"train": ["b", "a", "C", "10", "9"], "test": ["9", "10", "C", "b", "a"]}
    values = {}
    for split, classes in names.items():
        for name in classes:
            for file in ("b.png", "B.png", "10.png", "9.png"):
                values[split, name, file] = len(values)
                grey = np.full((2, 2), len(values) - 1, np.uint8)
                save(tmp_path / split / name / file, grey)
    found = ImageFolder(path=str(tmp_path)).read()
    assert found.classes == ("10", "9", "C", "a", "b")
    for split, images in (("train", found.train_images), ("test", found.test_images)):
        expected = [
            values[split, name, file]
            for name in found.classes
            for file in ("10.png", "9.png", "B.png", "b.png")
        ]
        assert images[:, 0, 0, 0].tolist() == expected


def test_what_is_hidden_or_no_image_or_deeper_is_left_out(folder):
    before = ImageFolder(path=str(folder)).read()
    key = ImageFolder(path=str(folder)).content_key()
    for name in (".DS_Store", "._0.png", "Thumbs.db", "labels.csv", "image"):
        (folder / "train/cat" / name).write_bytes(b"no image")
    (folder / "train/notes.png").write_bytes(b"no class")
    save(folder / "train/cat/more/0.png", pixels(1))
    save(folder / "train/.hidden/0.png", pixels(1))
    save(folder / "val/cat/0.png", pixels(1))
    found = ImageFolder(path=str(folder)).read()
    assert found.classes == before.classes
    np.testing.assert_array_equal(found.train_images, before.train_images)
    assert ImageFolder(path=str(folder)).content_key() == key


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.PNG", "a.bmp", "a.tif", "a.webp", "a.ppm"])
def test_an_image_s_extension_may_be_any_usual_one_in_either_case(folder, name):
    save(folder / "train/cat" / name, pixels(1))
    assert len(ImageFolder(path=str(folder)).read().train_images) == 7


@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (40, 64, 3), (64, 40, 3), (17, 24, 3), (200, 31, 3)]
)
def test_the_shorter_side_is_resized_and_the_centre_square_cut_out(tmp_path, shape):
    """A smooth image tells each of its places: red is its row, green its column, in shares."""
    height, width, _ = shape
    row, column = np.indices((height, width))
    image = np.stack([row / height, column / width, 0 * row], axis=-1) * 255
    save(tmp_path / "a.png", image.astype(np.uint8))
    found = read_one(tmp_path / "a.png", size=16) / 255
    side = min(height, width)
    steps = (np.arange(16) + 0.5) / 16
    rows = ((height - side) / 2 + steps * side - 0.5) / height
    columns = ((width - side) / 2 + steps * side - 0.5) / width
    inner = slice(2, -2)  # filters feel the edges
    expected = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    np.testing.assert_allclose(
        found[inner, inner, :2], expected[inner, inner], rtol=0, atol=1.5 / 255
    )


def test_images_that_have_the_size_already_are_not_touched(folder):
    plain, sized = (ImageFolder(path=str(folder), size=size).read() for size in (None, 6))
    np.testing.assert_array_equal(plain.train_images, sized.train_images)


def test_resizing_averages_away_what_is_finer_than_a_pixel(tmp_path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    save(tmp_path / "a.png", board.astype(np.uint8))
    assert np.abs(read_one(tmp_path / "a.png", size=8).astype(int) - 127).max() <= 2


def test_images_of_all_sizes_and_modes_go_into_one_array(folder):
    save(folder / "train/cat/grey.png", pixels(1, (30, 20)))
    save(folder / "train/dog/clear.png", pixels(1, (9, 40, 4)))
    assert ImageFolder(path=str(folder), size=12).read().train_images.shape == (8, 12, 12, 3)


# modes and orientation


def test_grey_becomes_rgb_with_the_grey_in_all_channels(tmp_path):
    grey = pixels(1, (6, 6))
    save(tmp_path / "a.png", grey)
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), np.stack([grey] * 3, axis=-1))


def test_black_and_white_becomes_0_and_255(tmp_path):
    bits = pixels(1, (6, 6)) > 127
    save(tmp_path / "a.png", bits)
    np.testing.assert_array_equal(read_one(tmp_path / "a.png")[..., 0], bits * 255)


def test_a_palette_gives_its_colours(tmp_path):
    colours = pixels(1, (4, 3))
    image = Image.fromarray(pixels(2, (6, 6)) % 4).convert("P")
    image.putpalette(colours.tobytes())
    places = np.asarray(image)
    image.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), colours[places])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white_and_opaque_pixels_stay(tmp_path, mode):
    colours = pixels(1, (6, 6, 3))
    colours[3:] = 0  # transparent black, as drawing programs leave it
    alpha = np.full((6, 6, 1), 255, np.uint8)
    alpha[3:] = 0
    image = Image.fromarray(np.concatenate([colours, alpha], axis=-1))
    opaque = colours[:3]
    if mode == "LA":
        image = image.convert("LA")
        opaque = np.asarray(image)[:3, :, :1].repeat(3, axis=-1)
    if mode == "P":
        image = image.quantize(40)
    image.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == mode
    found = read_one(tmp_path / "a.png")
    np.testing.assert_array_equal(found[:3], opaque)
    assert (found[3:] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path, orientation):
    upright = pixels(1, (4, 7, 3))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # shown after a quarter turn clockwise
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), upright)


def png_of_16_bits(path, colour_type, channels):
    """A 2x2 PNG of 16 bits a channel, which Pillow itself cannot write in colour."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0)
    rows = (b"\0" + b"\x12\x34" * channels * 2) * 2
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*both) for both in chunks))


@pytest.mark.parametrize(
    ("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"]
)
def test_png_images_of_16_bits_are_refused_and_not_cut_to_8(folder, colour_type, channels):
    path = folder / "train/cat/0.png"
    png_of_16_bits(path, colour_type, channels)
    text = refusal(folder, size=2)
    assert text.startswith(f"{path} has more than 8 bits per channel, or ")
    assert "save it with 8 bits" in text


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_tiff_images_of_16_bits_or_floats_are_refused(folder, dtype):
    path = folder / "train/cat/3.tiff"
    save(path, pixels(1, (6, 6)).astype(dtype))
    assert f"{path} has more than 8 bits per channel, or " in refusal(folder)


# what is refused


def test_a_missing_folder_is_refused_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = refusal("images/birds")
    assert text.startswith(
        f"images/birds is not a folder (working directory: {tmp_path}); expected "
    )
    assert "train/<class>/* and test/<class>/*" in text and text.endswith("correct `path`")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_without_train_or_test_is_refused(folder, split):
    shutil.rmtree(folder / split)
    text = refusal(folder)
    assert text.startswith(f"no folder '{split}' in {folder}; expected train/<class>/* and ")


def test_other_classes_for_training_than_for_testing_are_refused_by_name(folder):
    for k in range(7):
        save(folder / f"train/new{k}/0.png", pixels(1))
    shutil.rmtree(folder / "train/cat")
    text = refusal(folder)
    assert text.startswith(f"{folder} has different classes in train and in test ")
    assert "(only in train: new0, new1, new2, new3, new4 and 2 more; only in test: cat)" in text
    assert text.endswith("give both the same class folders")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_images_is_refused_by_its_folder(folder, split):
    for path in (folder / split / "dog").iterdir():
        path.rename(path.with_suffix(".txt"))
    text = refusal(folder)
    assert text.startswith(f"no image in the class folder {folder}/{split}/dog; expected files ")
    assert ".png" in text and "add images, or remove the class" in text


def test_a_single_class_is_refused(folder):
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "dog")
    text = refusal(folder)
    assert text.startswith(f"expected at least two classes in {folder}/train, got cat; ")


@pytest.mark.parametrize("name", ["0.png", "0.jpg", "0.webp", "0.tif"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5])
def test_an_empty_or_truncated_image_is_refused_by_its_name(folder, name, kept):
    path = folder / "train/cat" / name
    save(path, pixels(1, (64, 64, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    text = refusal(folder, size=6)
    assert text.startswith(f"cannot read the image {path} (")
    assert text.endswith("replace it with an intact copy, or remove it")


def test_a_text_that_is_called_an_image_is_refused_by_its_name(folder):
    path = folder / "test/dog/1.png"
    path.write_text("no image")
    assert refusal(folder).startswith(f"cannot read the image {path} (")


def test_a_link_that_leads_nowhere_is_refused_and_not_left_out(folder, tmp_path):
    path = folder / "train/cat/0.png"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere.png")
    assert refusal(folder).startswith(f"cannot read the image {path} (No such file")
    with pytest.raises(UserError, match=f"cannot read the image {path}"):
        prepare(DataSpec.from_json(SPEC), tmp_path / "store", {"path": str(folder)})


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a fifo", "socket"])
@pytest.mark.parametrize("place", ["train/cat/x.png", "test/dog/x.png", "train/x.png"])
@pytest.mark.parametrize("asked", ["content_key", "outline", "read"])
def test_what_is_no_regular_file_is_one_clear_error_and_no_endless_wait(
    folder, tmp_path, kind, place, asked
):
    path = folder / place
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a fifo":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    with pytest.raises(UserError) as caught:
        getattr(ImageFolder(path=str(folder)), asked)()
    assert str(caught.value) == (
        f"{path} is a FIFO, a socket or a device, or a link to one; expected a regular file or a "
        "folder: remove it"
    )


def test_a_link_to_an_image_is_an_image(folder, tmp_path):
    path = folder / "train/cat/0.png"
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    assert len(ImageFolder(path=str(folder)).read().train_images) == 6


def test_a_folder_that_is_called_an_image_is_left_out(folder):
    (folder / "train/cat/x.png").mkdir()
    assert len(ImageFolder(path=str(folder)).read().train_images) == 6


def test_folders_that_file_servers_create_are_no_classes(folder):
    for name in ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "lost+found"):
        (folder / "train" / name / "0.png").mkdir(parents=True)
    assert ImageFolder(path=str(folder)).read().classes == ("cat", "dog")


def test_what_is_left_out_is_counted_in_the_log(folder, caplog):
    for name in ("labels.csv", "Thumbs.db"):
        (folder / "train/cat" / name).write_bytes(b"")
    (folder / "test/dog/more").mkdir()
    (folder / "train/notes.txt").write_bytes(b"")
    with caplog.at_level("INFO"):
        ImageFolder(path=str(folder)).read()
    assert caplog.messages[0] == (
        f"left out 4 files and folders in {folder} that are not images, for example "
        f"{folder}/train/notes.txt"
    )


def test_the_copy_of_tiny_imagenet_is_told_from_other_folders(folder):
    (folder / "wnids.txt").write_text("cat\ndog\n")
    (folder / "test").rename(folder / "val")
    text = refusal(folder)
    assert text.startswith(f"no folder 'test' in {folder}; ")
    assert text.endswith("looks like Tiny-ImageNet, which `source: tiny_imagenet` reads as it is")
    (folder / "val").rename(folder / "test")
    (folder / "test/cat").rename(folder / "test/images")
    assert refusal(folder).endswith(
        "; this looks like Tiny-ImageNet: name the folder of the labelled test images 'val' and "
        "use `source: tiny_imagenet`"
    )


def test_too_little_memory_is_not_called_damage(folder, monkeypatch):
    def none_left(*given):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageOps.fit", none_left)
    text = refusal(folder, size=8)
    assert "(this process has too little memory for it); use a machine with more memory" in text


def test_images_one_level_too_deep_are_found_and_told(folder):
    for place in PLACES:
        (folder / place).rename(folder / "images")
        (folder / place).mkdir()
        (folder / "images").rename(folder / place / "images")
    text = refusal(folder)
    assert text.startswith(f"no image in the class folder {folder}/train/cat; expected files ")
    assert text.endswith("its images are in its folder images: move them up")


def test_a_folder_val_in_place_of_test_is_told(folder):
    (folder / "test").rename(folder / "val")
    assert refusal(folder).endswith("if the folder 'val' has the test images, rename it to 'test'")


# names


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("cafe\u0301", "caf\xe9", r"(only in train: 'cafe\u0301'; only in test: 'caf\xe9')"),
        ("cat ", "cat", "(only in train: 'cat '; only in test: cat)"),
        ("cat\xa0", "cat", r"(only in train: 'cat\xa0'; only in test: cat)"),
        ("ca\u200bt", "cat", r"(only in train: 'ca\u200bt'; only in test: cat)"),
        ("\ufeffcat", "cat", r"(only in train: '\ufeffcat'; only in test: cat)"),
        ("c\u0430t", "cat", r"(only in train: 'c\u0430t'; only in test: cat)"),
        ("cat\n", "cat", r"(only in train: 'cat\n'; only in test: cat)"),
        ("caf\udce9", "caf\xe9", r"(only in train: 'caf\udce9'; only in test: 'caf\xe9')"),
        ("кот", "собака", "(only in train: кот; only in test: собака)"),
    ],
)
def test_names_that_look_alike_are_escaped_in_a_message(folder, train, test, said):
    (folder / "train/cat").rename(folder / "train" / train)
    (folder / "test/cat").rename(folder / "test" / test)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1b[31mb", "caf\udce9", "a\u2028b"])
def test_a_class_whose_name_is_no_line_of_text_is_refused(folder, name):
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / name)
    assert refusal(folder) == (
        f"{folder}/train has class names with control characters, line breaks or bytes that are "
        f"not UTF-8: {name!a}; expected names of one line of text: rename them"
    )


@pytest.mark.parametrize("name", [" ", "\u3000"])
def test_a_class_whose_name_is_only_spaces_is_refused(folder, name):
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / name)
    assert refusal(folder) == (
        f"{folder}/train has class names without text: {name!a}; expected names of one line of "
        "text: give these classes a name"
    )


@pytest.mark.parametrize("name", ["猫", "گربه\u200cها", "n" * 255, "cafe\u0301", "#1 cat"])
def test_a_class_may_have_any_name_of_one_line(folder, tmp_path, name):
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / name)
    assert name in prepared_from(folder, tmp_path / "store").manifest["classes"]


@pytest.mark.parametrize("name", ["caf\udce9.png", "a\nb.png"])
def test_an_image_may_have_any_name_and_a_message_shows_it_in_one_line(folder, tmp_path, name):
    (folder / "train/cat/0.png").rename(folder / "train/cat" / name)
    prepared_from(folder, tmp_path / "store")
    (folder / "train/cat" / name).write_bytes(b"")
    text = refusal(folder)
    assert text.startswith(f"cannot read the image {ascii(f'{folder}/train/cat/{name}')[:-5]}")


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b", "a\nb"])
@pytest.mark.parametrize("source", [ImageFolder, Cifar100, TinyImagenet])
def test_a_path_that_cannot_exist_is_one_clear_error(source, path):
    for asked in ("content_key", "outline", "read"):
        if asked == "outline" and source is Cifar100:
            continue  # its sizes need no files
        with pytest.raises(UserError) as caught:
            getattr(source(path=path), asked)()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("place", ["train/dog/2.png", "test/cat/1.png"])
def test_unequal_sizes_without_size_are_refused_with_both_images(folder, place):
    save(folder / place, pixels(1, (6, 8, 3)))
    text = refusal(folder)
    assert text.startswith(
        f"{folder}/train/cat/0.png has 6x6 pixels and {folder}/{place} has 8x6; expected images of "
        "one size: set `size`"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "birds.path: missing; it must be given"),
        ({"path": ""}, 'birds.path: string should have at least 1 character; got ""'),
        ({"path": "images", "size": 0}, "birds.size: expected greater than or equal to 1; got 0"),
        ({"path": "images", "size": [32, 32]}, "birds.size: expected a whole number"),
        ({"pth": "images"}, "birds: unknown key 'pth'"),
    ],
)
def test_bad_settings_are_refused_when_the_study_is_read(wide, settings, said):
    wide["data"]["birds"] = {"source": "image_folder", **settings}
    with pytest.raises(UserError) as caught:
        read(wide)
    assert f"data.{said}" in str(caught.value)


# sizes told before the images are read


@pytest.mark.parametrize("size", [None, 4])
def test_the_outline_is_that_of_what_is_read(tmp_path, size):
    source = ImageFolder(path=str(made(tmp_path, shape=(5, 9, 3))), size=size)
    found, outline = source.read(), source.outline()
    assert found.train_images.shape == (outline.n_train, outline.height, outline.width, 3)
    assert len(found.test_images) == outline.n_test
    assert len(found.classes) == outline.n_classes


def test_the_outline_reads_no_image_but_the_first(folder):
    for path in folder.rglob("*.png"):
        if path != folder / "train/cat/0.png":
            path.write_bytes(b"")
    assert ImageFolder(path=str(folder)).outline() == Outline(6, 4, 6, 6, 2)


# location, content and the store


def study_of(wide, **settings):
    wide["data"]["digits"] = {"source": "image_folder", **settings}
    return expand(read(wide))


def test_reading_a_study_does_not_look_for_the_folder_and_no_spec_holds_its_path(wide):
    plans = [study_of(deepcopy(wide), path=path, size=8) for path in ("no/such", "nor/this")]
    assert [plan.data_location("digits") for plan in plans] == [
        {"path": "no/such"},
        {"path": "nor/this"},
    ]
    assert plans[0].data_spec("digits").to_json() == SPEC | {"size": 8}
    assert plans[0].data_location("noisy") == {}
    specs = [{run.id: run.spec.to_json() for run in plan.runs.values()} for plan in plans]
    assert specs[0] == specs[1]
    assert "no/such" not in str(specs[0])


def test_another_size_is_another_spec(wide):
    specs = [
        study_of(deepcopy(wide), path="a", size=n).data_spec("digits").to_json()
        for n in (8, 9, None)
    ]
    assert specs[2] == SPEC
    assert specs[0] != specs[1]


def test_the_manifest_tells_the_content_and_no_path(folder, tmp_path):
    data = prepared_from(folder, tmp_path / "store")
    assert set(data.manifest) == {
        *("spec", "classes", "mean", "std", "content", "arrays", "sha256")
    }
    assert data.manifest["content"] == ImageFolder(path=str(folder)).content_key()
    assert data.manifest["spec"] == SPEC
    assert str(tmp_path) not in str(data.manifest)
    assert data.n_classes == 2
    data.check()


def test_mean_and_deviation_are_those_of_the_training_pixels(folder, tmp_path):
    manifest = prepared_from(folder, tmp_path / "store").manifest
    values = ImageFolder(path=str(folder)).read().train_images.reshape(-1, 3) / 255
    np.testing.assert_allclose(manifest["mean"], values.mean(axis=0), atol=6e-5)
    np.testing.assert_allclose(manifest["std"], values.std(axis=0), atol=6e-5)


@pytest.mark.parametrize(("value", "others"), [(0, 0), (9, 0), (255, 0), (254, 1)])
def test_a_channel_of_one_value_is_left_undivided_and_named(tmp_path, caplog, value, others):
    """Of 9216 pixels, `others` are larger by one: a deviation below 5e-5 rounds to 0, too."""
    for number, place in enumerate(PLACES):
        for k in range(18):
            image = pixels([number, k], (16, 16, 3))
            image[..., 2] = value
            if (number, k) == (0, 0):
                image[0, :others, 2] += 1
            save(tmp_path / "images" / place / f"{k}.png", image)
    manifest = prepared_from(tmp_path / "images", tmp_path / "store").manifest
    assert manifest["undivided"] == [2]
    assert manifest["std"][2] == 1.0
    assert manifest["mean"][2] == round(value / 255, 4)
    assert all(0.2 < x < 0.4 for x in manifest["std"][:2])
    [line] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert line.getMessage() == (
        f"the channel blue has the value {manifest['mean'][2] * 255:.1f} (of 255) in all training "
        "images, or almost in all: it is not divided by its standard deviation, which is 0"
    )


def test_black_images_have_three_undivided_channels_and_finite_batches(tmp_path):
    for place in PLACES:
        save(tmp_path / "images" / place / "0.png", np.zeros((8, 8, 3), np.uint8))
    data = prepared_from(tmp_path / "images", tmp_path / "store")
    assert data.manifest["undivided"] == [0, 1, 2]
    stream = Stream(data, Augment(crop_padding=1), 2, 0, "teacher", "cpu")
    assert (stream.batch(Cursor(Stage.MAIN, 0, 0)).images == 0).all()


def test_a_deviation_that_does_not_round_to_0_is_divided_by(folder, tmp_path):
    assert "undivided" not in prepared_from(folder, tmp_path / "store").manifest


def test_an_unchanged_folder_is_not_read_again_wherever_it_lies(folder, tmp_path, monkeypatch):
    first = prepared_from(folder, tmp_path / "store")
    moved = shutil.copytree(folder, tmp_path / "elsewhere/renamed")
    shutil.rmtree(folder)
    for path in moved.rglob("*.png"):
        os.utime(path, (0, 0))
    monkeypatch.setattr(ImageFolder, "read", None)
    assert prepared_from(moved, tmp_path / "store") == first


def test_a_changed_image_is_noticed_and_the_old_data_stay(folder, tmp_path):
    first = prepared_from(folder, tmp_path / "store")
    path = folder / "train/dog/1.png"
    facts = os.stat(path)
    save(path, pixels(99))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    second = prepared_from(folder, tmp_path / "store")
    assert second.folder != first.folder
    assert second.sha256 != first.sha256
    np.testing.assert_array_equal(second.array("train_images")[4], pixels(99))
    first.check()
    np.testing.assert_array_equal(first.array("train_images")[4], pixels([0, 1, 1]))


@pytest.mark.parametrize("change", ["add", "remove", "rename", "other class"])
def test_an_added_removed_or_renamed_image_is_another_content(folder, change):
    before = ImageFolder(path=str(folder)).content_key()
    path = folder / "train/dog/2.png"
    if change == "add":
        save(path.with_name("3.png"), pixels(1))
    elif change == "remove":
        path.unlink()
    else:
        path.rename(folder / "train" / ("dog/a.png" if change == "rename" else "cat/9.png"))
    assert ImageFolder(path=str(folder)).content_key() != before


def test_the_same_pixels_in_other_files_are_the_same_to_training(folder, tmp_path):
    first = prepared_from(folder, tmp_path / "store")
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    second = prepared_from(folder, tmp_path / "store")
    assert second.manifest["content"] != first.manifest["content"]
    assert second.sha256 == first.sha256


def test_two_folders_with_equal_settings_lie_side_by_side(tmp_path):
    store = tmp_path / "store"
    both = [prepared_from(made(tmp_path / str(seed), seed), store) for seed in (0, 1)]
    assert both[0].manifest["spec"] == both[1].manifest["spec"]
    assert both[0].sha256 != both[1].sha256
    assert {path.name for path in (store / "data").iterdir()} == {d.folder.name for d in both}
    for seed, data in enumerate(both):
        data.check()
        np.testing.assert_array_equal(data.array("train_images")[0], pixels([seed, 0, 0]))


def test_true_labels_are_known_on_one_s_own_images_too(folder, tmp_path):
    true_labels = {"revision": 1, "confusion": 0.2, "split": [1.0]}
    data = prepared_from(folder, tmp_path / "store", true_labels=true_labels)
    assert data.has_truth
    expected = np.array([[0.8, 0.2]] * 3 + [[0.2, 0.8]] * 3)
    np.testing.assert_allclose(data.array("train_truth"), expected)
    assert data.manifest["look_alikes"] == [[1], [0]]


@pytest.mark.parametrize("n", [1, 3])
def test_a_preparation_killed_between_arrays_is_done_again_and_leaves_no_part(
    folder, tmp_path, monkeypatch, n
):
    class Killed(BaseException):
        pass

    written = []

    def dying(file, array):
        if len(written) == n:
            file.write(b"half")
            raise Killed
        written.append(array)
        np.save(file, array)

    store = tmp_path / "store"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(prepared, "_save", dying)
        prepare(DataSpec.from_json(SPEC), store, {"path": str(folder)})
    [place] = (store / "data").iterdir()
    assert len(list(place.glob("*.npy"))) == n
    assert not (place / "manifest.json").exists()
    data = prepared_from(folder, store)
    data.check()
    assert data.folder == place
    whole = {"lock", "manifest.json", *(f"{name}.npy" for name in data.manifest["arrays"])}
    assert {path.name for path in place.iterdir()} == whole
    assert data.manifest == prepared_from(folder, tmp_path / "another").manifest


def test_an_image_that_cannot_be_read_leaves_nothing_that_passes_for_data(folder, tmp_path):
    path = folder / "test/dog/1.png"
    path.write_bytes(path.read_bytes()[:60])
    for _ in range(2):
        with pytest.raises(UserError, match=f"cannot read the image {path}"):
            prepare(DataSpec.from_json(SPEC), tmp_path / "store", {"path": str(folder)})
    assert list((tmp_path / "store").rglob("*.npy")) == []


def test_a_spec_without_its_location_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^data\.path: missing; it must be given$"):
        prepare(DataSpec.from_json(SPEC), tmp_path)


def test_a_home_folder_may_be_written_with_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    source = ImageFolder(path=f"~/{folder.name}")
    assert source.content_key() == ImageFolder(path=str(folder)).content_key()
    assert len(source.read().train_images) == 6


@pytest.mark.parametrize("asked", ["content_key", "outline", "read"])
def test_a_home_folder_that_nobody_has_is_one_clear_error(asked):
    with pytest.raises(UserError, match=r"^cannot find the home folder '~no-one-at-all' of '~no-"):
        getattr(ImageFolder(path="~no-one-at-all/a"), asked)()


def test_sources_without_a_content_key_keep_their_place_in_the_store(digits):
    assert digits.folder.name == "digits-1143e0c586ad9d81"
    assert "content" not in digits.manifest
