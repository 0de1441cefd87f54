"""What can be read of a run while it trains: progress.csv, and loggers, which change nothing."""

from __future__ import annotations

import csv
import io
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from test_status import WARMED

from soteacher.cli.training import LOGGERS as OF_THE_COMMAND
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.study.runs import Job
from soteacher.study.schema import Head
from soteacher.training.job import run_job
from soteacher.training.learner import Learner
from soteacher.training.loggers import LOGGERS
from soteacher.training.members import JobOptions
from soteacher.training.progress_file import ProgressFile

TWO = {"kd": {}, "warmed": {}}


@pytest.fixture
def seen(monkeypatch) -> list[tuple[Path, str, list[dict[str, Any]]]]:
    """Path and content of progress.csv and the history, after each epoch of every run."""
    found = []
    end_epoch = ProgressFile.end_epoch

    def noted(self, history):
        end_epoch(self, history)
        found.append((self._path, self._path.read_text(encoding="utf-8"), [*history]))

    monkeypatch.setattr(ProgressFile, "end_epoch", noted)
    return found


class Fake:
    """Stands for the packages of both loggers; it notes what they are told."""

    def __init__(self, monkeypatch) -> None:
        self.opened: dict[str, dict[str, Any]] = {}
        self.logged: list[tuple[str, int, str, Any]] = []
        """Name of the run, step, column, value."""
        self.closed: list[str] = []
        self.fails_at, self.opens = 0, True
        """The step that fails; whether a run can be opened."""
        self.tries = 0
        board, torch_part = ModuleType("tensorboard"), ModuleType("torch.utils.tensorboard")
        torch_part.SummaryWriter = lambda place, purge_step: self._open(place, purge=purge_step)
        wandb = ModuleType("wandb")
        wandb.Settings, wandb.setup = dict, lambda settings: None
        wandb.init = lambda **given: self._open(given["name"], **given)
        for module in (board, torch_part, wandb):
            module.__spec__ = ModuleSpec(module.__name__, None)
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def _open(self, name: str, /, **given: Any) -> _FakeRun:
        self.tries += 1
        if not self.opens:
            raise ConnectionError("no server\nanswers")
        self.opened[name] = given
        return _FakeRun(self, name)


class _FakeRun:
    """A writer of TensorBoard and a run of Weights & Biases."""

    def __init__(self, fake: Fake, name: str) -> None:
        self.fake, self.name = fake, name

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.fake.opened[self.name][tag] = text

    def add_scalar(self, column: str, value: float, step: int) -> None:
        if step == self.fake.fails_at:
            raise OSError("no space left")
        self.fake.logged.append((self.name, step, column, value))

    def log(self, row: dict[str, Any], step: int) -> None:
        for column, value in row.items():
            self.add_scalar(column, value, step)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.fake.closed.append(self.name)

    finish = close


@pytest.fixture
def fake(monkeypatch) -> Fake:
    return Fake(monkeypatch)


def train(lab, runs, results: Path, *loggers: str) -> dict[str, dict[str, Any]]:
    """Run one job with loggers; return its entries."""
    how = JobOptions(lab.store, lab.device, 1, True, 60.0, loggers=loggers, results=results)
    entries = run_job(Job("", "", "", tuple(runs)).request, lab.data, lab.entries, how)["runs"]
    lab.entries |= entries
    return entries


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def as_text(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What csv reads of a history: texts, empty where a row lacks a column of another."""
    columns = {name for row in history for name in row}
    return [{name: str(row.get(name, "")) for name in columns} for row in history]


def test_epochs_can_be_read_as_they_end_and_the_last_file_is_the_history(lab, add_part, seen):
    add_part("distiller", "warmed", WARMED)
    teachers, students = lab.plan(distillers=TWO)
    lab.run(teachers)
    lab.run(students)
    for run in [*teachers, *students]:
        folder = lab.folder(run)
        texts = [text for path, text, _ in seen if path.parent == folder.path]
        # the first stage of `warmed` has two epochs and other columns
        assert [len(rows_of(text)) for text in texts] == [*range(1, len(texts) + 1)]
        assert len(texts) == (5 if "warmed" in run.id else 3)
        assert texts[-1].encode() == folder.artifact("history.csv").read_bytes()
        assert not folder.progress_file.exists()
    assert all(rows_of(text) == as_text(history) for _, text, history in seen)


@pytest.mark.parametrize("save_every", [0, 600], ids=["the last step", "the start"])
def test_a_run_that_is_killed_and_resumed_has_no_epoch_twice_and_none_is_lost(
    lab, kill, seen, save_every
):
    [teacher], _ = lab.plan()
    folder = lab.folder(teacher)
    with kill(teacher.id, Cursor(Stage.MAIN, 1, 1)):
        lab.run([teacher], save_every=save_every)
    with open(folder.progress_file, "a", encoding="utf-8") as file:
        file.write("main,2,0.0")  # a kill truncated the row
    killed = len(seen)
    assert [len(rows_of(text)) for _, text, _ in seen] == [1, 2]
    resumed_from = len((folder.progress() or {})["history"])
    assert resumed_from == (0 if save_every else 1)
    lab.run([teacher])
    after = [len(rows_of(text)) for _, text, _ in seen[killed:]]
    assert after == [*range(resumed_from + 1, 4)]
    assert all(rows_of(text) == as_text(history) for _, text, history in seen)
    assert seen[-1][1].encode() == folder.artifact("history.csv").read_bytes()
    assert not folder.progress_file.exists()


def test_a_run_that_stops_keeps_the_file_and_tail_can_go_on_with_it(lab, kill, add_part):
    add_part("distiller", "warmed", WARMED)
    teachers, [student] = lab.plan(distillers={"warmed": {}})
    lab.run(teachers)
    path = lab.folder(student).progress_file
    with kill(student.id, Cursor(Stage.PREPARE, 1, 1)):
        lab.run([student], save_every=0)
    before = path.stat().st_ino
    with kill(student.id, Cursor(Stage.MAIN, 0, 1)):
        lab.run([student], save_every=0)
    assert [row["stage"] for row in rows_of(path.read_text())] == ["prepare", "prepare", "main"]
    assert path.stat().st_ino == before


def test_a_run_that_diverges_leaves_its_history_alone(lab, straying):
    [teacher], _ = lab.plan(teachers={"standard": {"straying": {"epoch": 1}}})
    assert lab.run([teacher])[teacher.id]["status"] == "diverged"
    assert len(lab.history(teacher)) == 1
    assert not lab.folder(teacher).progress_file.exists()


def test_loggers_get_the_history_and_the_settings_and_change_no_bit(lab, add_part, fake, tmp_path):
    add_part("distiller", "warmed", WARMED)
    teachers, students = lab.plan(distillers=TWO)
    runs = [*teachers, *students]
    without = lab.elsewhere([teachers, students])
    results = tmp_path / "demo"
    train(lab, teachers, results, "tensorboard", "wandb")
    train(lab, students, results, "tensorboard", "wandb")
    assert lab.entries == without
    places = {run.id: str(results / "tensorboard" / run.id) for run in runs}
    assert {*fake.opened} == {*places, *places.values()}
    assert sorted(fake.closed) == sorted(fake.opened)
    for run in runs:
        given, board = fake.opened[run.id], fake.opened[places[run.id]]
        assert given["config"]["spec"] == run.spec.to_json()
        assert f'"fingerprint": "{lab.folder(run).fingerprint}"' in board["settings"]
        assert given["project"] == "demo" and given["mode"] == "offline"
        assert given["dir"] == results and board["purge"] == 1
        rows = lab.history(run)
        expected = {
            (step, column, value)
            for step, row in enumerate(rows, 1)
            for column, value in row.items()
            if value
        }
        of_wandb, of_board = (
            {(step, column, str(value)) for at, step, column, value in fake.logged if at == name}
            for name in (run.id, places[run.id])
        )
        assert of_wandb == expected
        assert of_board == {entry for entry in expected if entry[1] != "stage"}


def test_a_resumed_run_continues_what_was_logged(lab, kill, fake, tmp_path):
    [teacher], _ = lab.plan()
    with kill(teacher.id, Cursor(Stage.MAIN, 1, 0)):
        lab.run([teacher], save_every=0)
    train(lab, [teacher], tmp_path, "tensorboard", "wandb")
    place = str(tmp_path / "tensorboard" / teacher.id)
    assert {step for at, step, *_ in fake.logged if at == place} == {2, 3}
    assert fake.opened[place]["purge"] == 2
    assert fake.opened[teacher.id]["resume"] == "allow"
    assert fake.opened[teacher.id]["id"] == lab.folder(teacher).path.name


def test_the_user_s_mode_and_project_of_wandb_are_kept(lab, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    [teacher], _ = lab.plan()
    train(lab, [teacher], tmp_path, "wandb")
    given = fake.opened[teacher.id]
    assert (given["mode"], given["project"]) == ("online", "ours")


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("name", sorted(LOGGERS))
def test_a_logger_that_fails_warns_once_and_training_goes_on(lab, fake, name, tmp_path, caplog):
    [teacher], _ = lab.plan()
    without = lab.elsewhere([[teacher]])
    fake.fails_at = 2
    assert train(lab, [teacher], tmp_path, name) == without
    assert warnings_of(caplog) == [
        f"{teacher.id}: {name} failed, training continues without it: OSError: no space left"
    ]
    assert {step for _, step, *_ in fake.logged} == {1}


def test_a_logger_that_cannot_be_opened_is_tried_once_in_a_job(lab, fake, tmp_path, caplog):
    teachers, _ = lab.plan(seeds=[0, 1])
    assert len(teachers) == 2
    fake.opens = False
    entries = train(lab, teachers, tmp_path, "wandb")
    assert {entry["status"] for entry in entries.values()} == {"done"}
    assert fake.tries == 1
    [warning] = warnings_of(caplog)
    assert warning.endswith("without it: ConnectionError: no server answers")


def test_a_progress_file_that_cannot_be_written_stops_nothing(lab, tmp_path, caplog):
    [teacher], _ = lab.plan()
    without = lab.elsewhere([[teacher]])
    folder = lab.folder(teacher)
    folder.path.mkdir(parents=True)
    folder.progress_file.symlink_to(tmp_path / "nowhere" / "progress.csv")
    unlink = Path.unlink

    def kept(path, missing_ok=False):
        if path != folder.progress_file or folder.finished():
            unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "unlink", kept)
        assert lab.run([teacher]) == without
    [warning] = warnings_of(caplog)
    assert warning.startswith(f"{teacher.id}: progress.csv failed, training continues without it: ")


def test_a_missing_package_is_said_before_training_unless_nothing_is_trained(
    lab, tmp_path, monkeypatch
):
    [teacher], _ = lab.plan()
    for name in LOGGERS:
        monkeypatch.setitem(sys.modules, name, None)
    message = (
        r"the study has loggers: \[wandb, tensorboard\], but wandb and tensorboard cannot be "
        "imported; install .* `pip install wandb tensorboard`, or remove .* `loggers`"
    )
    with pytest.raises(UserError, match=message):
        train(lab, [teacher], tmp_path, "wandb", "tensorboard")
    assert not lab.folder(teacher).attempts()
    lab.run([teacher])
    assert train(lab, [teacher], tmp_path, "wandb")[teacher.id]["status"] == "done"


def test_studies_the_command_and_training_have_the_same_loggers():
    [names, _] = get_args(Head.model_fields["loggers"].annotation)
    assert {*get_args(names)} == {*OF_THE_COMMAND} == {*LOGGERS}


@pytest.mark.skipif(not find_spec("tensorboard"), reason="needs tensorboard")
def test_tensorboard_shows_the_history_of_a_resumed_run_once(lab, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [teacher], _ = lab.plan()
    end_epoch, ended = Learner._end_epoch, []

    def last_epoch(learner, cursor):
        end_epoch(learner, cursor)
        ended.append(cursor.epoch)
        if ended == [0, 1]:
            raise KeyboardInterrupt  # after two epochs, of which no state is saved

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Learner, "_end_epoch", last_epoch)
        train(lab, [teacher], tmp_path, "tensorboard")
    train(lab, [teacher], tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard" / teacher.id)).Reload()
    rows = lab.history(teacher)
    assert {*events.Tags()["scalars"]} == {*rows[0]} - {"stage"}
    for column in events.Tags()["scalars"]:
        found = [(event.step, event.value) for event in events.Scalars(column)]
        expected = [(step, float(row[column])) for step, row in enumerate(rows, 1)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("wandb"), reason="needs wandb")
def test_wandb_works_offline_with_several_runs_at_once(lab, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    teachers, _ = lab.plan(seeds=[0, 1])
    without = lab.elsewhere([teachers])
    assert train(lab, teachers, tmp_path, "wandb") == without
    for run in teachers:
        [logged] = tmp_path.glob(f"wandb/offline-run-*/run-{lab.folder(run).path.name}.wandb")
        content = logged.read_bytes()
        assert run.id.encode() in content
        assert content.count(b"test_top1") >= 3  # one per epoch
