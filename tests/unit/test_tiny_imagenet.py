"""Tiny-ImageNet from its archive or a folder: small copies in the official layout."""

import hashlib
import io
import json
import logging
import os
import shutil
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image
from served import serving

from soteacher import cli
from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.data.archives import Archive
from soteacher.data.prepared import open_prepared, prepare
from soteacher.data.sources import tiny_imagenet
from soteacher.data.sources.base import Outline
from soteacher.data.sources.tiny_imagenet import TinyImagenet
from soteacher.data.spec import DataSpec
from soteacher.study.expand import expand
from soteacher.study.load import read

SPEC = {"source": "tiny_imagenet", "revision": 1, "classes": 3}
WNIDS = ["n03", "n01", "n02"]
"""As wnids.txt lists them: in no order."""
TOP = "tiny-imagenet-200"


def jpeg(number, mode="RGB", size=(64, 64)):
    """An image of one colour, which all decoders agree about."""
    written = io.BytesIO()
    Image.new(mode, size, colour(number) if mode == "RGB" else number).save(
        written, "jpeg", quality=100
    )
    return written.getvalue()


def colour(number):
    return number, 2 * number, 255 - number


def copy_of_three_classes():
    """Names and bytes: three training and two validation images a class, one of each grey."""
    made = {"wnids.txt": "\n".join(WNIDS).encode(), "words.txt": b"n01\tgoldfish, Carassius\n"}
    number, lines = 0, []
    for wnid in WNIDS:
        made[f"train/{wnid}/{wnid}_boxes.txt"] = b"n01_0.JPEG\t0\t0\t62\t63\n"
        for k in (0, 2, 10):
            number += 1
            made[f"train/{wnid}/images/{wnid}_{k}.JPEG"] = jpeg(number, "L" if k == 2 else "RGB")
    for k in range(6):
        made[f"val/images/val_{k}.JPEG"] = jpeg(100 + k, "L" if k == 5 else "RGB")
        lines.append(f"val_{k}.JPEG\t{WNIDS[k % 3]}\t0\t32\t44\t62\n")
    made["val/val_annotations.txt"] = "".join(lines).encode()
    made["test/images/test_0.JPEG"] = jpeg(0)
    return made


COPY = copy_of_three_classes()
TRAIN = {"n01": (4, 6, 5), "n02": (7, 9, 8), "n03": (1, 3, 2)}
"""Numbers of the images of a class in the order of their names: 0, 10, 2; the last is grey."""


def zip_of(members, links=()):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            kind = stat.S_IFLNK if name in links else stat.S_IFREG
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, data)
    return written.getvalue()


def in_top(members):
    return {f"{TOP}/{name}": data for name, data in members.items()}


ARCHIVE = zip_of(in_top(COPY))


@pytest.fixture
def folder(tmp_path):
    """An unpacked copy, in a folder."""
    for name, data in COPY.items():
        path = tmp_path / "unpacked" / TOP / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "unpacked" / TOP


@pytest.fixture
def official(monkeypatch):
    """Make these bytes the official archive."""

    def make(content=ARCHIVE):
        md5 = hashlib.md5(content).hexdigest()
        fact = Archive(f"{TOP}.zip", "http://nowhere.invalid/t", len(content), md5)
        monkeypatch.setattr(TinyImagenet, "archive", fact)
        return content

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    make()
    return make


@pytest.fixture
def archive(official, tmp_path):
    path = tmp_path / "copy.zip"
    path.write_bytes(ARCHIVE)
    return path


def refusal(path):
    with pytest.raises(UserError) as caught:
        TinyImagenet(classes=3, path=str(path)).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_images(found):
    assert found.classes == ("n01", "n02", "n03")
    assert found.train_images.shape == (9, 64, 64, 3)
    assert found.train_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    expected = [n for numbers in TRAIN.values() for n in numbers]
    for k, number in enumerate(expected):
        wanted = (number,) * 3 if k % 3 == 2 else colour(number)
        assert np.abs(found.train_images[k].astype(int) - wanted).max() <= 2
    assert found.test_labels.tolist() == [2, 0, 1, 2, 0, 1]
    assert (np.abs(found.test_images[:, 0, 0, 0].astype(int) - [*range(100, 106)]) <= 2).all()
    assert {found.train_images.dtype, found.test_images.dtype} == {np.dtype(np.uint8)}
    assert {found.train_labels.dtype, found.test_labels.dtype} == {np.dtype(np.int64)}


# what is read


def test_the_official_archive_is_known_by_size_and_md5():
    assert TinyImagenet.archive == Archive(
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        248_100_043,
        "90528d7ca1a48142e341f4ef8d21d0de",
    )


@pytest.mark.parametrize("place", ["copy.zip", "unpacked", f"unpacked/{TOP}"])
def test_the_archive_its_folder_and_one_around_it_hold_the_same(archive, folder, tmp_path, place):
    found = TinyImagenet(classes=3, path=str(tmp_path / place)).read()
    check_images(found)
    assert found.mean == (0.4802, 0.4481, 0.3975)
    assert found.std == (0.2302, 0.2265, 0.2262)


def test_pixels_are_those_that_pillow_decodes(folder):
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = folder / "train/n01/images/n01_0.JPEG"
    Image.fromarray(random).save(path)
    with Image.open(path) as image:
        known = np.asarray(image)
    np.testing.assert_array_equal(
        TinyImagenet(classes=3, path=str(folder)).read().train_images[0], known
    )


def test_grey_images_have_the_grey_in_all_channels(folder):
    found = TinyImagenet(classes=3, path=str(folder)).read()
    for image in (found.train_images[2], found.test_images[5]):
        assert (image == image[..., :1]).all()
    assert (found.train_images[0] != found.train_images[0][..., :1]).any()


def test_progress_is_told_now_and_then(folder, monkeypatch, caplog):
    monkeypatch.setattr(tiny_imagenet, "PROGRESS_SECONDS", 0)
    with caplog.at_level(logging.INFO):
        TinyImagenet(classes=3, path=str(folder)).read()
    assert caplog.messages[0] == f"reading 9 training and 6 test images of {folder}"
    assert "8 of 9 images are read" in caplog.messages


def test_hidden_files_are_left_out(folder):
    before = TinyImagenet(classes=3, path=str(folder)).content_key()
    for place in ("train", "train/n01/images", "val/images"):
        (folder / place / ".DS_Store").write_bytes(b"")
    check_images(TinyImagenet(classes=3, path=str(folder)).read())
    assert TinyImagenet(classes=3, path=str(folder)).content_key() == before


# sizes and content


def test_the_outline_of_what_is_downloaded_is_known_before(archive):
    outline = Outline(100_000, 10_000, height=64, width=64, n_classes=200)
    assert TinyImagenet().outline() == outline
    assert TinyImagenet(path=str(archive)).outline() == outline


def test_the_outline_of_a_folder_is_counted_without_reading_images(folder):
    for path in folder.rglob("*.JPEG"):
        path.write_bytes(b"")
    assert TinyImagenet(classes=3, path=str(folder)).outline() == Outline(9, 6, 64, 64, 3)


def test_a_folder_s_content_is_its_images_and_their_classes(folder, tmp_path):
    def key(path):
        return TinyImagenet(classes=3, path=str(path)).content_key()

    before = key(folder)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert key(moved) == before
    (moved / "words.txt").unlink()
    assert key(moved) == before
    annotations = moved / "val/val_annotations.txt"
    text = annotations.read_text()
    annotations.write_text(text.replace("val_0.JPEG\tn03", "val_0.JPEG\tn01"))
    assert key(moved) != before
    annotations.write_text(text)
    assert key(moved) == before
    shutil.copy(moved / "val/images/val_0.JPEG", moved / "val/images/val_1.JPEG")
    assert key(moved) != before


def test_the_archive_has_one_content(archive):
    assert TinyImagenet().content_key() is None
    assert TinyImagenet(classes=3, path=str(archive)).content_key() is None


# lists that do not agree with the files


def write(folder, name, text):
    (folder / name).write_text(text)


def annotate(folder, change):
    path = folder / "val/val_annotations.txt"
    path.write_text(change(path.read_text()))


def test_a_class_listed_twice_is_refused(folder):
    write(folder, "wnids.txt", "n01\nn02\nn03\nn01\n")
    text = refusal(folder)
    assert text == f"{folder}/wnids.txt lists n01 more than once; expected each class once"


def test_an_empty_list_of_classes_is_refused(folder):
    write(folder, "wnids.txt", "\n")
    text = refusal(folder)
    assert text == f"{folder}/wnids.txt lists none; expected at least two classes"


def test_a_class_without_a_folder_and_a_folder_without_a_class_are_refused_by_name(folder):
    (folder / "train/n02").rename(folder / "train/n09")
    text = refusal(folder)
    assert text.startswith(f"{folder}/train has other classes than {folder}/wnids.txt ")
    assert "(only in train: n09; only in wnids.txt: n02): copy or unpack it again" in text


@pytest.mark.parametrize("place", ["train/n02/images", "train/n02"])
def test_a_class_without_training_images_is_refused(folder, place):
    for path in (folder / "train/n02/images").iterdir():
        path.unlink()
    shutil.rmtree(folder / place)
    (folder / "train/n02").mkdir(exist_ok=True)
    text = refusal(folder)
    assert text.startswith(f"{folder}/train has 0 images of n02, expected 500: the copy is not ")


def test_a_copy_of_fewer_classes_is_taken_only_if_it_is_meant(folder):
    """Otherwise the paper's numbers would stand beside those of another data set."""
    with pytest.raises(UserError) as caught:
        TinyImagenet(path=str(folder)).read()
    assert str(caught.value) == (
        f"{folder}/wnids.txt lists 3 classes, expected 200: set `classes: 3` to use these, or "
        "give all of Tiny-ImageNet"
    )
    assert TinyImagenet(path=str(folder)).spec() == {}
    assert TinyImagenet(classes=3, path=str(folder)).spec() == {"classes": 3}


def test_a_class_without_test_images_is_refused(folder):
    annotate(folder, lambda text: text.replace("n02", "n01"))
    assert f"{folder}/val has 0 images of n02, expected 50: " in refusal(folder)


def test_a_copy_of_all_classes_must_have_all_images(folder, monkeypatch):
    for name, number in (("N_CLASSES", 3), ("N_TRAIN", 3), ("N_TEST", 2)):
        monkeypatch.setattr(tiny_imagenet, name, number)
    check_images(TinyImagenet(classes=3, path=str(folder)).read())
    (folder / "train/n03/images/n03_2.JPEG").unlink()
    text = refusal(folder)
    assert text.startswith(f"{folder}/train has 2 images of n03, expected 3: the copy is not ")


def test_an_image_annotated_twice_is_refused(folder):
    annotate(folder, lambda text: text + "val_0.JPEG\tn01\t0\t0\t1\t1\n")
    text = refusal(folder)
    assert text.startswith(f"{folder}/val/val_annotations.txt has val_0.JPEG more than once; ")


def test_an_annotation_without_its_image_is_refused(folder):
    (folder / "val/images/val_4.JPEG").unlink()
    text = refusal(folder)
    assert "(only annotated: val_4.JPEG; only in val/images: none)" in text


def test_an_image_without_its_annotation_is_refused(folder):
    annotate(folder, lambda text: text.replace("val_4.JPEG\tn01\t0\t32\t44\t62\n", ""))
    assert "(only annotated: none; only in val/images: val_4.JPEG)" in refusal(folder)


@pytest.mark.parametrize("line", ["val_6.JPEG\tn77\t0\t0\t1\t1", "val_6.JPEG n01", "../x"])
def test_a_line_without_a_known_class_is_refused(folder, line):
    annotate(folder, lambda text: text + line + "\n")
    text = refusal(folder)
    assert text.startswith(f"{folder}/val/val_annotations.txt has the line {line!r}; expected an ")
    assert text.endswith("a class of wnids.txt")


def test_a_missing_file_of_annotations_is_told(folder):
    (folder / "val/val_annotations.txt").unlink()
    text = refusal(folder)
    assert text.startswith(f"{folder}/val has no val_annotations.txt, which gives the classes of ")
    assert "expected train/<wnid>/images/*" in text


# copies as people have them: the prepared data are those of the official layout


def regroup(folder, inner=""):
    """Put the images of val into class folders, as a script that many people use does."""
    for line in (folder / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        place = folder / "val" / wnid / inner
        place.mkdir(parents=True, exist_ok=True)
        (folder / "val/images" / name).rename(place / name)
    (folder / "val/images").rmdir()


def prepared_from(path, store):
    return prepare(DataSpec.from_json(SPEC), store, {"path": str(path)})


@pytest.mark.parametrize("are_annotated", [True, False])
@pytest.mark.parametrize("inner", ["images", ""])
def test_a_val_folder_that_was_grouped_by_class_gives_the_official_data(
    folder, tmp_path, inner, are_annotated
):
    official = prepared_from(folder, tmp_path / "store")
    regroup(folder, inner)
    if not are_annotated:
        (folder / "val/val_annotations.txt").unlink()
    check_images(TinyImagenet(classes=3, path=str(folder)).read())
    assert TinyImagenet(classes=3, path=str(folder)).outline() == Outline(9, 6, 64, 64, 3)
    assert prepared_from(folder, tmp_path / "another") == official


def test_training_images_directly_in_their_class_folders_give_the_official_data(folder, tmp_path):
    official = prepared_from(folder, tmp_path / "store")
    for wnid in WNIDS:
        for path in (folder / f"train/{wnid}/images").iterdir():
            path.rename(folder / "train" / wnid / path.name)
        (folder / f"train/{wnid}/images").rmdir()
    assert prepared_from(folder, tmp_path / "another") == official


def test_equal_names_in_two_class_folders_of_val_are_two_images(folder):
    regroup(folder)
    (folder / "val/val_annotations.txt").unlink()
    for wnid in WNIDS:
        for k, path in enumerate(sorted((folder / "val" / wnid).iterdir())):
            path.rename(path.with_name(f"{k}.JPEG"))
    found = TinyImagenet(classes=3, path=str(folder)).read()
    assert found.test_labels.tolist() == [0, 1, 2, 0, 1, 2]  # by name, then by class


def test_class_folders_that_disagree_with_the_annotations_are_refused(folder):
    regroup(folder)
    (folder / "val/n01/val_1.JPEG").rename(folder / "val/n02/val_1.JPEG")
    text = refusal(folder)
    assert text.startswith(f"{folder}/val/val_annotations.txt gives other classes than the folders")
    assert "that have the images val_1.JPEG; copy or unpack it again" in text


def test_an_image_that_was_lost_while_grouping_is_named(folder):
    regroup(folder)
    (folder / "val/n01/val_1.JPEG").unlink()
    text = refusal(folder)
    assert "(only annotated: val_1.JPEG; only in the class folders in val: none)" in text


def test_a_folder_of_images_in_val_that_is_no_class_is_refused(folder):
    regroup(folder)
    (folder / "val/n01").rename(folder / "val/n77")
    text = refusal(folder)
    assert text.startswith(f"{folder}/val has folders of images whose names are not in wnids.txt: ")
    assert "wnids.txt: n77; expected train/<wnid>/images/* or train/<wnid>/*, and val/" in text


def test_files_and_folders_of_systems_are_left_out_and_counted(folder, tmp_path, caplog):
    official = prepared_from(folder, tmp_path / "store")
    for place in ("train", "train/n01", "train/n01/images", "val", "val/images"):
        (folder / place / "Thumbs.db").write_bytes(b"")
        (folder / place / "desktop.ini").write_bytes(b"")
        (folder / place / "._val_0.JPEG").write_bytes(b"")
        (folder / place / "@eaDir/val_0.JPEG").mkdir(parents=True)
        (folder / place / "@eaDir/val_0.JPEG/thumb.jpg").write_bytes(b"")
        (folder / place / "new folder").mkdir()
    with caplog.at_level(logging.INFO):
        assert prepared_from(folder, tmp_path / "another") == official
    # of each of the two folders with images: two files and a folder; of train and val: two files
    assert f"left out 10 files and folders in {folder} that are not images" in caplog.text


@pytest.mark.parametrize("place", ["train/n01", "val/n01"])
def test_images_beside_a_folder_of_images_are_not_lost_in_silence(folder, place):
    regroup(folder, "images")
    (folder / "val/val_annotations.txt").unlink()
    image = next((folder / place / "images").iterdir())
    image.rename(folder / place / image.name)
    text = refusal(folder)
    assert text.startswith(f"{folder}/{place} has images ({image.name}) beside its folder 'images'")
    assert text.endswith("expected all images of a class in one folder: move them there")


def test_an_image_in_no_class_folder_is_counted(folder, caplog):
    (folder / "train/n01/images/n01_0.JPEG").rename(folder / "train/n01_0.JPEG")
    with caplog.at_level(logging.INFO):
        assert len(TinyImagenet(classes=3, path=str(folder)).read().train_images) == 8
    assert f"for example {folder}/train/n01_0.JPEG" in caplog.text


@pytest.mark.parametrize("are_annotated", [True, False])
def test_a_val_folder_of_which_a_part_was_grouped_is_refused(folder, are_annotated):
    (folder / "val/n01").mkdir()
    (folder / "val/images/val_1.JPEG").rename(folder / "val/n01/val_1.JPEG")
    if not are_annotated:
        (folder / "val/val_annotations.txt").unlink()
    said = "images in its folder 'images' and in class folders (n01)"
    assert (said if are_annotated else "has no val_annotations.txt") in refusal(folder)


def test_copies_of_images_in_class_folders_are_left_out_and_counted(folder, tmp_path, caplog):
    official = prepared_from(folder, tmp_path / "store")
    (folder / "val/n01").mkdir()
    (folder / "val/n01/val_1.JPEG").write_bytes((folder / "val/images/val_1.JPEG").read_bytes())
    with caplog.at_level(logging.INFO):
        assert prepared_from(folder, tmp_path / "another") == official
    assert f"left out 1 files and folders in {folder} that are not images" in caplog.text


@pytest.mark.parametrize("levels", ["a", "a/b"])
def test_one_or_two_folders_around_a_copy_are_passed(folder, tmp_path, levels):
    place = tmp_path / "around" / levels
    place.parent.mkdir(parents=True)
    folder.rename(place)
    check_images(TinyImagenet(classes=3, path=str(tmp_path / "around")).read())


@pytest.mark.parametrize("name", ["wnids.txt", "val/val_annotations.txt"])
def test_a_mark_at_the_beginning_of_a_list_is_no_part_of_a_name(folder, name):
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    check_images(TinyImagenet(classes=3, path=str(folder)).read())


@pytest.mark.parametrize("name", ["wnids.txt", "val/val_annotations.txt"])
def test_a_list_in_another_encoding_is_one_clear_error(folder, name):
    (folder / name).write_bytes((folder / name).read_text().encode("utf-16"))
    text = refusal(folder)
    assert text == (
        f"{folder}/{name} is not UTF-8 text (byte 1): save it as UTF-8, or copy or unpack it again"
    )


def test_what_cannot_be_seen_in_a_list_is_escaped(folder):
    annotate(folder, lambda text: text.replace("val_4.JPEG\t", "val_4.JPEG \t"))
    text = refusal(folder)
    assert "(only annotated: 'val_4.JPEG '; only in val/images: val_4.JPEG)" in text
    write(folder, "wnids.txt", "n01\nn02\nn03\x07\n")
    assert "/wnids.txt has class names with control characters, " in refusal(folder)
    write(folder, "wnids.txt", f"n01\nn02\n{'n' * 10_000}\n")
    assert len(refusal(folder)) < 1000


@pytest.mark.parametrize("name", ["wnids.txt", "val/val_annotations.txt", "val/images/val_0.JPEG"])
def test_a_fifo_in_a_copy_is_one_clear_error_and_no_endless_wait(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for asked in ("content_key", "outline", "read"):
        with pytest.raises(UserError) as caught:
            getattr(TinyImagenet(classes=3, path=str(folder)), asked)()
        if name == "wnids.txt":
            assert str(caught.value).startswith(f"no Tiny-ImageNet in {folder}; expected wnids.txt")
        else:
            at = folder / name
            assert str(caught.value).startswith(f"{at} is a FIFO, a socket or a device, or a link ")


def test_a_fifo_or_a_device_in_place_of_the_archive_is_one_clear_error(tmp_path):
    os.mkfifo(tmp_path / "copy.zip")
    (tmp_path / "zero.zip").symlink_to("/dev/zero")
    for name in ("copy.zip", "zero.zip"):
        assert refusal(tmp_path / name).startswith(f"{tmp_path}/{name} is a FIFO, a socket or a ")


def test_a_list_without_an_end_is_not_read(folder):
    with (folder / "wnids.txt").open("wb") as file:
        file.truncate(1 << 40)  # it takes no space on the disk
    text = refusal(folder)
    assert text.startswith(f"{folder}/wnids.txt has 1,099,511,627,776 bytes; expected at most ")


def test_a_training_image_of_16_bits_is_refused(folder):
    path = folder / "train/n01/images/n01_0.JPEG"
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(path, "png")
    assert refusal(folder).startswith(f"{path} has more than 8 bits per channel, or ")


def test_an_image_of_another_format_is_refused_by_its_content(folder):
    path = folder / "train/n01/images/n01_0.JPEG"
    Image.new("RGB", (64, 64)).save(path, "gif")
    text = refusal(folder)
    assert text.startswith(f"cannot read the image {path} (its content is not that of a BMP, JPEG")


# images that cannot be read


@pytest.mark.parametrize("kept", [0, 30, 500])
def test_a_broken_image_is_refused_by_its_name(folder, kept):
    path = folder / "train/n02/images/n02_0.JPEG"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(folder).startswith(f"cannot read the image {path} (")


def test_an_image_of_another_size_is_refused(folder):
    (folder / "val/images/val_3.JPEG").write_bytes(jpeg(1, size=(64, 48)))
    text = refusal(folder)
    assert text.startswith(f"{folder}/val/images/val_3.JPEG has 64x48 pixels, expected 64x64: ")
    assert "`source: image_folder`" in text


def test_a_broken_image_in_the_archive_is_refused_by_its_name(official, archive):
    broken = COPY | {"train/n02/images/n02_0.JPEG": b"no image"}
    archive.write_bytes(official(zip_of(in_top(broken))))
    name = f"{archive}/{TOP}/train/n02/images/n02_0.JPEG"
    assert refusal(archive).startswith(f"cannot read the image {name} (")


# archives


def test_a_local_archive_that_is_not_the_official_one_is_refused(archive, official):
    official(ARCHIVE + b"x")
    assert refusal(archive) == (
        f"{archive} is not the official {TOP}.zip: it has {len(ARCHIVE)} bytes, expected "
        f"{len(ARCHIVE) + 1}; remove `path` to download the official file, or unpack this one "
        "and set `path` to the folder"
    )


@pytest.mark.parametrize("n", [0, 100, len(ARCHIVE) // 2, len(ARCHIVE) - 1])
def test_an_archive_that_ends_early_is_one_clear_error(official, archive, n):
    archive.write_bytes(official(ARCHIVE[:n]))
    text = refusal(archive)
    assert text.startswith(f"the archive {archive} is damaged or truncated (")
    assert text.endswith("; use another copy")


def test_a_corrupted_member_is_one_clear_error(official, archive):
    at = ARCHIVE.index(b"wnids.txt") + 12
    archive.write_bytes(official(ARCHIVE[:at] + bytes(4) + ARCHIVE[at + 4 :]))
    assert f"the archive {archive} is damaged or truncated (" in refusal(archive)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wnids.txt", f" has no {TOP}/wnids.txt; use another copy"),
        ("val/val_annotations.txt", f"/{TOP}/val has no val_annotations.txt, which gives the "),
    ],
)
def test_an_archive_without_a_list_is_one_clear_error(official, archive, name, said):
    some = {known: data for known, data in COPY.items() if known != name}
    archive.write_bytes(official(zip_of(in_top(some))))
    assert refusal(archive).startswith(f"{archive}{said}")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", f"{TOP}/../../escaped", "..\\out"])
def test_an_archive_whose_files_would_leave_its_folder_is_refused(official, archive, name):
    archive.write_bytes(official(zip_of({**in_top(COPY), name: b"out"})))
    text = refusal(archive)
    assert text.startswith(f"{archive} is refused: it contains a file outside its folder ")


def test_an_archive_with_links_is_refused(official, archive):
    name = f"{TOP}/val/images/val_0.JPEG"
    members = {**in_top(COPY), name: b"/etc/passwd"}
    archive.write_bytes(official(zip_of(members, links=[name])))
    assert f"it contains a link or device ({name}); use another copy" in refusal(archive)


# where it lies


def test_a_folder_of_something_else_is_told_what_is_expected(tmp_path):
    text = refusal(tmp_path)
    assert text.startswith(f"no Tiny-ImageNet in {tmp_path}; expected wnids.txt (the ")
    assert f"remove it to download {TOP}.zip" in text


def test_two_copies_in_one_folder_are_refused(folder):
    shutil.copytree(folder, folder.parent / "another")
    text = refusal(folder.parent)
    assert text.startswith(f"{folder.parent} contains several copies of Tiny-ImageNet: ")
    assert text.endswith(f"/another, {folder}; set `path` to one of them")


def test_a_path_with_nothing_there_is_told(tmp_path):
    assert refusal(tmp_path / "no").startswith(f"{tmp_path}/no does not exist (working ")


def test_a_study_says_where_the_images_are_and_no_spec_does(wide):
    wide["data"]["digits"] = {"source": "tiny_imagenet", "path": "some/copy", "classes": 3}
    plan = expand(read(wide))
    assert plan.data_spec("digits").to_json() == SPEC
    assert plan.data_location("digits") == {"path": "some/copy"}


def test_an_empty_path_is_refused_when_the_study_is_read(wide):
    wide["data"]["digits"] = {"source": "tiny_imagenet", "path": ""}
    with pytest.raises(UserError, match=r"^study\.data\.digits\.path: .*at least 1 character"):
        read(wide)


# preparing


def prepare_by_command(tmp_path, **location):
    out = tmp_path / "published.json"
    cli.main(
        [
            *("prepare", "--spec", json.dumps(SPEC), "--location", json.dumps(location)),
            *("--store", str(tmp_path / "store"), "--out", str(out)),
        ]
    )
    return open_prepared(out, tmp_path / "store")


def test_prepare_downloads_once_and_publishes_what_was_read(official, tmp_path):
    with serving(ARCHIVE) as server:
        data = prepare_by_command(tmp_path, url=server.url)
        again = prepare_by_command(tmp_path, url=server.url)
        assert server.requests == 1
    assert data.manifest == again.manifest
    assert (tmp_path / f"store/downloads/tiny_imagenet/{TOP}.zip").read_bytes() == ARCHIVE
    assert data.manifest["classes"] == ["n01", "n02", "n03"]
    assert data.manifest["mean"] == list(tiny_imagenet.MEAN)
    assert "content" not in data.manifest
    assert data.array("train_images").shape == (9, 64, 64, 3)


def test_archive_and_folder_are_the_same_to_training(archive, folder, tmp_path):
    both = []
    for path in (archive, folder):
        files.write_json(
            tmp_path / "one.json", prepare(DataSpec.from_json(SPEC), tmp_path, {"path": str(path)})
        )
        both.append(open_prepared(tmp_path / "one.json", tmp_path))
    assert both[0].folder != both[1].folder
    assert both[0].sha256 == both[1].sha256
