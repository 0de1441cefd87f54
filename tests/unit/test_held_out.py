"""Teacher methods that hold out images, in a study: their roles, differences, costs and texts."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.regularizers.mcmi import MCMI
from soteacher.study.claims_record import claims_record
from soteacher.study.contents import is_papers
from soteacher.study.cost import gpu_bytes, pass_flop, run_bytes, training_bytes
from soteacher.study.expand import expand
from soteacher.study.gpu_hours import work_of
from soteacher.study.kinds.comparison import run_deviations
from soteacher.study.last_batch import check_last_batch
from soteacher.study.load import read
from soteacher.study.operations import EVALUATION, batch_operations, own_operations
from soteacher.study.spec_parts import TermSpec
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
        "crossed": {"cross_fit": 5},
        "crossed_again": {"cross_fit": 5},
        "crossed_ten": {"cross_fit": 10, "consistency": {}},
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
    kept = {"early", "crossed", "crossed_ten", "standard", "soteacher", "early_soteacher"}
    assert teachers == kept
    assert len({spec(plan, method).sha256 for method in teachers}) == 6


def test_a_spec_comes_back_from_its_json(plan):
    for run in plan.runs.values():
        assert RunSpec.from_json(run.spec.to_json()) == run.spec
    values = spec(plan, "early").to_json()
    assert values["held_out"] == {"use": "early_stop", "folds": 10, "revision": 1}
    values = spec(plan, "crossed").to_json()
    assert values["held_out"] == {"use": "cross_fit", "folds": 5, "revision": 1}
    assert "held_out" not in spec(plan, "standard").to_json()


def test_a_spec_of_another_use_is_refused_in_one_line(plan):
    values = spec(plan, "early").to_json() | {"held_out": {"use": "luck", "folds": 3}}
    with pytest.raises(UserError, match="expected the spec of a run"):
        RunSpec.from_json(values)


def test_it_never_has_a_role_of_the_paper(plan):
    roles = {one["method"]: one["role"] for one in claims_record(plan)["methods"]}
    assert roles["standard"] == "standard" and roles["soteacher"] == "soteacher"
    assert roles["early"] == "early_stop"
    assert roles["crossed"] == "cross_fit" and roles["crossed_ten"] == "no_lr+cross_fit"
    assert roles["early_soteacher"] == "soteacher+early_stop"


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ({"early_stop": True}, "early-stopped on one of 10 folds"),
        ({"cross_fit": 5}, "cross-fitted with 5 folds"),
    ],
    ids=["early_stop", "cross_fit"],
)
def test_it_never_is_the_paper_s_experiment(root, method, text):
    papers = yaml_of(root, "paper.yaml")
    papers["teachers"]["standard"] = method
    pair = {"pairs": ["wrn_40_2/wrn_40_1"], "teachers": ["standard"], "distillers": ["kd"]}
    papers["tables"], papers["figures"] = {"one": {"kind": "accuracy"} | pair}, {}
    for run in expand(read(papers)).runs.values():
        differing = run_deviations((run,), "standard", "kd" if run.teacher else "")
        assert not is_papers(differing)
        assert differing == (f"{text} of the training images (not in the paper)",)


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
    assert more == 4 * catalogue.parameters("wrn_10_2", *OUTLINE.of_network)


def test_a_regularizer_that_takes_logits_costs_forward_passes_after_all_epochs_but_the_last(plan):
    forward = catalogue.flops("wrn_10_2", 8, 8, 10)
    passes = EVALUATION * catalogue.norms("wrn_10_2", *OUTLINE.of_network)
    for method, images, n_networks in (("standard", 103, 1), ("early", 92, 1), ("crossed", 412, 5)):
        without = spec(plan, method)
        term = TermSpec.of(MCMI())
        taking = replace(without, terms={"mcmi": term})
        [more], [less] = (pass_flop([one], OUTLINE) for one in (taking, without))
        assert more - less == 3 * images * forward  # of 4 epochs
        [more], [less] = (work_of([([one], OUTLINE)]) for one in (taking, without))
        own = MCMI.operations * less.learner_steps
        assert more.operations - less.operations - own == pytest.approx(3 * n_networks * passes)


def test_a_cross_fitted_teacher_costs_its_networks_and_its_students_one_pass_of_each_image(plan):
    forward = catalogue.flops("wrn_10_2", 8, 8, 10)
    [crossed] = pass_flop([spec(plan, "crossed")], OUTLINE)
    # five networks on 103 - 21, 103 - 21, 103 - 21, 103 - 20 and 103 - 20 images
    trained = 3 * 82 + 2 * 83
    assert crossed == forward * (4 * (3 * trained + 5 * 40) + 5 * 40 + 103)
    of_crossed, of_standard = (
        plan.runs[f"known/wrn_10_2/{method}/seed0/wrn_10_1/kd"].spec
        for method in ("crossed", "standard")
    )
    assert pass_flop([of_crossed], OUTLINE) == pass_flop([of_standard], OUTLINE)
    of_one = 4 * catalogue.parameters("wrn_10_2", *OUTLINE.of_network)
    assert run_bytes(spec(plan, "crossed"), OUTLINE) == (
        run_bytes(spec(plan, "standard"), OUTLINE) + 4 * of_one
    )
    more = gpu_bytes([of_crossed], OUTLINE) - gpu_bytes([of_standard], OUTLINE)
    assert more == 4 * of_one
    crossed, standard = (training_bytes([spec(plan, m)], OUTLINE) for m in ("crossed", "standard"))
    assert crossed - standard == 4 * 4 * of_one
    assert (
        training_bytes([spec(plan, "crossed_ten")], OUTLINE)
        == standard + 9 * 4 * of_one + 10 * 103 * 10 * 4
    )


def test_the_model_of_a_gpu_counts_the_steps_of_all_networks(plan):
    [standard], [crossed] = (
        work_of([([spec(plan, method)], OUTLINE)]) for method in ("standard", "crossed")
    )
    assert standard.learner_steps == 4 * 4  # 103 images in batches of 32
    assert crossed.learner_steps == 4 * 5 * 3  # 82 or 83 images
    operations = EVALUATION * catalogue.norms("wrn_10_2", *OUTLINE.of_network)
    one = spec(plan, "standard")
    steps = own_operations(one, OUTLINE) + batch_operations(one, OUTLINE)
    assert standard.operations == pytest.approx(16 * steps + 5 * operations)
    assert crossed.operations == pytest.approx(60 * steps + 5 * 5 * operations)


def test_a_last_batch_of_one_image_is_refused_of_any_fold(plan):
    # 41 images of 3 folds: 27 are trained on with two folds, 28 with one; 28 = 3 * 9 + 1
    values = spec(plan, "crossed").to_json() | {
        "network": {"name": "shufflenet_v2", "revision": 1},
        "held_out": {"use": "cross_fit", "folds": 3, "revision": 1},
    }
    values["recipe"] = values["recipe"] | {"batch": 9}
    small = replace(OUTLINE, n_train=41)
    with pytest.raises(UserError, match="the 28 training images in batches of 9 leave a last"):
        check_last_batch("run", RunSpec.from_json(values), small)
    values["recipe"] = values["recipe"] | {"batch": 11}
    check_last_batch("run", RunSpec.from_json(values), small)


def test_the_page_says_what_the_method_is(plan):
    methods = page_summary(plan)["teachers"]
    assert methods["early"] == (
        "cross-entropy alone; early-stopped on one of 10 folds of the training images"
    )
    text = " ".join(page_summary(plan)["facts"])
    assert "Tables show the last epoch, and the chosen epoch of early-stopped teachers." in text
