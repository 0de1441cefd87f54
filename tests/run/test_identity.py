"""What lies in a run's folder is that run's own, or it is refused by name."""

from __future__ import annotations

import json
import shutil

import pytest

from soteacher.core.errors import Damaged, RunsFailed
from soteacher.core.sealed import write_sealed
from soteacher.training.learner import Learner

KEEPING = {
    "recipes": {"short": {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2], "keep_every": 1}}
}
TWO = {"teachers": {"standard": {}, "mine": {"l1": {"weight": 1e-4}}}}


class Halted(RuntimeError):
    """The end of an attempt that a test breaks off."""


def halt(lab, runs, monkeypatch, epoch: int) -> None:
    """Train runs with a state at every step, and let all of them fail in an epoch."""
    step = Learner.step

    def broken(learner, batch, teacher):
        if batch.cursor.epoch == epoch:
            raise Halted("this attempt ends here")
        step(learner, batch, teacher)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", broken)
        with pytest.raises(RunsFailed):
            lab.run(runs, save_every=0)


def test_the_files_of_another_run_are_not_published_as_this_one(lab):
    teachers, _ = lab.plan(**TWO)
    lab.run(teachers)
    one, other = (lab.folder(run) for run in teachers)
    shutil.rmtree(one.path)
    shutil.copytree(other.path, one.path)
    with pytest.raises(Damaged, match=f"record of {one.id}.* is of another run: {other.id}") as no:
        lab.run(teachers)
    assert f"soteacher forget {one.path.name[:12]}" in str(no.value)
    with pytest.raises(Damaged, match=f"is of another run: {other.id}"):
        one.artifact("weights.safetensors")


def test_a_record_whose_spec_was_changed_is_of_another_run(lab):
    [teacher], _ = lab.plan()
    lab.run([teacher])
    folder = lab.folder(teacher)
    record = folder.record()
    record["spec"]["seed"] = 1
    write_sealed(folder.path / "run.json", record)
    with pytest.raises(Damaged, match="is of another run"):
        folder.record()


@pytest.mark.parametrize("names", [["state-0"], ["state-1"], ["state-0", "state-1"]])
def test_the_states_of_another_run_are_never_trained_on(lab, monkeypatch, names):
    teachers, _ = lab.plan(**TWO)
    expected = lab.elsewhere([teachers])
    halt(lab, teachers, monkeypatch, epoch=2)
    one, other = (lab.folder(run) for run in teachers)
    for name in names:
        for suffix in (".json", ".safetensors"):
            shutil.copy(other.path / f"{name}{suffix}", one.path / f"{name}{suffix}")
    if len(names) == 2:
        with pytest.raises(RunsFailed, match=f"1 of 2 runs failed: {one.id}"):
            lab.run(teachers)
        why = one.failure()["why"]
        assert f"all saved states of {one.id}" in why and "soteacher forget" in why
        assert lab.record(teachers[1])["artifacts"] == expected[other.id]["artifacts"]
        shutil.rmtree(one.path)
    assert lab.run(teachers) == expected


@pytest.mark.parametrize("change", ["cursor", "history", "checkpoints", "serial"])
def test_a_changed_fact_of_a_state_makes_it_a_damaged_one(lab, monkeypatch, caplog, change):
    [teacher], _ = lab.plan(**KEEPING)
    expected = lab.elsewhere([[teacher]])
    halt(lab, [teacher], monkeypatch, epoch=2)
    folder = lab.folder(teacher)
    path = max(
        folder.path.glob("state-?.json"), key=lambda path: json.loads(path.read_text())["serial"]
    )
    values = json.loads(path.read_text())
    changed = {"cursor": ["MAIN", 1, 0], "history": [], "checkpoints": {}, "serial": 1}
    path.write_text(json.dumps(values | {change: changed[change]}))
    assert folder.progress()["serial"] == values["serial"] - 1
    assert lab.run([teacher]) == expected
    assert "ignoring a saved state" in caplog.text and path.name in caplog.text


def test_a_checkpoint_that_changed_before_its_run_ended_is_refused_and_not_recorded(
    lab, monkeypatch
):
    [teacher], _ = lab.plan(**KEEPING)
    expected = lab.elsewhere([[teacher]])
    halt(lab, [teacher], monkeypatch, epoch=2)
    folder = lab.folder(teacher)
    checkpoint = folder.path / "checkpoints/epoch0001.safetensors"
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(bytes(data))
    with pytest.raises(RunsFailed):
        lab.run([teacher])
    assert f"{checkpoint} is missing or has changed since it was written" in folder.failure()["why"]
    assert folder.record() is None
    shutil.rmtree(folder.path)
    assert lab.run([teacher]) == expected


def test_a_line_that_a_kill_truncated_spoils_no_later_attempt(lab):
    [teacher], _ = lab.plan()
    folder = lab.folder(teacher)
    folder.path.mkdir(parents=True)
    assert folder.begin_attempt({}) == 1
    path = folder.path / "attempts.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:30])
    assert folder.begin_attempt({"number": 2}) == 2
    assert folder.attempts()[-1]["number"] == 2
    other = path.read_text().replace(folder.fingerprint, "0" * 64)
    path.write_text(path.read_text() + other)
    assert len(folder.attempts()) == 2


def test_a_description_that_is_damaged_is_written_again(lab):
    [teacher], _ = lab.plan()
    lab.run([teacher])
    folder = lab.folder(teacher)
    path = folder.path / "spec.json"
    before = path.read_bytes()
    path.write_text("{")
    (folder.path / "run.json").unlink()
    lab.run([teacher])
    assert path.read_bytes() == before
