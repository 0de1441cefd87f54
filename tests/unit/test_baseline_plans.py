"""Students alone and oracles in a study file: their runs, their cells, and what is refused."""

from __future__ import annotations

import pytest
from changed_study import changed_study

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.study.cost import gpu_bytes, pass_flop
from soteacher.study.expand import expand, expand_possible
from soteacher.study.load import read
from soteacher.study.summary import page_summary

OUTLINE = Outline(n_train=100, n_test=10, height=8, width=8, n_classes=10)
PAIR = {"data": "known", "teacher_recipe": "short", "student_recipe": "long"}
STUDY = {
    "study": "baselines",
    "seeds": [0, 1],
    "data": {"known": {"source": "digits", "true_labels": {"confusion": 0.3}}},
    "recipes": {
        "short": {"epochs": 4, "batch": 32, "lr": 0.1, "decay_at": [], "keep_every": 2},
        "long": {"epochs": 8, "batch": 16, "lr": 0.2, "decay_at": [4], "keep_every": 2},
    },
    "pairs": {"wrn_10_2/wrn_10_1": PAIR, "wrn_16_1/wrn_10_1": PAIR},
    "teachers": {"standard": {}, "oracle": {"oracle": True}},
    "distillers": {"kd": {}, "pure": {"method": "kd", "ce": 0, "kd": 1}},
    "tables": {
        "one": {
            "kind": "accuracy",
            "teachers": ["standard", "oracle"],
            "distillers": ["kd"],
            "alone": True,
        }
    },
}
OF_PROBABILITIES = ("kd", "dist", "dkd")
"""The distillers that need no more of a teacher than the probabilities of its predictions."""
ALONE = ["known/wrn_10_1/alone/seed0", "known/wrn_10_1/alone/seed1"]


def changed(**values):
    return changed_study(STUDY, values)


def runs(**values):
    return expand(read(changed(**values))).runs


def oracle(**values):
    return runs(**values)["known/true_labels/oracle/seed0"].spec


def refusal(**values):
    with pytest.raises(UserError) as refused:
        expand(read(changed(**values)))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_student_alone_is_trained_once_per_network_and_seed():
    """However many pairs, teacher methods and distillers the table has."""
    alone = [run for run in runs().values() if run.id.split("/")[2] == "alone"]
    assert [run.id for run in alone] == ALONE
    assert [run.spec.seed for run in alone] == [0, 1]
    assert all(run.teacher is None and run.role == "teacher" for run in alone)


def test_a_student_alone_is_its_network_trained_by_the_student_s_recipe_with_labels_alone():
    """The same run as a Standard teacher of that network, recipe and data, without checkpoints."""
    recipe = STUDY["recipes"]["long"] | {"keep_every": 0}
    as_teacher = runs(
        recipes={"alone": recipe},
        pairs={"wrn_10_1/wrn_16_1": PAIR | {"teacher_recipe": "alone"}},
    )["known/wrn_10_1/standard/seed1"]
    assert runs()[ALONE[1]].spec.sha256 == as_teacher.spec.sha256
    assert runs()[ALONE[0]].spec.sha256 != as_teacher.spec.sha256


@pytest.mark.parametrize("kind", ["accuracy", "truth_distance"])
def test_the_row_of_students_alone_has_no_runs_of_teachers(kind):
    columns = ["student.top1", "teacher.top1" if kind == "accuracy" else "teacher.test_distance"]
    plan = expand(read(changed(tables={"one": {"kind": kind, "columns": columns}})))
    row = {c.column: [r.id for r in c.runs] for c in plan.contents["one"].cells if c.row == "alone"}
    assert {tuple(ids) for column, ids in row.items() if "student" in column} == {tuple(ALONE)}
    assert all(not ids for column, ids in row.items() if "teacher." in column)
    others = {c.column for c in plan.contents["one"].cells if c.row == "standard"}
    assert row.keys() == others
    [*cells] = plan.contents["one"].record()["cells"]
    assert {c["role"] for c in cells if c["row"] == "alone"} == {"teacher", ""}
    assert not any(c["papers"] for c in cells if c["row"] == "alone")


def test_the_row_of_students_alone_in_a_table_of_distillers_has_the_same_runs_for_each_method():
    plan = expand(read(changed(tables={"one": {"kind": "distillers"}})))
    cells = [cell for cell in plan.contents["one"].cells if cell.row == "alone"]
    assert [cell.column for cell in cells] == [
        f"{pair} {method}" for pair in STUDY["pairs"] for method in STUDY["teachers"]
    ]
    assert all([run.id for run in cell.runs] == ALONE for cell in cells)
    assert {cell.measure for cell in cells} == {"top1"}


def test_without_alone_no_student_is_trained_alone():
    plan = expand(read(changed(tables={"one": {"alone": False}})))
    assert not any("/alone/" in run for run in plan.runs)
    assert "alone" not in {cell.row for cell in plan.contents["one"].cells}


def test_a_teacher_method_named_alone_is_refused_beside_the_row_of_that_name():
    assert "the row of students alone is named 'alone'" in refusal(teachers={"alone": {}})
    both = {"teachers": {"alone": {}}, "tables": {"one": {"alone": False}}}
    assert expand(read(changed(**both))).runs


def test_the_page_counts_students_alone_apart():
    [size, *_] = page_summary(expand(read(changed())))["facts"]
    # for each seed two of Standard and an oracle, which the pairs share as they share the student
    assert size.startswith("The study needs 6 teachers, 6 students and 2 students alone, over")
    [size, *_] = page_summary(expand(read(changed(tables={"one": {"alone": False}}))))["facts"]
    assert size.startswith("The study needs 6 teachers and 6 students, over")


def test_an_oracle_is_one_run_per_data_set_and_seed_for_all_pairs():
    found = [run for run in runs() if "/oracle/" in run and "wrn" not in run]
    assert found == ["known/true_labels/oracle/seed0", "known/true_labels/oracle/seed1"]


@pytest.mark.parametrize(
    "irrelevant",
    [
        {"recipes": {"short": {"epochs": 5, "lr": 0.3, "keep_every": 0}}},
        {"data": {"known": {"augment": {"crop_padding": 2, "flip": 0.5}}}},
        {"precision": "bfloat16"},
        {"pairs": {"wrn_10_2/wrn_10_1": {"teacher": "wrn_16_2"}}},
        {"teachers": {"oracle": {"table5": "soteacher"}}},
    ],
)
def test_the_spec_of_an_oracle_does_not_depend_on_what_only_matters_in_training(irrelevant):
    assert oracle(**irrelevant).sha256 == oracle().sha256


def test_the_spec_of_an_oracle_depends_on_the_data():
    other = {"data": {"known": {"true_labels": {"confusion": 0.2}}}}
    assert oracle(**other).sha256 != oracle().sha256
    assert oracle().data.true_labels.confusion == 0.3


def test_an_oracle_and_standard_are_different_runs_although_neither_has_regularizers():
    specs = {run.spec.sha256 for run in runs().values() if run.spec.seed == 0}
    assert len(specs) == len([run for run in runs().values() if run.spec.seed == 0])
    assert not runs()["known/wrn_10_2/standard/seed0"].spec.is_oracle


def test_two_names_of_an_oracle_are_one_run():
    two = {"teachers": {"truth": {"oracle": True}}, "tables": {"one": {"teachers": ["truth"]}}}
    assert "known/true_labels/oracle/seed0" in runs(**two)
    assert not any("/truth/" in run for run in runs(**two))


def test_an_oracle_costs_nothing_and_its_students_do_not_pay_for_a_teacher():
    assert pass_flop([oracle()], OUTLINE) == [0]
    of_oracle, of_standard = (
        runs()[f"known/{teacher}/seed0/wrn_10_1/kd"].spec
        for teacher in ("true_labels/oracle", "wrn_10_2/standard")
    )
    alone = runs()[ALONE[0]].spec
    assert pass_flop([of_oracle], OUTLINE) == pass_flop([alone], OUTLINE)
    assert pass_flop([of_oracle], OUTLINE)[0] < pass_flop([of_standard], OUTLINE)[0]
    assert gpu_bytes([of_oracle], OUTLINE) == gpu_bytes([alone], OUTLINE)


def test_pure_is_kd_without_the_labels():
    [term] = runs(tables={"one": {"distillers": ["pure"]}})[
        "known/true_labels/oracle/seed0/wrn_10_1/pure"
    ].spec.loss_terms()
    assert (term.ce, term.kd, term.temperature) == (0, 1, 4)


def test_an_oracle_needs_known_distributions():
    line = refusal(data={"known": {"true_labels": None}})
    assert line == (
        "the oracle 'oracle' predicts true label distributions, which are not known of 'known'; "
        "set the data set's `true_labels`, or leave out 'oracle' or the pairs with this data set"
    )


def test_an_oracle_has_no_regularizers():
    line = refusal(teachers={"oracle": {"lipschitz": {}, "crl": {}}})
    assert line == (
        "study.teachers.oracle: an oracle is not trained, so it has no regularizers; leave out "
        "'lipschitz', 'crl', or `oracle`"
    )


@pytest.mark.parametrize("name", sorted({*registry.shipped("distiller")} - {*OF_PROBABILITIES}))
def test_a_distiller_that_needs_more_than_logits_is_refused_by_name(name):
    line = refusal(
        distillers={name: {}}, tables={"one": {"teachers": ["oracle"], "distillers": [name]}}
    )
    assert line.startswith(f"one: {name} needs more of its teacher than each image's probabilities")
    assert "known/true_labels/oracle/seed0" in line


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_a_distiller_of_probabilities_learns_from_an_oracle(name):
    block = {"teachers": ["oracle"], "distillers": [name]}
    assert f"known/true_labels/oracle/seed0/wrn_10_1/{name}" in runs(
        distillers={name: {}}, tables={"one": block}
    )


def test_a_distiller_that_extends_kd_does_not_inherit_that_logits_are_enough(monkeypatch):
    from soteacher.distillers.kd import KD

    class Hungry(KD):
        pass

    study = read(changed())
    hungry = study.distillers["kd"].model_copy(update={"distiller": Hungry()})
    study = study.model_copy(update={"distillers": {"kd": hungry}})
    with pytest.raises(UserError, match="kd needs more of its teacher"):
        expand(study)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ("figures", {"kind": "checkpoints", "distillers": ["kd"], "every": 2}),
        ("figures", {"kind": "curves", "distillers": ["kd"]}),
        ("tables", {"kind": "overhead"}),
    ],
)
def test_what_shows_training_refuses_an_oracle(part, block):
    asked = block | {"teachers": ["standard", "oracle"]}
    line = refusal(**{part: {"asked": asked}})
    assert line == (
        f"study.{part}.asked.teachers: expected methods that are trained; 'oracle' is an oracle, "
        "leave it out"
    )


def test_a_sweep_has_no_settings_of_an_oracle_to_change():
    sweep = {"kind": "sweep", "base": "oracle", "teachers": ["standard"], "distillers": ["kd"]}
    asked = sweep | {"vary": {"lipschitz.weight": [0.1]}}
    assert "unknown regularizer of the base 'lipschitz'" in refusal(figures={"asked": asked})


def test_a_refused_oracle_leaves_the_other_tables():
    other = {"kind": "calibration", "teachers": ["standard"]}
    no_truth = changed(data={"known": {"true_labels": None}}, tables={"other": other})
    plan = expand_possible(read(no_truth))
    assert set(plan.impossible) == {"one"}
    assert set(plan.contents) == {"other"}
