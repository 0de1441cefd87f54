"""Fine-tuned teacher methods in a study: refused combinations, specs, costs, roles and texts."""

from __future__ import annotations

import copy

import pytest
import yaml

from soteacher.core.errors import UserError
from soteacher.core.recipe import FineTune, FineTunedRecipe, Recipe
from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.regularizers.consistency import Consistency
from soteacher.regularizers.lipschitz import Lipschitz
from soteacher.regularizers.mcmi import MCMI
from soteacher.study import method_checks
from soteacher.study.claims_record import claims_record
from soteacher.study.contents import is_papers
from soteacher.study.cost import pass_flop, run_bytes, training_bytes
from soteacher.study.expand import expand
from soteacher.study.gpu_hours import work_of
from soteacher.study.kinds.comparison import run_deviations
from soteacher.study.load import read
from soteacher.study.operations import EVALUATION
from soteacher.study.specs import RunSpec
from soteacher.study.summary import page_summary
from soteacher.terms import Preparation

OUTLINE = Outline(n_train=103, n_test=40, height=8, width=8, n_classes=10)
TUNED = {"fine_tune": {"epochs": 3, "lr": 0.01}}
STUDY = {
    "study": "tuned",
    "seeds": [0],
    "data": {"some": {"source": "digits"}},
    "recipes": {
        "short": {"epochs": 8, "batch": 32, "lr": 0.1, "decay_at": [4], "keep_every": 2},
        "plain": {"epochs": 8, "batch": 32, "lr": 0.1, "decay_at": [4]},
    },
    "pairs": {
        "wrn_10_2/wrn_10_1": {"data": "some", "teacher_recipe": "short", "student_recipe": "plain"}
    },
    "teachers": {
        "standard": {},
        "longer": TUNED,
        "longer_again": TUNED,
        "mcmi": {"mcmi": {}} | TUNED,
        "mcmi_hot": {"mcmi": {}, "fine_tune": {"epochs": 3, "lr": 0.02}},
        "mcmi_scratch": {"mcmi": {}},
        "soteacher": {"lipschitz": {}, "consistency": {}} | TUNED,
    },
    "distillers": {"kd": {}, "rco": {"anchors": 4}},
}
STUDY["tables"] = {
    "one": {"kind": "accuracy", "teachers": [*STUDY["teachers"]], "distillers": ["kd"]}
}


@pytest.fixture(scope="module")
def plan():
    return expand(read(copy.deepcopy(STUDY)))


def spec(plan, method):
    return plan.runs[f"some/wrn_10_2/{method}/seed0"].spec


def test_the_learning_rate_is_the_recipe_s_and_then_constant(plan):
    recipe = spec(plan, "mcmi").recipe
    assert [recipe.lr_at(e) for e in range(11)] == pytest.approx(
        [0.1] * 4 + [0.01] * 4 + [0.01] * 3
    )
    hot = spec(plan, "mcmi_hot").recipe
    assert [hot.lr_at(e) for e in range(7, 11)] == pytest.approx([0.01, 0.02, 0.02, 0.02])
    assert recipe.epochs == 11 and recipe.terms_from == 8
    assert recipe.before == spec(plan, "standard").recipe
    assert recipe.before.terms_from == 0


def test_the_longest_recipe_can_be_fine_tuned_for_the_most_epochs():
    most = Recipe(epochs=100_000, batch=1, lr=1.0, decay_at=())
    assert most.fine_tuned(FineTune(epochs=100_000, lr=1.0)).epochs == 200_000


def test_equal_methods_are_one_run_and_others_are_not(plan):
    teachers = {run.method for run in plan.runs.values() if run.teacher is None}
    assert teachers == {*STUDY["teachers"]} - {"longer_again"}
    assert len({spec(plan, method).sha256 for method in teachers}) == 6
    students = {r.spec.sha256 for r in plan.runs.values() if r.teacher is not None}
    assert len(students) == 6


def test_a_spec_comes_back_from_its_json(plan):
    for run in plan.runs.values():
        assert RunSpec.from_json(run.spec.to_json()) == run.spec
    values = spec(plan, "mcmi").to_json()["recipe"]
    assert values["epochs"] == 11 and values["fine_tune"] == {"epochs": 3, "lr": 0.01}
    assert isinstance(RunSpec.from_json(spec(plan, "mcmi").to_json()).recipe, FineTunedRecipe)
    student = plan.runs["some/wrn_10_2/mcmi/seed0/wrn_10_1/kd"].spec.to_json()
    assert student["teacher"]["recipe"]["fine_tune"] == {"epochs": 3, "lr": 0.01}
    assert "fine_tune" not in student["recipe"]


def test_a_recipe_of_a_study_has_no_fine_tuning_of_its_own():
    study = copy.deepcopy(STUDY)
    study["recipes"]["short"] |= TUNED
    with pytest.raises(UserError, match=r"recipes\.short: unknown key 'fine_tune'"):
        read(study)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ({"oracle": True}, "a teacher with `oracle` is not trained here"),
        ({"weights": "some.pth"}, "a teacher with `weights` is not trained here"),
        ({"early_stop": True}, "leave out `fine_tune`, or `early_stop`"),
        ({"mcmi": {}, "cross_fit": 5}, "leave out `fine_tune`, or `cross_fit`"),
        ({"mixup": {}}, "'mixup' changes the images of all epochs"),
        ({"augmix": {}, "mcmi": {}}, "'augmix' changes the images of all epochs"),
        ({"fine_tune": {"epochs": 0, "lr": 0.1}}, "fine_tune.epochs: expected"),
        ({"fine_tune": {"epochs": 3, "lr": 0}}, "fine_tune.lr: expected"),
        ({"fine_tune": {"epochs": 3}}, "fine_tune.lr: missing"),
    ],
    ids=str,
)
def test_what_cannot_be_fine_tuned_is_refused_in_one_line(method, text):
    study = copy.deepcopy(STUDY)
    study["teachers"]["mcmi"] = TUNED | method
    with pytest.raises(UserError) as refused:
        read(study)
    assert str(refused.value).startswith("study.teachers.mcmi") and text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_regularizer_with_a_first_stage_is_refused():
    class Staged(MCMI):
        def preparation(self, context, network, modules):
            return Preparation(1, None, {}, lambda *_: {}, student=True)

    method = read(copy.deepcopy(STUDY)).teachers["mcmi"]
    method_checks.check_method(method, {"mcmi": MCMI()}, "here")
    with pytest.raises(UserError, match=r"here: .*'staged' has a first stage; leave out"):
        method_checks.check_method(method, {"staged": Staged()}, "here")


def test_a_table_of_step_times_refuses_it():
    table = {"kind": "overhead", "teachers": ["standard", "mcmi"]}
    study = copy.deepcopy(STUDY) | {"tables": {"times": table}}
    with pytest.raises(UserError, match="'mcmi' is fine-tuned: name a method without"):
        expand(read(study))
    table["teachers"] = ["standard", "mcmi_scratch"]
    assert expand(read(study)).contents["times"].timing_request


def test_a_figure_over_the_teacher_s_epochs_ends_with_each_method_s_last_weights():
    figure = {"kind": "checkpoints", "teachers": ["standard", "mcmi"], "distillers": ["kd"]}
    study = copy.deepcopy(STUDY) | {"figures": {"epochs": figure | {"every": 4}}}
    points = expand(read(study)).contents["epochs"].points
    found = {}
    for point in points:
        [run] = point.runs
        found.setdefault(point.series, []).append(
            (point.position["epoch"], run.spec.teacher_epoch, run.spec.last_teacher_epoch)
        )
    assert found == {
        "standard": [(4, 4, 4), (8, None, 8)],
        "mcmi": [(4, 4, 4), (8, 8, 8), (11, None, 11)],
    }


def test_anchors_are_at_equal_intervals_of_all_epochs():
    study = copy.deepcopy(STUDY)
    study["tables"] = {"one": {"kind": "accuracy", "teachers": ["mcmi"], "distillers": ["rco"]}}
    with pytest.raises(UserError, match="epochs 3, 6, 8, 11, but its recipe keeps every 2 of 11"):
        expand(read(study))
    study["teachers"]["mcmi"]["fine_tune"] = {"epochs": 4, "lr": 0.01}
    study["recipes"]["short"]["keep_every"] = 3
    [_, student] = expand(read(study)).runs.values()
    assert {*student.spec.teacher_epochs.values()} == {(12,), (3, 3, 6, 6, 9, 9, 12, 12)}


def test_a_sweep_changes_the_terms_of_the_fine_tuning():
    figure = {"kind": "sweep", "base": "mcmi", "teachers": ["standard"], "distillers": ["kd"]}
    figure["vary"] = {"mcmi.weight": [0, 0.2]}
    study = copy.deepcopy(STUDY) | {"figures": {"weights": figure}}
    runs = expand(read(study)).runs_of("weights")
    teachers = {run.method: run.spec for run in runs if run.teacher is None}
    assert {*teachers} == {"standard", "longer", "mcmi", "mcmi.mcmi.weight=0.2"}
    tuned = [one.fine_tune for name, one in teachers.items() if name != "standard"]
    assert tuned == [FineTune(epochs=3, lr=0.01)] * 3


def test_the_costs_are_those_of_all_epochs_and_predictions_before_each_one_of_fine_tuning(plan):
    forward = catalogue.flops("wrn_10_2", 8, 8, 10)
    expected = {
        "standard": 8 * (3 * 103 + 40) + 40,
        "longer": 11 * (3 * 103 + 40) + 40,
        "mcmi": 11 * (3 * 103 + 40) + 40 + 3 * 103,
        "mcmi_scratch": 8 * (3 * 103 + 40) + 40 + 7 * 103,
    }
    for method, images in expected.items():
        assert pass_flop([spec(plan, method)], OUTLINE) == [forward * images], method
    memory = {training_bytes([spec(plan, method)], OUTLINE) for method in expected}
    assert len(memory) == 1
    of_one = 4 * catalogue.parameters("wrn_10_2", *OUTLINE.of_network)
    kept = run_bytes(spec(plan, "longer"), OUTLINE) - run_bytes(spec(plan, "standard"), OUTLINE)
    # the weights after epochs 8 and 10, and three rows of the history
    assert kept == 2 * of_one + 3 * 100


def test_the_model_of_a_gpu_counts_the_terms_in_the_epochs_of_fine_tuning_alone(plan):
    steps = 4  # 103 images in batches of 32
    [longer], [mcmi], [soteacher] = (
        work_of([([spec(plan, method)], OUTLINE)]) for method in ("longer", "mcmi", "soteacher")
    )
    assert longer.learner_steps == mcmi.learner_steps == 11 * steps
    taken = 3 * EVALUATION * catalogue.norms("wrn_10_2", *OUTLINE.of_network)
    more = mcmi.operations - longer.operations
    assert more == pytest.approx(3 * steps * MCMI.operations + taken)
    own = Lipschitz.operations + Consistency.operations
    assert soteacher.operations - longer.operations == pytest.approx(3 * steps * own)


def test_it_never_has_a_role_of_the_paper(plan):
    roles = {one["method"]: one["role"] for one in claims_record(plan)["methods"]}
    assert roles == {
        "standard": "standard",
        "longer": "fine_tune",
        "mcmi": "mcmi+fine_tune",
        "mcmi_hot": "mcmi+fine_tune",
        "mcmi_scratch": "mcmi",
        "soteacher": "soteacher+fine_tune",
    }


def test_it_never_is_the_paper_s_experiment(root):
    papers = yaml.safe_load((root / "config/paper.yaml").read_text(encoding="utf-8"))
    papers["teachers"]["standard"] = {"fine_tune": {"epochs": 20, "lr": 0.01}}
    pair = {"pairs": ["wrn_40_2/wrn_40_1"], "teachers": ["standard"], "distillers": ["kd"]}
    papers["tables"], papers["figures"] = {"one": {"kind": "accuracy"} | pair}, {}
    for run in expand(read(papers)).runs.values():
        differing = run_deviations((run,), "standard", "kd" if run.teacher else "")
        assert not is_papers(differing)
        text = "fine-tuned for 20 epochs at a learning rate of 0.01 (not in the paper)"
        assert differing == (text,)


def test_the_page_says_what_the_method_is(plan):
    methods = page_summary(plan)["teachers"]
    tuned = "fine-tuned for 3 epochs at a learning rate of 0.01, after its recipe as Standard"
    assert methods["mcmi"] == f"mcmi; {tuned}"
    assert methods["longer"] == f"cross-entropy alone; {tuned}"
    assert methods["mcmi_scratch"] == "mcmi"
