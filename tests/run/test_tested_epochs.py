"""A recipe that tests every few epochs: the same weights, and fewer tests."""

from __future__ import annotations

import pytest
from small_study import STUDY

from soteacher.results.collect import measure

EPOCHS = {"epochs": 7, "decay_at": [4], "keep_every": 3}


def trained(lab, **recipe):
    """A teacher and its student, trained with a changed recipe in a store of their own."""
    copy = lab.copy()
    recipes = {"short": STUDY["recipes"]["short"] | EPOCHS | recipe}
    teachers, students = copy.plan(recipes=recipes)
    copy.run(teachers)
    copy.run(students)
    return copy, teachers[0], students[0]


@pytest.fixture
def both(lab):
    """The same runs, tested after each epoch and after every second one."""
    lab.store.mkdir()
    return trained(lab), trained(lab, test_every=2)


def test_fewer_tests_change_no_weights(both):
    each, second = both
    for role in (1, 2):
        first, other = (made[0].entries[made[role].id]["artifacts"] for made in (each, second))
        assert first.keys() == other.keys()
        same = {name for name in first if first[name] == other[name]}
        assert same == first.keys() - {"history.csv"}


def test_checkpoints_and_the_last_epoch_are_always_tested(both):
    (full_lab, *full_runs), (lab, *runs) = both
    for full_run, run, tested in zip(full_runs, runs, ({2, 3, 4, 6, 7}, {2, 4, 6, 7}), strict=True):
        full = {row["epoch"]: row["test_top1"] for row in full_lab.history(full_run)}
        rows = lab.history(run)
        assert {int(row["epoch"]) for row in rows if row["test_top1"]} == tested
        found = {row["epoch"]: row["test_top1"] for row in rows if row["test_top1"]}
        assert found.items() <= full.items()
        assert lab.record(run)["last_test_top1"] == float(full["7"])


def test_measures_take_the_tested_epochs(both):
    _, (lab, teacher, _) = both
    found = measure({teacher.id: lab.entries[teacher.id]}, lab.data, lab.store)
    assert [row["epoch"] for row in found.epochs] == [*range(1, 8)]
    tested = [row["test_top1"] for row in found.epochs if row["test_top1"] != ""]
    assert len(tested) == 5
    assert found.runs[0]["best_top1"] == max(tested)
    assert found.runs[0]["top1"] == tested[-1]


def test_an_early_stopped_teacher_is_tested_after_each_epoch(lab):
    recipes = {"short": STUDY["recipes"]["short"] | {"epochs": 4, "test_every": 4}}
    [early], _ = lab.plan(recipes=recipes, teachers={"early": {"early_stop": True}})
    lab.run([early])
    assert all(row["test_top1"] for row in lab.history(early))
