"""Files are whole or not there, changed ones are refused, and one file is one part."""

import errno
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from soteacher.core import files, registry
from soteacher.core.errors import UserError, unknown


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def kept(tmp_path):
    """A file with content that a failed write must leave."""
    path = tmp_path / "kept.txt"
    path.write_text("old")
    return path


# writing


@pytest.mark.parametrize(
    "content", [b"n\xc3\xa9w", "néw", lambda file: file.write(b"n\xc3\xa9w")], ids=type
)
def test_bytes_text_and_what_a_function_writes_take_the_place_of_the_old_file(kept, content):
    files.write(kept, content)
    assert kept.read_bytes() == b"n\xc3\xa9w"
    assert names_in(kept.parent) == ["kept.txt"]


def test_folders_of_a_file_are_made(tmp_path):
    files.write(tmp_path / "a" / "b" / "c.txt", "new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_others_may_read_what_is_written(kept):
    files.write(kept, "new")
    assert kept.stat().st_mode & 0o777 == 0o644


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(kept):
    def writer(file):
        file.write(b"half")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        files.write(kept, writer)
    assert kept.read_text() == "old"
    assert names_in(kept.parent) == ["kept.txt"]


def test_a_file_has_its_name_only_once_all_of_it_is_on_the_disk(kept, monkeypatch):
    seen = []

    def synced(descriptor):
        seen.append(kept.read_text())

    monkeypatch.setattr(os, "fsync", synced)
    with files.writing(kept) as file:
        file.write(b"new")
        assert kept.read_text() == "old"
    assert seen == ["old", "new"]  # the file itself, then the folder that holds its name


@pytest.mark.parametrize("step", ["fsync", "replace", "write"])
def test_a_full_disk_is_told_with_what_to_do_and_leaves_the_old_file(kept, monkeypatch, step):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    content = full if step == "write" else "new"
    if step != "write":
        monkeypatch.setattr(os, step, full)
    with pytest.raises(UserError) as caught:
        files.write(kept, content)
    text = str(caught.value)
    assert text.startswith(f"cannot write {kept}: No space left on device; free disk space")
    assert "rerun the same command" in text
    assert "\n" not in text
    assert kept.read_text() == "old"
    assert names_in(kept.parent) == ["kept.txt"]


def test_a_folder_that_cannot_be_made_is_told(kept):
    with pytest.raises(UserError, match="cannot write"):
        files.write(kept / "below a file", "new")
    assert kept.read_text() == "old"


def test_json_is_the_same_bytes_in_whatever_order_its_keys_were_set(tmp_path):
    files.write_json(tmp_path / "one", {"b": [1, 2.5], "a": {"d": None, "c": "é"}})
    files.write_json(tmp_path / "two", {"a": {"c": "é", "d": None}, "b": [1, 2.5]})
    content = (tmp_path / "one").read_text()
    assert content == (tmp_path / "two").read_text()
    assert content.endswith("}\n")
    assert files.read_json(tmp_path / "one", "the test") == json.loads(content)


@pytest.mark.parametrize("content", [None, '{"half": '], ids=["missing", "broken"])
def test_unreadable_json_is_refused_by_what_it_is_and_where(tmp_path, content):
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        files.read_json(path, "the data manifest")
    assert str(caught.value).startswith(f"cannot read the data manifest, {path}: ")


# hashes


def test_the_hash_is_sha256_of_the_bytes(kept):
    expected = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
    assert files.sha256_of(kept) == expected


@pytest.mark.parametrize("size", [0, 5, files.CHUNK, 2 * files.CHUNK + 1])
def test_what_is_hashed_while_it_is_written_is_all_that_is_written(kept, size):
    data = bytes(range(251)) * (size // 251 + 1)
    for writer in (
        data[:size],
        lambda file: [file.write(data[:size][:3]), file.write(data[3:size])],
    ):
        sha256 = files.write_hashed(kept, writer)
        assert kept.read_bytes() == data[:size]
        assert sha256 == hashlib.sha256(data[:size]).hexdigest()


def test_an_array_is_hashed_while_numpy_writes_it(kept):
    array = np.arange(60, dtype=np.float32).reshape(3, 20)[:, ::2]
    assert files.write_hashed(kept, lambda file: np.save(file, array)) == files.sha256_of(kept)
    assert np.array_equal(np.load(kept), array)


def test_a_file_with_its_recorded_hash_is_accepted(kept):
    assert files.checked(kept, files.sha256_of(kept), "the file") == kept


def test_a_changed_file_is_refused_with_both_hashes_and_what_to_do(kept):
    recorded = files.sha256_of(kept)
    kept.write_text("new")
    with pytest.raises(UserError) as caught:
        files.checked(kept, recorded, "weights of a teacher")
    text = str(caught.value)
    assert text.startswith(f"weights of a teacher has changed since it was recorded: {kept} ")
    assert recorded[:16] in text and files.sha256_of(kept)[:16] in text
    assert text.endswith(f"delete it, then {files.AGAIN}")


def test_a_missing_file_is_refused_by_what_it_is_and_where(tmp_path):
    with pytest.raises(UserError) as caught:
        files.checked(tmp_path / "gone", "0" * 64, "weights of a teacher")
    text = str(caught.value)
    assert text == f"weights of a teacher is missing: {tmp_path / 'gone'}; {files.AGAIN}"


# names


def test_the_sentence_for_an_unknown_name_tells_the_known_ones_and_the_nearest():
    assert unknown("fruit", "aple", ["pear", "apple"]) == (
        "unknown fruit 'aple'; known: apple, pear; did you mean 'apple'?"
    )
    assert unknown("fruit", "xyz", ["pear", "apple"]) == "unknown fruit 'xyz'; known: apple, pear"
    assert unknown("fruit", "xyz", []) == "unknown fruit 'xyz'; known: none"


# parts


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A new kind of part, in a package that has only its base; returns a way to add files."""
    package = tmp_path / "toolbox"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("class Tool:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.PACKAGES, "tool", "toolbox")
    monkeypatch.setattr(registry, "_parts", {})
    registry.clear()

    def add(name, *classes):
        lines = ["from soteacher.core.registry import register", "from toolbox.base import Tool"]
        lines += [f"@register\nclass {made}(Tool):\n    pass" for made in classes]
        (package / f"{name}.py").write_text("\n".join(lines) + "\n")

    yield add
    registry.clear()
    for module in [name for name in sys.modules if name.partition(".")[0] == "toolbox"]:
        del sys.modules[module]


def test_a_new_file_is_a_new_part_of_its_name(tools):
    tools("saw", "Saw")
    tools("hammer", "AnythingAtAll")
    assert registry.names("tool") == ("hammer", "saw")
    assert registry.get("tool", "saw").__name__ == "Saw"
    assert registry.get("tool", "hammer").__name__ == "AnythingAtAll"


def test_parts_are_imported_only_when_they_are_asked_for(tools):
    tools("saw", "Saw")
    tools("hammer", "Hammer")
    registry.get("tool", "saw")
    assert "toolbox.saw" in sys.modules
    assert "toolbox.hammer" not in sys.modules


def test_an_unknown_part_is_refused_with_the_nearest_known_one(tools):
    tools("saw", "Saw")
    tools("hammer", "Hammer")
    with pytest.raises(UserError) as caught:
        registry.get("tool", "hamer")
    assert str(caught.value) == ("unknown tool 'hamer'; known: hammer, saw; did you mean 'hammer'?")


def test_the_base_of_a_kind_is_no_part(tools):
    tools("saw", "Saw")
    with pytest.raises(UserError, match="unknown tool 'base'"):
        registry.get("tool", "base")


def test_two_parts_in_one_file_are_refused(tools):
    tools("saw", "Saw", "Chainsaw")
    with pytest.raises(TypeError, match=r"toolbox\.saw registers two parts; expected one"):
        registry.get("tool", "saw")


def test_a_file_without_a_part_is_refused(tools):
    tools("saw")
    with pytest.raises(TypeError, match=r"toolbox\.saw registers no part"):
        registry.get("tool", "saw")


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_every_part_of_the_package_is_found_under_its_file_s_name(kind):
    assert registry.shipped(kind)
    for name in registry.shipped(kind):
        assert registry.get(kind, name).__module__ == f"{registry.PACKAGES[kind]}.{name}"


def test_a_lock_that_cannot_be_made_is_an_error_and_no_endless_wait(tmp_path):
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/lock").symlink_to("nowhere/lock")
    for folder, why in (
        (Path("/proc/nowhere/run"), "it cannot be created"),
        (tmp_path / "gone", "its file `lock` is a link to nothing"),
        (tmp_path / "a\0b", "embedded null"),
    ):
        with (
            pytest.raises(UserError, match=f"cannot use the store: .*{why}"),
            files.locked(folder, "the test"),
        ):
            pass
