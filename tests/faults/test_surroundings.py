"""A full disk, results that may not be written, no network, two Snakemakes in one folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chain import QUESTIONS, STUDY, commands, content, copy, run_all, say, write_study
from PIL import Image
from powers import permissions_count

from soteacher.core.errors import UserError
from soteacher.data.sources.cifar100 import Cifar100
from soteacher.data.sources.image_folder import ImageFolder
from soteacher.data.sources.tiny_imagenet import TinyImagenet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A working directory with everything trained and made, and what it holds."""
    folder = tmp_path_factory.mktemp("intact")
    with contextlib.chdir(folder):
        write_study()
        assert run_all().code == 0
        return folder, content()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own (root), and a function that makes the disk larger."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k,nr_inodes=10k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this test mounts a small disk, which only root may do")
    try:
        yield (
            place,
            lambda size: subprocess.run(
                ["mount", "-o", f"remount,size={size}", str(place)], check=True
            ),
        )
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_each_command_ends_in_one_line_and_goes_on_when_there_is_room(
    intact, small_disk, monkeypatch
):
    _, expected = intact
    place, enlarge = small_disk
    monkeypatch.chdir(place)
    write_study()
    failures = 0
    for size in ("200k", "400k", "700k", "1200k", "2200k", "4200k"):  # each is full at another file
        enlarge(size)
        ended = run_all()
        assert not ended.traceback, (size, ended)
        if ended.code:
            failures += 1
            assert ended.code in (1, 2) and "No space left on device" in ended.said, (size, ended)
            for question in QUESTIONS[:-1]:
                asked = say(*question)
                assert asked.code == 0 and not asked.traceback, (size, question, asked)
    assert failures >= 3
    enlarge("64m")
    assert run_all().code == 0
    assert content() == expected


def test_results_that_may_not_be_written_are_read_and_not_changed(intact, tmp_path, monkeypatch):
    folder, expected = intact
    copy(folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    asked = commands()
    answers = [say(*question) for question in QUESTIONS]
    folders = [path for path in Path("results").rglob("*") if not path.is_symlink()]
    try:
        for path in [Path("results"), *folders]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        with permissions_count():
            assert [say(*question) for question in QUESTIONS] == answers
            for command in asked:
                ended = say(*command)
                assert not ended.traceback and ended.code == 2, (command, ended)
                assert "Permission denied" in ended.lines[-1], (command, ended)
    finally:
        for path in [Path("results"), *folders]:
            path.chmod(0o755)
    assert content() == expected


def offline(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without any network."""
    if shutil.which("unshare") is None:
        pytest.skip("this test needs `unshare`")
    own = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    if subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("this test needs a network namespace, which this machine does not allow")
    return subprocess.run(
        [*own, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/faults'}"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def test_without_a_network_a_download_ends_in_one_line(tmp_path):
    spec = f'{{"source": "cifar100", "revision": {Cifar100.revision}}}'
    given = ["--spec", spec, "--store", "store", "--out", "out.json"]
    done = offline(sys.executable, "-m", "soteacher", "prepare", *given, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot download cifar-100-python.tar.gz" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.rglob("manifest.json"))


def test_without_a_network_a_study_runs(intact, tmp_path):
    _, expected = intact
    with contextlib.chdir(tmp_path):
        write_study()
    program = "import sys, chain; sys.exit(chain.run_all().code)"
    done = offline(sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with contextlib.chdir(tmp_path):
        assert content() == expected


def test_of_two_snakemakes_in_one_folder_the_second_waits(tmp_path):
    table = {"kind": "calibration", "teachers": ["standard"]}
    study = STUDY | {"tables": {"one": table}}
    for name in ("both", "alone"):
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            write_study(study)
    command = ["snakemake", "-s", ROOT / "Snakefile", "--cores", "1", "--configfile", "study.yaml"]
    both = [
        subprocess.Popen(
            command,
            cwd=tmp_path / "both",
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("waiting for process" in text for text in said) == 1
    assert not any("Missing files" in text or "Traceback" in text for text in said)
    with contextlib.chdir(tmp_path / "alone"):
        assert run_all().code == 0
        expected = content()
    with contextlib.chdir(tmp_path / "both"):
        assert content() == expected


@pytest.mark.parametrize(
    "place", ["", "/images", "/images/train", "/images/train/a", "/images/train/a/0.png"]
)
def test_images_without_permission_are_neither_missing_nor_damaged(tmp_path, place):
    closed = tmp_path / f"around{place}"
    images = tmp_path / "around/images"
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (images / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(images / folder / "0.png")
    closed.chmod(0)
    try:
        with permissions_count(), pytest.raises(UserError, match="Permission denied") as caught:
            ImageFolder(path=str(images)).read()
    finally:
        closed.chmod(0o755)
    assert "check the permissions of the f" in str(caught.value)
    assert "remove" not in str(caught.value) and "is not a folder" not in str(caught.value)


def test_a_copy_of_tiny_imagenet_without_permission_is_not_missing(tmp_path):
    (tmp_path / "around/tiny-imagenet-200").mkdir(parents=True)
    (tmp_path / "around").chmod(0)
    try:
        with permissions_count(), pytest.raises(UserError, match="Permission denied"):
            TinyImagenet(path=str(tmp_path / "around/tiny-imagenet-200")).read()
    finally:
        (tmp_path / "around").chmod(0o755)
