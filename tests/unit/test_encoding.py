"""Every text file is UTF-8, whatever the locale; what a terminal cannot show stops no command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_TEXT = {"archive", "gzip", "Image", "os", "tarfile", "zipfile"}
"""Modules, and the name of an open zip file, of which `open` opens no text file."""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Environment in which Python's own encoding is ASCII."""


def is_text(call: ast.Call, name: str) -> bool:
    """Whether a call reads or writes text: in the locale's encoding, if it names none."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("read_text", "write_text", "FileHandler"):
        return True
    if name in ("run", "Popen", "check_output", "TextIOWrapper"):
        return bool(given.keys() & {"text", "universal_newlines"}) or name == "TextIOWrapper"
    if name in ("NamedTemporaryFile", "TemporaryFile", "fdopen"):
        return "mode" in given and "b" not in ast.unparse(given["mode"])
    if name == "open":
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in NO_TEXT:
            return False
        first = 0 if owner is not None else 1  # of `open`, the first argument is the path
        mode = given.get("mode", call.args[first] if len(call.args) > first else None)
        return mode is None or "b" not in ast.unparse(mode)
    return False


def unnamed_encodings(source: str) -> list[int]:
    """Lines that read or write text without naming the encoding."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if is_text(node, name) and "encoding" not in {k.arg for k in node.keywords}:
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "call",
    [
        "path.read_text()",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'a')",
        "path.open()",
        "(folder / 'lock').open('a+')",
        "files(__package__).joinpath('a.csv').open()",
        "logging.FileHandler(path)",
        "subprocess.run(command, text=True)",
    ],
)
def test_calls_without_an_encoding_are_found(call):
    assert unnamed_encodings(call) == [1]
    named = call[:-1] + ", encoding='utf-8')"
    assert unnamed_encodings(named.replace("(, ", "(")) == []


@pytest.mark.parametrize(
    "call", ["open(path, 'rb')", "path.open('rb')", "os.open(path, 0)", "Image.open(path)"]
)
def test_calls_on_bytes_need_none(call):
    assert unnamed_encodings(call) == []


FOLDERS = ("docs", "examples", "soteacher")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_name_their_encoding(path):
    assert unnamed_encodings(path.read_text(encoding="utf-8")) == []


def soteacher(*arguments, cwd, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "soteacher", *arguments],
        cwd=cwd,
        env=os.environ | ASCII | environment,
        capture_output=True,
        encoding="utf-8",
    )


STUDY = """\
# für Müller
study: s
data: {d: {source: image_folder, path: Bilder für Müller}}
"""


def test_a_message_names_a_file_as_it_is_called(tmp_path):
    done = soteacher("plan", "Müller.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot read the study file Müller.yaml: No such file" in done.stderr


def test_a_study_file_in_another_encoding_is_one_line(tmp_path):
    (tmp_path / "s.yaml").write_bytes(STUDY.encode("latin-1"))
    done = soteacher("plan", "s.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "s.yaml: expected UTF-8 text" in done.stderr and "Traceback" not in done.stderr


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    (tmp_path / "s.yaml").write_text(STUDY + "ü: 1\n", encoding="utf-8")
    done = soteacher("plan", "s.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "'\\xfc'" in done.stderr and "Traceback" not in done.stderr
