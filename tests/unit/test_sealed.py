"""Sealed records: any change of a file is found when it is read."""

import json
import os

import pytest

from soteacher.core.errors import Damaged, Unreadable
from soteacher.core.hash_list import read_listed, write_hash_list
from soteacher.core.sealed import Form, read_sealed, sealed, write_sealed

VALUES = {"a": 1, "b": [1.5, "é"], "c": {"d": None}}


class Part(Form):
    d: int | None


class Values(Form):
    a: int
    c: Part


def test_what_is_written_is_read(tmp_path):
    write_sealed(tmp_path / "one.json", VALUES)
    values = read_sealed(tmp_path / "one.json", "the test", Values)
    assert {k: v for k, v in values.items() if k != "sha256"} == VALUES
    write_sealed(tmp_path / "two.json", values)  # an old seal is replaced
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_every_changed_bit_is_found(tmp_path):
    path = tmp_path / "one.json"
    write_sealed(path, VALUES)
    data = path.read_bytes()
    for place in range(len(data)):
        if not chr(data[place]).isspace():  # spaces between values mean nothing in JSON
            changed = bytearray(data)
            changed[place] ^= 1
            path.write_bytes(bytes(changed))
            with pytest.raises(Damaged, match=r"the test, .*one.json"):
                read_sealed(path, "the test", Values)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "3", "[]", "{}", '{"sha256": 3}', "[" * 100_000),
        *('{"a": NaN, "sha256": "x"}', json.dumps(VALUES)),
        json.dumps(sealed(VALUES) | {"b": []}),
    ],
)
def test_anything_else_is_damaged(tmp_path, text):
    path = tmp_path / "one.json"
    path.write_text(text)
    for missing_ok in (True, False):
        with pytest.raises(Damaged, match=r"cannot read the test, .*one.json: .*; delete it, then"):
            read_sealed(path, "the test", Values, missing_ok)


@pytest.mark.parametrize(
    ("changed", "entry"),
    [
        ({"a": "1"}, "a"),
        ({"a": True}, "a"),
        ({"a": -1.5}, "a"),
        ({"c": []}, "c"),
        ({"c": {}}, "c.d"),
        ({"c": {"d": "no number"}}, "c.d"),
    ],
)
def test_an_intact_record_of_another_version_is_refused(tmp_path, changed, entry):
    write_sealed(tmp_path / "one.json", VALUES | changed | {"new": 1})
    with pytest.raises(Damaged, match=f"its entry '{entry}' is missing or has another form, so"):
        read_sealed(tmp_path / "one.json", "the test", Values)


def test_what_is_no_file_is_damaged_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing"):
        with pytest.raises(Damaged, match=f"cannot read the test, .*{name}"):
            read_sealed(tmp_path / name, "the test", Values)
    assert read_sealed(tmp_path / "missing", "the test", Values, missing_ok=True) is None


def test_what_cannot_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unreadable, match="may be intact: give this user the permission"):
        read_sealed(tmp_path / "loop", "the test", Values, missing_ok=True)


def test_a_hash_list_is_one_of_sha256sum(tmp_path):
    files = [tmp_path / "a.csv", tmp_path / "a.more.csv"]
    for path in files:
        path.write_text(path.name)
    write_hash_list(files[0], files[1:])
    assert read_listed(files[0]) == b"a.csv"
    assert read_listed(files[1], files[0]) == b"a.more.csv"
    assert os.system(f"cd {tmp_path} && sha256sum --check --status a.sha256") == 0
    files[1].write_text("changed")
    with pytest.raises(Damaged, match=r"a.more.csv has changed since it was made: .*a.sha256 has"):
        read_listed(files[1], files[0])
    files[0].unlink()
    with pytest.raises(Damaged, match=r"a.csv: there is no such file; delete both"):
        read_listed(files[0])
