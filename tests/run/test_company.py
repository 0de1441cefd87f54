"""What a run becomes depends on its own settings alone, never on the runs beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soteacher.core.cursor import Cursor, Stage
from soteacher.training.job import run_job
from soteacher.training.members import JobOptions
from soteacher.training.setup import PassSetup
from soteacher.training.teacher import FrozenTeacher

SHORT = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}
FOUR = {
    "standard": {},
    "soteacher": {"lipschitz": {"weight": 1e-3}, "consistency": {}},
    "no_cr": {"lipschitz": {"weight": 1e-3}},
    "no_lr": {"consistency": {"ramp": "cosine"}},
}
THREE = {
    "kd": {},
    "cold": {"method": "kd", "temperature": 1.0},
    "labels": {"method": "kd", "ce": 0.9, "kd": 0.1},
}


def apart(lab, jobs):
    """Entries of all runs, trained job by job in a copy of the lab."""
    copy = lab.copy()
    entries = {}
    for runs in jobs:
        entries |= copy.run(runs)
    return entries


def backwards(lab, runs):
    """Entries of all runs, trained in one job under names that turn their order around."""
    names = [f"run{len(runs) - place}" for place in range(len(runs))]
    entries = lab.copy().run(replace(run, id=name) for run, name in zip(runs, names, strict=True))
    return {run.id: entries[name] for run, name in zip(runs, names, strict=True)}


def assert_all_done_and_different(entries):
    weights = {entry["artifacts"]["weights.safetensors"] for entry in entries.values()}
    assert len(weights) == len(entries)
    assert {entry["status"] for entry in entries.values()} == {"done"}


def test_teachers_in_company_are_the_same_as_alone_in_any_order_and_partition(lab):
    teachers, _ = lab.plan(teachers=FOUR)
    together = apart(lab, [teachers])
    assert len(together) == 4
    assert_all_done_and_different(together)
    assert apart(lab, [[teacher] for teacher in teachers]) == together
    assert apart(lab, [teachers[:1], teachers[1:]]) == together
    assert apart(lab, [teachers[2:], teachers[:2]]) == together
    assert backwards(lab, teachers) == together


def test_students_in_company_are_the_same_as_alone_in_any_order_and_partition(lab):
    teachers, students = lab.plan(distillers=THREE)
    lab.run(teachers)
    together = apart(lab, [students])
    assert len(together) == 3
    assert_all_done_and_different(together)
    assert apart(lab, [[student] for student in students]) == together
    assert apart(lab, [students[1:], students[:1]]) == together
    assert backwards(lab, students) == together


def test_students_of_other_epochs_and_batches_share_a_job_without_a_trace(lab):
    pair = {"data": "few", "teacher_recipe": "short"}
    teachers, students = lab.plan(
        recipes={
            "short": SHORT,
            "long": SHORT | {"epochs": 4},
            "small": SHORT | {"batch": 24},
        },
        pairs={
            "wrn_10_2/wrn_10_1": {**pair, "student_recipe": "short"},
            "wrn_10_2/wrn_10_2": {**pair, "student_recipe": "long"},
            "wrn_10_2/wrn_16_1": {**pair, "student_recipe": "small"},
        },
        distillers={"kd": {}, "cold": THREE["cold"]},
    )
    lab.run(teachers)
    together = apart(lab, [students])
    assert len(together) == 6
    assert_all_done_and_different(together)
    assert apart(lab, [[student] for student in students]) == together
    assert backwards(lab, students) == together


def test_several_seeds_and_teachers_share_a_job_without_a_trace(lab):
    teachers, students = lab.plan(seeds=[0, 1], teachers={"standard": {}, "no_cr": FOUR["no_cr"]})
    alone = apart(lab, [[teacher] for teacher in teachers])
    assert lab.run(teachers) == alone
    together = apart(lab, [students])
    assert len(alone) == len(together) == 4
    assert_all_done_and_different(alone | together)
    assert apart(lab, [[student] for student in students]) == together


@pytest.mark.parametrize("company", [1, 3])
def test_the_teacher_sees_each_batch_once_for_all_its_students(lab, monkeypatch, company):
    teachers, students = lab.plan(distillers=THREE)
    lab.run(teachers)
    moments = []

    def counted(teacher, batch):
        moments.append(batch.cursor)
        return asked(teacher, batch)

    asked = FrozenTeacher.__call__
    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    lab.run(students[:company])
    assert [(at.epoch, at.step) for at in moments] == [(e, s) for e in range(3) for s in range(2)]


def test_a_run_that_joins_others_late_is_the_same_as_alone(lab, kill):
    teachers, students = lab.plan(distillers=THREE)
    lab.run(teachers)
    together = apart(lab, [students])
    with kill("/cold", Cursor(Stage.MAIN, 1, 0)):
        lab.run([run for run in students if run.id.endswith("/cold")], save_every=0)
    assert lab.run(students) == together
    begun = {run.id: [a["from"] for a in lab.record(run)["attempts"]] for run in students}
    assert sorted(begun.values()) == [
        [["MAIN", 0, 0]],
        [["MAIN", 0, 0]],
        [["MAIN", 0, 0], ["MAIN", 1, 0]],
    ]


def test_runs_that_are_the_same_under_two_names_are_trained_once(lab):
    teachers, _ = lab.plan(teachers={"standard": {}, "plain": {"table5": "soteacher"}})
    manifest = lab.run(teachers)
    assert len(manifest) == 2
    first, second = manifest.values()
    assert first["fingerprint"] == second["fingerprint"]
    assert first == second
    assert len(list(lab.store.glob("runs/*/run.json"))) == 1


def test_from_the_second_attempt_on_runs_are_trained_one_by_one_to_the_same_bits(lab, monkeypatch):
    runs, _ = lab.plan(teachers={"standard": {}, "soteacher": {"consistency": {}}})
    together = lab.copy().run(runs)
    sizes = []
    made = PassSetup.__init__

    def counted(trainer, members, *arguments):
        sizes.append(len(members))
        made(trainer, members, *arguments)

    monkeypatch.setattr(PassSetup, "__init__", counted)
    how = JobOptions(lab.store, lab.device, 1, True, 60.0, one_by_one=True)
    asked = {run.id: {"spec": run.spec.to_json()} for run in runs}
    assert run_job(asked, lab.data, {}, how)["runs"] == together
    assert sizes == [1, 1]
