"""CIFAR-100 from its archive, its folder or class folders: small copies in the official layout."""

import hashlib
import io
import json
import shutil
import struct
import tarfile
import warnings

import numpy as np
import pytest
from PIL import Image
from served import serving

from soteacher import cli
from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.data.archives import Archive
from soteacher.data.prepared import open_prepared, prepare
from soteacher.data.sources import cifar100
from soteacher.data.sources.base import Outline
from soteacher.data.sources.cifar100 import Cifar100
from soteacher.data.spec import DataSpec
from soteacher.study.expand import expand
from soteacher.study.load import read

SPEC = {"source": "cifar100", "revision": 1}
CLASSES = ["apple", "bear", "clock"]
N = {"train": 7, "test": 4}


def old(value):
    """A pickle's bytes, all but the stop, as Python 2 and the numpy of its time wrote them."""
    if isinstance(value, dict):
        return b"(d" + b"".join(old(k) + old(v) + b"s" for k, v in value.items())
    if isinstance(value, list):
        return b"(l" + b"".join(old(v) + b"a" for v in value)
    if isinstance(value, np.ndarray):
        n, width = value.shape
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
            b"(I1\n(I%d\nI%d\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\n"
            % (n, width)
        ) + (old(value.tobytes()) + b"tb")
    if isinstance(value, int):
        return b"I%d\n" % value
    data = value if isinstance(value, bytes) else value.encode()
    return b"T" + struct.pack("<i", len(data)) + data


def images_of(split):
    random = np.random.default_rng(len(split))
    return random.integers(0, 256, (N[split], 32, 32, 3), dtype=np.uint8)


def labels_of(split):
    return [k * 2 % len(CLASSES) for k in range(N[split])]


def batch(split):
    planes = images_of(split).transpose(0, 3, 1, 2).reshape(-1, 3072)  # all red, green, blue
    facts = {"filenames": ["a.png"] * N[split], "batch_label": "batch 1 of 1"}
    labels = labels_of(split)
    return facts | {"fine_labels": labels, "coarse_labels": [0] * len(labels), "data": planes}


MEMBERS = {
    "train": old(batch("train")) + b".",
    "test": old(batch("test")) + b".",
    "meta": old({"coarse_label_names": ["things"], "fine_label_names": CLASSES}) + b".",
}


def tar_of(members, links=()):
    """A tar.gz archive of these members; `links` are names of links among them."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if name in links:
                member.type, member.linkname = tarfile.SYMTYPE, data.decode()
                data = b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return written.getvalue()


def in_top(members):
    return {f"cifar-100-python/{name}": data for name, data in members.items()}


ARCHIVE = tar_of(in_top({"file.txt~": b"", **MEMBERS}))


@pytest.fixture
def official(monkeypatch):
    """Make these bytes the official archive, and these members the official files."""

    def make(content=ARCHIVE, members=MEMBERS):
        md5 = hashlib.md5(content).hexdigest()
        fact = Archive("cifar-100-python.tar.gz", "http://nowhere.invalid/c", len(content), md5)
        monkeypatch.setattr(Cifar100, "archive", fact)
        facts = {name: hashlib.md5(data).hexdigest() for name, data in members.items()}
        monkeypatch.setattr(cifar100, "MEMBERS", facts)
        return content

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    make()
    return make


@pytest.fixture
def archive(official, tmp_path):
    path = tmp_path / "copy.tar.gz"
    path.write_bytes(ARCHIVE)
    return path


@pytest.fixture
def folder(official, tmp_path):
    """The folder that holds the official one."""
    top = tmp_path / "unpacked/cifar-100-python"
    top.mkdir(parents=True)
    for name, data in MEMBERS.items():
        (top / name).write_bytes(data)
    return top.parent


def refusal(path):
    with pytest.raises(UserError) as caught:
        Cifar100(path=str(path)).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_images(found):
    np.testing.assert_array_equal(found.train_images, images_of("train"))
    np.testing.assert_array_equal(found.test_images, images_of("test"))
    assert found.train_labels.tolist() == labels_of("train")
    assert found.test_labels.tolist() == labels_of("test")
    assert {found.train_labels.dtype, found.test_labels.dtype} == {np.dtype(np.int64)}
    assert found.classes == tuple(CLASSES)


# the facts


def test_the_official_archive_is_known_by_size_and_md5():
    assert Cifar100.archive == Archive(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        169_001_437,
        "eb9058c3a382ffc7106e4002c42a8d85",
    )
    assert cifar100.MEMBERS == {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }


def test_torchvision_knows_the_same_archive():
    from torchvision.datasets import CIFAR100

    assert (Cifar100.archive.url, Cifar100.archive.md5) == (CIFAR100.url, CIFAR100.tgz_md5)
    known = dict([*CIFAR100.train_list, *CIFAR100.test_list])
    assert known | {CIFAR100.meta["filename"]: CIFAR100.meta["md5"]} == cifar100.MEMBERS


def test_torchvision_reads_the_same_from_the_copy_that_these_tests_make(folder, monkeypatch):
    from torchvision.datasets import CIFAR100

    for split in ("train", "test"):
        monkeypatch.setattr(CIFAR100, f"{split}_list", [(split, cifar100.MEMBERS[split])])
    meta = CIFAR100.meta | {"md5": cifar100.MEMBERS["meta"]}
    monkeypatch.setattr(CIFAR100, "meta", meta)
    found = Cifar100(path=str(folder)).read()
    for split, images, labels in (
        ("train", found.train_images, found.train_labels),
        ("test", found.test_images, found.test_labels),
    ):
        with warnings.catch_warnings(action="ignore"):
            known = CIFAR100(folder, train=split == "train")
        np.testing.assert_array_equal(known.data, images)
        assert known.targets == labels.tolist()
        assert tuple(known.classes) == found.classes


def test_sizes_and_normalisation_need_no_download_and_no_look_at_the_path():
    outline = Outline(50_000, 10_000, height=32, width=32, n_classes=100)
    assert Cifar100().outline() == Cifar100(path="no/such").outline() == outline


# official files


@pytest.mark.parametrize("place", ["copy.tar.gz", "unpacked", "unpacked/cifar-100-python"])
def test_the_archive_its_folder_and_one_around_it_hold_the_same(archive, folder, tmp_path, place):
    source = Cifar100(path=str(tmp_path / place))
    found = source.read()
    check_images(found)
    assert found.mean == (0.5071, 0.4867, 0.4408)
    assert found.std == (0.2675, 0.2565, 0.2761)
    assert source.content_key() is None


def test_no_warning_of_numpy_reaches_the_user(archive):
    with warnings.catch_warnings(action="error"):
        Cifar100(path=str(archive)).read()


def test_flags_that_some_numpys_warn_of_reach_none(archive, monkeypatch):
    known, flags = np.dtype, []

    def watched(code, *given):
        flags.extend(given)
        return known(code, *given)

    monkeypatch.setattr(np, "dtype", watched)
    Cifar100(path=str(archive)).read()
    assert flags == [False, True] * 2
    assert {type(flag) for flag in flags} == {bool}


def test_nothing_is_unpickled_but_what_has_the_official_md5(folder):
    (folder / "cifar-100-python/test").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    text = refusal(folder)
    assert text.startswith(f"the file test of {folder} is not the official one; put the official ")
    assert cifar100.MEMBERS["test"] in text


def test_even_an_official_pickle_may_name_nothing_but_arrays(folder, official, tmp_path):
    evil = b"cos\nsystem\n(S'touch %s/pwned'\ntR." % str(tmp_path).encode()
    official(members=MEMBERS | {"test": evil})
    (folder / "cifar-100-python/test").write_bytes(evil)
    assert (
        refusal(folder)
        == "a file of CIFAR-100 is refused: it needs os.system; use the official file"
    )
    assert not (tmp_path / "pwned").exists()


def test_a_folder_without_one_of_the_files_is_refused(folder):
    (folder / "cifar-100-python/meta").unlink()
    text = refusal(folder)
    assert text.startswith(f"cannot read {folder}/cifar-100-python/meta: No such file or directory")


@pytest.mark.parametrize("n", [0, 100, len(ARCHIVE) - 1])
def test_a_copy_that_is_cut_short_is_refused(archive, n):
    archive.write_bytes(ARCHIVE[:n])
    assert refusal(archive) == (
        f"{archive} is not the official cifar-100-python.tar.gz: it has {n} bytes, expected "
        f"{len(ARCHIVE)}; remove `path` to download the official file, or unpack this one and "
        "set `path` to the folder"
    )


def test_a_copy_with_other_bytes_is_refused(archive):
    archive.write_bytes(ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1]))
    assert "its md5 is " in refusal(archive)


@pytest.mark.parametrize("n", [0, 10, 1000, len(ARCHIVE) // 2])
def test_an_archive_that_ends_early_is_one_clear_error(official, archive, n):
    archive.write_bytes(official(ARCHIVE[:n]))
    text = refusal(archive)
    assert text.startswith(f"the archive {archive} is damaged or truncated (")
    assert text.endswith("; use another copy")


def test_an_archive_with_other_bytes_in_it_is_one_clear_error(official, archive):
    corrupted = ARCHIVE[:1000] + bytes(100) + ARCHIVE[1100:]
    archive.write_bytes(official(corrupted))
    assert f"the file train of {archive} is not the official one; put the" in refusal(archive)


def test_an_archive_without_one_of_the_files_is_one_clear_error(official, archive):
    some = {name: data for name, data in MEMBERS.items() if name != "meta"}
    archive.write_bytes(official(tar_of(in_top(some))))
    assert f"the file meta of {archive} is missing; put the official file" in refusal(archive)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "cifar-100-python/../../escaped"])
def test_an_archive_whose_files_would_leave_its_folder_is_refused(official, archive, name):
    archive.write_bytes(official(tar_of({**in_top(MEMBERS), name: b"out"})))
    text = refusal(archive)
    assert f"it contains a file outside its folder ({name}); use another" in text


@pytest.mark.parametrize("name", ["cifar-100-python/train", "cifar-100-python/other"])
def test_an_archive_with_links_is_refused(official, archive, name):
    members = {**in_top(MEMBERS), name: b"/etc/passwd"}
    archive.write_bytes(official(tar_of(members, links=[name])))
    assert f"it contains a link or device ({name}); use another copy" in refusal(archive)


# class folders


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A CIFAR-100 of two classes, three and two images of each, in class folders."""
    monkeypatch.setattr(cifar100, "SIZES", Outline(6, 4, height=32, width=32, n_classes=2))
    for split, n in (("train", 3), ("test", 2)):
        for number, name in enumerate(("fox", "ant")):
            place = tmp_path / "classes" / split / name
            place.mkdir(parents=True)
            for k in range(n):
                random = np.random.default_rng([n, number, k])
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{k}.png")
    return tmp_path / "classes"


def test_class_folders_are_read_by_name_with_the_same_normalisation(small):
    found = Cifar100(path=str(small)).read()
    assert found.classes == ("ant", "fox")
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (found.mean, found.std) == (cifar100.MEAN, cifar100.STD)
    pixels = np.random.default_rng([2, 0, 1]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(found.test_images[3], pixels)  # ant 0, ant 1, fox 0, fox 1


def test_class_folders_have_a_content_of_their_own(small):
    before = Cifar100(path=str(small)).content_key()
    assert before is not None
    shutil.copy(small / "train/ant/0.png", small / "train/ant/1.png")
    assert Cifar100(path=str(small)).content_key() != before


def test_class_folders_with_less_than_all_are_refused_and_pointed_to_image_folder(small):
    (small / "train/ant/0.png").unlink()
    text = refusal(small)
    assert text.startswith(
        "CIFAR-100 has 6 training and 4 test images of 32x32 pixels in 2 classes"
    )
    assert f"{small} has 5 training and 4 test images of 32x32 pixels in 2 classes" in text
    assert text.endswith("give the whole data set, or use `source: image_folder` for other images")


def test_class_folders_with_unequal_classes_are_refused(small):
    (small / "train/ant/0.png").rename(small / "train/fox/9.png")
    assert "in 2 classes, with different numbers of images per class: give the whole" in refusal(
        small
    )


def test_images_of_another_size_are_refused(small):
    for path in small.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((36, 36)).save(path)
    assert "6 training and 4 test images of 36x36 pixels" in refusal(small)


# where it lies


def test_a_path_with_nothing_there_is_told_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = refusal("no/such")
    assert text.startswith(
        f"no/such does not exist (working directory: {tmp_path}): correct `path`, or remove "
    )


def test_a_folder_of_something_else_is_told_what_is_expected(tmp_path):
    text = refusal(tmp_path)
    assert text.startswith(f"no CIFAR-100 in {tmp_path}; expected the folder cifar-100-python, or ")


def test_a_home_folder_that_nobody_has_is_told():
    text = refusal("~nobody-of-that-name/cifar")
    assert text.startswith("cannot find the home folder '~nobody-of-that-name' of '~nobody")


def study_of(wide, **settings):
    wide["data"]["digits"] = {"source": "cifar100", **settings}
    return expand(read(wide))


def test_a_study_says_where_the_images_are_and_no_spec_does(wide):
    plan = study_of(wide, path="some/copy", url="https://mirror/c.tar.gz")
    assert plan.data_spec("digits").to_json() == SPEC
    known = {"path": "some/copy", "url": "https://mirror/c.tar.gz"}
    assert plan.data_location("digits") == known
    assert study_of(wide).data_location("digits") == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": ""}, 'path: string should have at least 1 character; got ""'),
        ({"url": "ftp://mirror/c"}, "url: expected '^(https?|file)://"),
        ({"url": ""}, "url: expected '^(https?|file)://"),
        ({"size": 32}, ": unknown key 'size'"),
    ],
)
def test_bad_settings_are_refused_when_the_study_is_read(wide, settings, said):
    with pytest.raises(UserError) as caught:
        study_of(wide, **settings)
    assert str(caught.value).startswith("study.data.digits")
    assert said in str(caught.value)


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
        server.answers = [("cut", 1000)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("soteacher.data.download.PAUSE_SECONDS", 0)
            data = prepare_by_command(tmp_path, url=server.url)
        assert server.ranges == [None, "bytes=1000-"]
        again = prepare_by_command(tmp_path, url=server.url)
        assert server.requests == 2
    assert data.manifest == again.manifest
    assert (tmp_path / "store/downloads/cifar100/cifar-100-python.tar.gz").read_bytes() == ARCHIVE
    np.testing.assert_array_equal(data.array("train_images"), images_of("train"))
    assert data.manifest["mean"] == list(cifar100.MEAN)
    assert data.manifest["std"] == list(cifar100.STD)
    assert "content" not in data.manifest


def test_data_of_other_labels_take_the_same_download(official, tmp_path):
    store = tmp_path / "store"
    with serving(ARCHIVE) as server:
        prepare(DataSpec.from_json(SPEC), store, {"url": server.url})
        true_labels = {"revision": 1, "confusion": 0.2, "split": [1.0]}
        manifest = prepare(
            DataSpec.from_json(SPEC | {"true_labels": true_labels}), store, {"url": server.url}
        )
        assert server.requests == 1
    assert "look_alikes" in manifest


def test_a_local_copy_is_taken_first_and_gives_the_same_data(archive, tmp_path):
    with serving(ARCHIVE) as server:
        local = prepare_by_command(tmp_path, path=str(archive), url=server.url)
        assert server.requests == 0
    assert not (tmp_path / "store/downloads").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serving(ARCHIVE) as server:
        assert prepare_by_command(elsewhere, url=server.url).manifest == local.manifest


def test_a_failed_download_leaves_nothing_that_passes_for_data(official, tmp_path, caplog):
    with serving(ARCHIVE) as server, pytest.raises(SystemExit) as ended:
        server.answers = [("error", 404)]
        prepare_by_command(tmp_path, url=server.url)
    assert ended.value.code == 2
    assert "cannot download cifar-100-python.tar.gz" in caplog.text
    assert not (tmp_path / "published.json").exists()
    assert not [*tmp_path.rglob("*.npy"), *tmp_path.rglob("*.tar.gz")]


def test_class_folders_and_official_files_lie_side_by_side(official, small, tmp_path):
    store = tmp_path / "store"
    (tmp_path / "copy.tar.gz").write_bytes(ARCHIVE)
    both = [
        prepare(DataSpec.from_json(SPEC), store, {"path": str(path)})
        for path in (small, tmp_path / "copy.tar.gz")
    ]
    assert both[0]["content"] == Cifar100(path=str(small)).content_key()
    assert "content" not in both[1]
    for number, manifest in enumerate(both):
        files.write_json(tmp_path / f"{number}.json", manifest)
        open_prepared(tmp_path / f"{number}.json", store).check()
