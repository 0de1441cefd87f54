"""What a job does when the store cannot be written for a while, or holds what a kill left."""

from __future__ import annotations

import pytest

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import RunsFailed, UserError
from soteacher.regularizers.consistency import Consistency
from soteacher.store.run_folder import RunFolder

STRAY = {"stray": {"straying": {"step": 0, "silently": True}}}
"""After the first step weights are no longer finite, though its losses were."""


def test_a_divergence_is_recorded_alike_whenever_states_are_saved(lab, straying):
    """A save after the first step must not be the judge: the second one's losses are."""
    recipe = {"epochs": 3, "batch": 16, "lr": 0.05, "decay_at": [2]}
    [teacher], _ = lab.plan(teachers=STRAY, recipes={"short": recipe})
    often, seldom = lab.copy(), lab.copy()
    entry = often.run([teacher], save_every=0)[teacher.id]
    assert entry["diverged"]["step"] == 2
    assert entry == seldom.run([teacher], save_every=600)[teacher.id]


def test_the_last_good_state_of_what_diverged_at_once_is_its_first(lab, straying):
    recipe = {"epochs": 3, "batch": 16, "lr": 0.05, "decay_at": [2]}
    [teacher], _ = lab.plan(teachers=STRAY, recipes={"short": recipe})
    lab.run([teacher])
    tensors, info = lab.folder(teacher).load_state()
    assert info["cursor"] == ["MAIN", 0, 0]
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_state_that_cannot_be_written_once_ends_no_training(lab, monkeypatch, caplog):
    teachers, _ = lab.plan()
    expected = lab.copy().run(teachers)
    save, calls = RunFolder.save_state, []

    def unreliable(folder, tensors, info):
        calls.append(info["cursor"])
        if len(calls) == 3:
            raise UserError("cannot write: No space left on device")
        save(folder, tensors, info)

    monkeypatch.setattr(RunFolder, "save_state", unreliable)
    assert lab.run(teachers, save_every=0) == expected
    assert len(calls) > 4
    assert "the state is not saved, training continues: cannot write" in caplog.text


def test_what_killed_writers_left_is_removed_by_the_next_owner(lab):
    [teacher], _ = lab.plan()
    folder = lab.folder(teacher)
    (folder.path / "checkpoints").mkdir(parents=True)
    left = [folder.path / ".part-1", folder.path / "checkpoints/.part-2"]
    for path in left:
        path.write_bytes(b"half")
    lab.run([teacher])
    assert not any(path.exists() for path in left)


def test_a_finished_run_that_lost_an_artifact_is_trained_again_to_the_same_bits(lab):
    [teacher], _ = lab.plan()
    expected = lab.run([teacher])
    (lab.folder(teacher).path / "weights.safetensors").unlink()
    assert lab.run([teacher]) == expected
    assert len(lab.record(teacher)["attempts"]) == 2


def test_a_damaged_teacher_fails_its_own_students_only(lab):
    teachers, students = lab.plan(teachers={"standard": {}, "soteacher": {"consistency": {}}})
    lab.run(teachers)
    expected = lab.copy().run(students)
    weights = lab.folder(teachers[0]).path / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?")
    lost, fine = students
    with pytest.raises(UserError, match=f"1 of 2 runs failed: {lost.id};"):
        lab.run(students)
    assert lab.folder(lost).record() is None
    assert lab.folder(fine).record()["status"] == "done"
    weights.write_bytes(whole)
    assert lab.run(students) == expected


def test_which_checkpoints_a_teacher_keeps_is_no_part_of_its_students(lab):
    recipe = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}
    [kept], [same] = lab.plan(recipes={"short": recipe | {"keep_every": 1}})
    [bare], [bare_student] = lab.plan(recipes={"short": recipe})
    assert kept.spec != bare.spec
    assert same.spec == bare_student.spec
    lab.run([bare])
    expected = lab.run([bare_student])
    lab.run([kept])
    again = lab.run([same])[same.id]
    assert again["fingerprint"] == expected[bare_student.id]["fingerprint"]
    assert len(lab.record(bare_student)["attempts"]) == 1


def test_a_state_of_another_version_is_refused_with_what_to_do(lab, kill, monkeypatch):
    [run], _ = lab.plan(teachers={"mine": {"consistency": {}}})
    with kill(run.id, Cursor(Stage.MAIN, 1, 0)):
        lab.run([run], save_every=0)
    buffers = Consistency.buffers
    monkeypatch.setattr(
        Consistency, "buffers", lambda term: buffers(term) | {"more": buffers(term)["seen"]}
    )
    with pytest.raises(RunsFailed):
        lab.run([run])
    why = lab.folder(run).failure()["why"]
    assert "is from another version of soteacher: it lacks buffer.1.more int32 (64,); delete" in why
    assert f"`soteacher forget {lab.folder(run).path.name[:12]}`" in why
