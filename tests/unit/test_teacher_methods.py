"""Teacher methods in a study file: which have a meaning, which are one, what they cost."""

from __future__ import annotations

import pytest

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.regularizers.base import ImageChange, check_together
from soteacher.regularizers.mse import MSE
from soteacher.report.names import display_name
from soteacher.study.cost import pass_flop
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.paper import deviations

NAMES = registry.shipped("regularizer")
OUTLINE = Outline(n_train=100, n_test=10, height=8, width=8, n_classes=10)


def study(teachers, **changes):
    return {
        "study": "methods",
        "seeds": [0],
        "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1}}},
        "recipes": {"short": {"epochs": 4, "batch": 32, "lr": 0.1, "decay_at": []}},
        "pairs": {
            "wrn_10_2/wrn_10_1": {
                "data": "digits",
                "teacher_recipe": "short",
                "student_recipe": "short",
            }
        },
        "teachers": teachers,
        "distillers": {"kd": {}},
        "tables": {"one": {"kind": "accuracy", "teachers": [*teachers], "distillers": ["kd"]}},
        **changes,
    }


def specs(teachers):
    runs = expand(read(study(teachers))).runs.values()
    return {run.id.split("/")[2]: run.spec for run in runs if not run.teacher}


def refusal(teachers, **changes):
    with pytest.raises(UserError) as refused:
        expand(read(study(teachers, **changes)))
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("memory", ["consistency", "crl", "mcmi"])
@pytest.mark.parametrize("blend", ["mixup", "cutmix"])
def test_a_memory_of_images_and_blends_of_them_are_refused_with_the_reason(memory, blend):
    assert refusal({"mine": {memory: {}, blend: {}, "lipschitz": {}}}) == (
        f"study.teachers.mine: '{memory}' stores the teacher's predictions of training images, "
        f"but '{blend}' blends images: use only one of them in a teacher method"
    )


def test_two_that_change_the_images_are_refused():
    assert refusal({"mine": {"mixup": {}, "cutmix": {}}}) == (
        "study.teachers.mine: 'mixup' and 'cutmix' each change the training images: use at most "
        "one of them in a teacher method"
    )


def test_two_that_replace_the_cross_entropy_are_refused():
    class Other(MSE):
        pass

    with pytest.raises(UserError) as refused:
        check_together({"mse": MSE(), "other": Other()})
    assert str(refused.value) == (
        "'mse' and 'other' each take the place of the cross-entropy: use at most one of them in a "
        "teacher method"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_other_set_of_two_is_a_method(name):
    changing = {n for n in NAMES if issubclass(registry.get("regularizer", n), ImageChange)}
    assert changing == {"mixup", "cutmix", "augmix"}
    never = {"mixup", "cutmix"} if name in ("consistency", "crl", "mcmi") else set()
    never |= {"consistency", "crl", "mcmi"} if name in ("mixup", "cutmix") else set()
    never |= changing if name in changing else set()
    for other in {*NAMES} - never - {name}:
        [spec] = specs({"both": {name: {}, other: {}}}).values()
        assert {*spec.terms} == {name, other}


@pytest.mark.parametrize(
    ("part", "settings", "said"),
    [
        ("mixup", {"alpha": 0}, "mixup.alpha: expected greater than 0; got 0"),
        ("mixup", {"alpah": 1}, "mixup: unknown key 'alpah'; known: alpha; did you mean 'alpha'?"),
        ("cutmix", {"probability": 1.5}, "cutmix.probability: expected less than or equal to 1"),
        ("augmix", {"width": 0}, "augmix.width: expected greater than or equal to 1; got 0"),
        ("augmix", {"severity": 11}, "augmix.severity: expected less than or equal to 10; got 11"),
        ("l1", {"parameters": "conv"}, "l1.parameters: expected 'weights' or 'all'; got"),
        ("crl", {"weight": -1}, "crl.weight: expected greater than or equal to 0; got -1"),
        ("label_smoothing", {"epsilon": 2}, "label_smoothing.epsilon: expected less than or equal"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(part, settings, said):
    assert said in refusal({"mine": {part: settings}})


def test_an_overhead_table_times_methods_on_the_same_batches_only():
    block = {"kind": "overhead", "teachers": ["standard", "augmix"]}
    text = refusal({"standard": {}, "augmix": {"augmix": {}}}, tables={"overhead": block})
    assert text == (
        "study.tables.overhead.teachers: expected methods that train on the same batches, which "
        "the table times; 'augmix' of 'augmix' changes the images"
    )


# methods that are the same


def test_two_methods_that_are_the_same_are_one_run_under_the_first_name():
    teachers = {"standard": {}, "l2": {}, "one": {"l1": {}}, "two": {"l1": {"weight": 1e-5}}}
    plan = expand(read(study(teachers)))
    assert sorted(plan.runs) == [
        f"digits/wrn_10_2/{name}/seed0{end}"
        for name in ("one", "standard")
        for end in ("", "/wrn_10_1/kd")
    ]
    rows = {cell.row: cell.runs for cell in plan.contents["one"].cells if "teacher" in cell.column}
    assert rows["l2"] == rows["standard"] and rows["two"] == rows["one"] != rows["l2"]


def test_methods_whose_students_have_other_weights_are_two():
    plan = expand(read(study({"standard": {}, "plain": {"table5": "soteacher"}})))
    assert {run.table5 for run in plan.runs.values() if not run.teacher} == {
        "standard",
        "soteacher",
    }
    assert len(plan.runs) == 4


@pytest.mark.parametrize("name", ["lipschitz", "consistency"])
def test_methods_are_the_same_by_what_they_are_on_a_data_set(name):
    weights = {"digits": 1e-5, "others": 1e-6}
    teachers = {
        "both": {name: {"weight": weights}},
        "high": {name: {"weight": 1e-5}},
        "of_others": {name: {"weight": {"others": 1e-5}}},
    }
    pair = {"data": "digits", "teacher_recipe": "short", "student_recipe": "short"}
    plan = expand(
        read(
            study(
                teachers,
                data={name: {"source": "digits"} for name in weights},
                pairs={
                    "wrn_10_2/wrn_10_1": pair,
                    "other": pair
                    | {"teacher": "wrn_10_2", "student": "wrn_10_1", "data": "others"},
                },
                tables={
                    "one": {
                        "kind": "accuracy",
                        "teachers": ["both", "high"],
                        "distillers": ["kd"],
                    }
                },
            )
        )
    )
    found = {run.id for run in plan.runs.values() if not run.teacher}
    assert found == {
        "digits/wrn_10_2/both/seed0",
        "others/wrn_10_2/both/seed0",
        "others/wrn_10_2/high/seed0",
    }


def test_a_method_without_a_weight_for_the_data_set_is_refused():
    teachers = {"soteacher": {"lipschitz": {}, "consistency": {"weight": {"digits": 1, "b": 2}}}}
    mapped = read(study(teachers, data={name: {"source": "digits"} for name in ("digits", "b")}))
    term = mapped.teachers["soteacher"].regularizers["consistency"]
    assert term.data_sets() == ("digits", "b") and term.for_data("b", "here").weight == 2
    with pytest.raises(
        UserError, match=r"here.weight: no weight for the data set 'c'.*: b, digits"
    ):
        term.for_data("c", "here")


# views


def test_views_are_part_of_the_teacher_s_spec_and_its_cost_and_not_of_its_students():
    teachers = {"standard": {}, "augmix": {"augmix": {}}}
    teachers["divergent"] = {"augmix": {"consistency_weight": 12}, "lipschitz": {}}
    plan = expand(read(study(teachers)))
    streams = {
        run.id.split("/", 2)[2]: run.spec.to_json()["stream"].get("views")
        for run in plan.runs.values()
    }
    assert streams.pop("divergent/seed0") == 3
    assert {*streams.values()} == {None}
    costs = {
        run.id.split("/")[2]: pass_flop([run.spec], OUTLINE)[0]
        for run in plan.runs.values()
        if not run.teacher
    }
    assert costs["standard"] == costs["augmix"]
    trained, tested = 3 * 4 * 100, 5 * 10  # forward and backward of 4 epochs; tests
    assert costs["divergent"] / costs["standard"] == pytest.approx(
        (3 * trained + tested) / (trained + tested)
    )


# what the paper has


def test_the_defaults_are_the_paper_s_row_and_other_settings_say_so():
    in_table_7 = {"l1", "mixup", "cutmix", "augmix", "crl"}
    assert {n for n in NAMES if registry.get("regularizer", n).table7} == in_table_7
    others = {"mixup": {"alpha": 1}, "cutmix": {"probability": 1}, "crl": {"weight": 2}}
    others |= {"l1": {"weight": 1e-4}, "augmix": {"consistency_weight": 12}}
    for name in in_table_7:
        [own] = specs({name: {name: {}}}).values()
        [other] = specs({name: {name: others[name]}}).values()
        usual = deviations(own, name)
        assert not any(said.startswith((name, "method")) for said in usual)
        [setting] = others[name]
        [more] = [said for said in deviations(other, name) if said not in usual]
        assert more.startswith(f"{name} {setting} {others[name][setting]:g} (paper: ")


def test_a_method_of_another_name_or_more_terms_is_not_the_paper_s():
    [spec] = specs({"mixup": {"mixup": {}, "lipschitz": {}}}).values()
    assert "mixup is lipschitz + mixup (paper: mixup)" in deviations(spec, "mixup")
    [spec] = specs({"crl_lr": {"crl": {}, "lipschitz": {}}}).values()
    assert "method crl_lr (not in the paper)" in deviations(spec, "crl_lr")


def test_methods_are_printed_as_the_paper_has_them():
    names = ["l1", "l2", "mixup", "cutmix", "augmix", "crl"]
    assert [display_name(n) for n in names] == ["ℓ1", "ℓ2", "Mixup", "CutMix", "AugMix", "CRL"]
    blocks = ["table7_calibration", "table7_agreement", "table7_truth"]
    assert [display_name(block) for block in blocks] == [
        "Table 7, calibration",
        "Table 7, agreement",
        "Table 7, distance to the true label distribution",
    ]
