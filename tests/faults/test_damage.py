"""Every kind of file, damaged in every way: it is refused by name or made again, never used."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
from chain import (
    FIGURES,
    QUESTIONS,
    RESULTS,
    STORE,
    STUDY,
    Ended,
    commands,
    content,
    copy,
    run_all,
    say,
    write_study,
)
from powers import permissions_count

from soteacher.core.sealed import write_sealed
from soteacher.training import loop

KINDS = {
    "record of a teacher": "store/runs/*/run.json",
    "description of a run": "store/runs/*/spec.json",
    "attempts": "store/runs/*/attempts.jsonl",
    "weights": "store/runs/*/weights.safetensors",
    "checkpoint": "store/runs/*/checkpoints/*.safetensors",
    "logits": "store/runs/*/test_logits.npy",
    "history": "store/runs/*/history.csv",
    "lock": "store/runs/*/lock",
    "manifest of data in the store": "store/data/*/manifest.json",
    "images": "store/data/*/train_images.npy",
    "labels": "store/data/*/test_labels.npy",
    "manifest of data": "small/data/*.json",
    "manifest of teachers": "small/runs/teachers/*.json",
    "manifest of students": "small/runs/students/*.json",
    "request of a table": "small/asked/[ot]*.json",
    "request of runs": "small/asked/teachers-*.json",
    "measures": "small/measures/*/*[0-9a-f].csv",
    "measures of epochs": "small/measures/*/*.epochs.csv",
    "hashes of measures": "small/measures/*/*.sha256",
    "table": "small/tables/*.csv",
    "hashes of a table": "small/tables/*.sha256",
}
"""Kind to the pattern of its files below `results`; the first one is damaged."""
OF_FIGURES = {
    "measures of bins": "small/measures/*/*.reliability.csv",
    "measures of tenths": "small/measures/*/*.disagreement.csv",
    "numbers of a figure": "small/figures/*.csv",
    "figure": "small/figures/*.png",
}
"""The same, of a study with figures, which take longer to make."""


def truncated(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def swapped(path: Path, other: Path) -> None:
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def of_another_shape(path: Path, _: Path) -> None:
    path.write_bytes(
        b'{"runs": [1, {"status": []}], "status": 3, "artifacts": "x", "spec": null}\n'
    )


def not_readable(path: Path, _: Path) -> None:
    path.chmod(0)


DAMAGES = (truncated, emptied, flipped, swapped, of_another_shape, not_readable)


def made(folder: Path, values: dict) -> tuple[Path, dict[str, bytes]]:
    """Make everything in a folder; return the folder and what it holds then."""
    with contextlib.chdir(folder):
        write_study(values)
        assert run_all().code == 0
        for question in QUESTIONS:
            ended = say(*question)
            assert (ended.code, ended.lines) == (0, [])
        return folder, content()


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A working directory with everything trained and made, and what it holds."""
    return made(tmp_path_factory.mktemp("intact"), STUDY)


@pytest.fixture(scope="module")
def with_figures(tmp_path_factory):
    """The same with figures."""
    return made(tmp_path_factory.mktemp("figures"), STUDY | {"figures": FIGURES})


def check(ended: Ended, files: list[Path], what: object) -> None:
    """A command ended well, or with one line that names the file, its folder or its run."""
    assert not ended.traceback, (what, ended)
    assert ended.code in (0, 1, 2), (what, ended)  # 1: several runs of a job are refused
    if ended.code:
        error = ended.lines[-1]
        assert "\n" not in error and len(error) < 1200, (what, ended)
        names = {part for file in files for part in (file.name, file.parent.name, file.stem)}
        assert any(name in ended.said for name in names), (what, ended)


def obey(said: str, files: list[Path]) -> None:
    """Do what an error says is to be done before the same command."""
    if found := re.search(r"`soteacher (forget \S+ --store \S+ --yes)`", said):
        say(*found[1].split())  # a dependent run may have gone with another one
    elif "delete both" in said or "delete it" in said:
        for file in files:
            for path in (file, *file.parent.glob(f"{file.name.split('.')[0]}*.sha256")):
                path.unlink(missing_ok=True)
            if file.suffix == ".sha256":
                for path in file.parent.glob(f"{file.stem}*"):
                    path.unlink()


@pytest.mark.parametrize("kind", [*KINDS, *OF_FIGURES])
def test_damage_is_refused_by_name_or_made_again(kind, request, tmp_path, monkeypatch):
    fixture = "intact" if kind in KINDS else "with_figures"
    folder, expected = request.getfixturevalue(fixture)
    pattern = (KINDS | OF_FIGURES)[kind]
    work = tmp_path / "work"
    for damage in DAMAGES:
        copy(folder, work)
        monkeypatch.chdir(work)
        asked = commands()
        found = [path for path in sorted(Path("results").glob(pattern)) if not prepares(path)]
        path, other = [*found, RESULTS / "tables/one.csv"][:2]
        damage(path, other)
        files = [path, other] if damage is swapped else [path]
        as_told = permissions_count() if damage is not_readable else nullcontext()
        with as_told:
            told = []
            for command in (*QUESTIONS, *reversed(asked)):  # each reads before it is made again
                ended = say(*command)
                check(ended, files, (kind, damage.__name__, command))
                told += [ended.said] if ended.code else []
            found = content_but(files) if damage is not_readable else content()
        wrong = [
            name
            for name, data in found.items()
            if Path(name) not in files and expected.get(name, data) != data
        ]
        assert not wrong, (kind, damage.__name__, wrong)
        path.chmod(0o644) if path.exists() else None
        for said in told:  # what the messages say brings everything back
            obey(said, files)
        for _ in range(5):
            ended = run_all()
            if ended.code == 0:
                break
            obey(ended.said, files)
        assert ended.code == 0, (kind, damage.__name__, ended)
        assert content() == expected, (kind, damage.__name__)


SEALED = {
    "store/runs/*/run.json": "attempts",
    "store/runs/*/spec.json": "id",
    "store/data/*/manifest.json": "arrays",
    "small/data/*.json": "spec",
    "small/runs/teachers/*.json": "runs",
    "small/runs/students/*.json": "runs",
}
"""Pattern of records to an entry that another version of soteacher could lack."""


@pytest.mark.parametrize("pattern", SEALED)
def test_an_intact_record_of_another_version_is_refused_by_name(
    intact, pattern, tmp_path, monkeypatch
):
    folder, expected = intact
    copy(folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    path = sorted(Path("results").glob(pattern))[0]
    record = json.loads(path.read_text(encoding="utf-8"))
    del record[SEALED[pattern]]
    write_sealed(path, record)
    for command in (*QUESTIONS, *reversed(commands())):
        check(say(*command), [path], (pattern, command))
    found = {name: data for name, data in content().items() if Path(name) != path}
    assert {name: expected[name] for name in found} == found


def test_a_link_that_leads_to_another_run_is_found_and_made_again(intact, tmp_path, monkeypatch):
    copy(intact[0], tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    one, two = (RESULTS / f"teachers/d/wrn_10_1/{name}/seed0" for name in ("standard", "soteacher"))
    before = os.readlink(one)
    one.unlink()
    one.symlink_to(os.readlink(two))
    ended = say("verify", RESULTS)
    assert ended.code == 2 and f"{one}: leads to " in ended.said
    assert run_all().code == 0 and os.readlink(one) == before
    assert say("verify", RESULTS).code == 0


def test_a_damaged_request_of_an_earlier_version_of_the_study_stops_nothing(
    intact, tmp_path, monkeypatch
):
    copy(intact[0], tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    request = RESULTS / "asked/one-0123456789abcdef.json"
    request.write_text("{}", encoding="utf-8")
    ended = say("verify", RESULTS)
    assert ended.code == 0 and str(request) in ended.said


def prepares(path: Path) -> bool:
    """Whether a file is of a preparation for students: it is read when another student needs it."""
    return (
        path.parent.joinpath("history.csv").exists()
        and not path.with_name("test_logits.npy").exists()
    )


def content_but(files: list[Path]) -> dict[str, bytes]:
    """The content without files that may not be read."""
    for file in files:
        file.chmod(0o600)
    found = content()
    for file in files:
        file.chmod(0)
    return found


# states of half-trained runs


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The same study, whose job of teachers on one data set was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("half")
    save, saved = loop._save, []

    def stop(learner, final):
        save(learner, final)
        saved.append(learner)
        if len(saved) == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(loop, "_save", stop)
        write_study()
        assert run_all().code == 143
    return folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "names",
    [
        ("state-0.json",),
        ("state-1.json",),
        ("state-0.safetensors",),
        ("state-0.json", "state-1.json"),
        ("state-0.json", "state-1.json", "state-0.safetensors", "state-1.safetensors"),
    ],
    ids=lambda names: "+".join(names),
)
def test_a_run_goes_on_from_a_state_that_is_its_own_or_not_at_all(
    intact, half, names, damage, tmp_path, monkeypatch
):
    _, expected = intact
    copy(half, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    one, two = sorted({path.parent for path in STORE.glob("runs/*/state-?.json")})[:2]
    files = [one / name for name in names]
    for file in files:
        damage(file, two / file.name)
    with permissions_count() if damage is not_readable else nullcontext():
        for question in QUESTIONS[:-1]:
            check(say(*question), files, (names, damage.__name__, question))
        ended = run_all()
        check(Ended(min(ended.code, 2) and 2, ended.lines), files, (names, damage.__name__))
    for file in files:
        file.chmod(0o644) if file.exists() else None
    for _ in range(4):
        if ended.code == 0:
            break
        assert "forget" in ended.said or damage is not_readable, ended
        for command in re.findall(r"`soteacher (forget \S+ --store \S+ --yes)`", ended.said):
            say(*command.split())
        ended = run_all()
    assert ended.code == 0, ended
    assert content() == expected
