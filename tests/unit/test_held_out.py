"""Teacher methods that hold out images, in a study: their roles, differences, costs and texts."""

from __future__ import annotations

import copy

import pytest

from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.study.claims_record import claims_record
from soteacher.study.contents import is_papers
from soteacher.study.cost import pass_flop, training_bytes
from soteacher.study.expand import expand
from soteacher.study.kinds.comparison import run_deviations
from soteacher.study.load import read
from soteacher.study.specs import RunSpec
from soteacher.study.summary import page_summary

OUTLINE = Outline(n_train=103, n_test=40, height=8, width=8, n_classes=10)
PAIR = {"data": "known", "teacher_recipe": "short", "student_recipe": "short"}
STUDY = {
    "study": "held_out",
    "seeds": [0, 1],
    "data": {"known": {"source": "digits", "true_labels": {"confusion": 0.3}}},
    "recipes": {"short": {"epochs": 4, "batch": 32, "lr": 0.1, "decay_at": []}},
    "pairs": {"wrn_10_2/wrn_10_1": PAIR},
    "teachers": {
        "early": {"early_stop": True},
        "early_again": {"early_stop": True},
        "standard": {},
        "soteacher": {"lipschitz": {}, "consistency": {}},
        "early_soteacher": {"lipschitz": {}, "consistency": {}, "early_stop": True},
    },
    "distillers": {"kd": {}},
}
STUDY["tables"] = {
    "one": {"kind": "accuracy", "teachers": [*STUDY["teachers"]], "distillers": ["kd"]}
}


@pytest.fixture(scope="module")
def plan():
    return expand(read(copy.deepcopy(STUDY)))


def spec(plan, method):
    return plan.runs[f"known/wrn_10_2/{method}/seed0"].spec


def test_equal_methods_are_one_run_and_others_are_not(plan):
    teachers = {run.method for run in plan.runs.values() if run.teacher is None}
    assert teachers == {"early", "standard", "soteacher", "early_soteacher"}
    assert len({spec(plan, method).sha256 for method in teachers}) == 4


def test_a_spec_comes_back_from_its_json(plan):
    for run in plan.runs.values():
        assert RunSpec.from_json(run.spec.to_json()) == run.spec
    values = spec(plan, "early").to_json()
    assert values["held_out"] == {"use": "early_stop", "folds": 10, "revision": 1}
    assert "held_out" not in spec(plan, "standard").to_json()


def test_a_spec_of_another_use_is_refused_in_one_line(plan):
    values = spec(plan, "early").to_json() | {"held_out": {"use": "luck", "folds": 3}}
    with pytest.raises(Exception, match="expected the spec of a run"):
        RunSpec.from_json(values)


def test_it_never_has_a_role_of_the_paper(plan):
    roles = {one["method"]: one["role"] for one in claims_record(plan)["methods"]}
    assert roles["standard"] == "standard" and roles["soteacher"] == "soteacher"
    assert roles["early"] == "early_stop"
    assert roles["early_soteacher"] == "soteacher+early_stop"


def test_it_never_is_the_paper_s_experiment(root):
    papers = yaml_of(root, "paper.yaml")
    papers["teachers"]["standard"] = {"early_stop": True}
    pair = {"pairs": ["wrn_40_2/wrn_40_1"], "teachers": ["standard"], "distillers": ["kd"]}
    papers["tables"], papers["figures"] = {"one": {"kind": "accuracy"} | pair}, {}
    for run in expand(read(papers)).runs.values():
        differing = run_deviations((run,), "standard", "kd" if run.teacher else "")
        assert not is_papers(differing)
        assert differing == (
            "early-stopped on one of 10 folds of the training images (not in the paper)",
        )


def yaml_of(root, name):
    import yaml

    return yaml.safe_load((root / "config" / name).read_text(encoding="utf-8"))


def test_the_costs_are_those_of_the_images_that_are_trained_and_tested(plan):
    forward = catalogue.flops("wrn_10_2", 8, 8, 10)
    [standard] = pass_flop([spec(plan, "standard")], OUTLINE)
    [early] = pass_flop([spec(plan, "early")], OUTLINE)
    assert standard == forward * (4 * (3 * 103 + 40) + 40 + 103)
    # 11 of 103 images are held out: one forward pass in place of a step in each of 4 epochs
    assert early == forward * (4 * (3 * 92 + 11 + 40) + 40 + 103)
    more = training_bytes([spec(plan, "early")], OUTLINE) - training_bytes(
        [spec(plan, "standard")], OUTLINE
    )
    assert more == 4 * catalogue.parameters("wrn_10_2", 10)


def test_the_page_says_what_the_method_is(plan):
    methods = page_summary(plan)["teachers"]
    assert methods["early"] == (
        "cross-entropy alone; early-stopped on one of 10 folds of the training images"
    )
