"""config/paper.yaml is the paper: its runs, counted by hand, and what stands beside the paper's."""

from collections import Counter

import pytest
import yaml

from soteacher.core import registry
from soteacher.distillers.rco import RCO
from soteacher.report.names import display_name
from soteacher.report.paper_values import paper_values
from soteacher.study.expand import expand
from soteacher.study.load import load

METHODS = ("standard", "soteacher", "no_cr", "no_lr")


@pytest.fixture(scope="module")
def plan(root):
    return expand(load(root / "config/paper.yaml"))


@pytest.fixture(scope="module")
def rehearsal(root):
    return expand(load(root / "config/paper.yaml", root / "config/rehearsal.yaml"))


def counted(plan):
    """How many runs there are of each data set, teacher network, and student network if any."""
    found = Counter()
    for run in plan.runs.values():
        teacher = run.teacher.spec.to_json()["network"]["name"] if run.teacher else None
        found[run.data, run.spec.to_json()["network"]["name"], teacher] += 1
    return found


def test_the_runs_are_those_counted_by_hand(plan):
    # Tables 1 and 2: four methods, three seeds. Figure 1: 23 earlier checkpoints, two methods, one
    # seed. Figure 2: 4 + 4 + 3 further settings, three seeds; its zeros are Table 2's no-LR, no-CR
    # Table 6: 13 methods, two of the teachers
    # Table 7: l1, Mixup, CutMix, AugMix, CRL and label smoothing; its l2 is Standard
    teachers, checkpoints, settings, others = 4 * 3, 23 * 2, 11 * 3, 13 * 2 * 3
    regularized = 6 * 3
    assert counted(plan) == {
        ("cifar100", "wrn_40_2", None): teachers + regularized,
        ("cifar100", "resnet32x4", None): teachers,
        ("tiny_imagenet", "resnet34", None): teachers + settings,
        ("cifar100", "wrn_40_1", "wrn_40_2"): teachers + checkpoints + others + regularized,
        ("cifar100", "wrn_16_2", "wrn_40_2"): teachers + others,
        ("cifar100", "shufflenet_v2", "resnet32x4"): teachers + others,
        ("tiny_imagenet", "resnet18", "resnet34"): teachers + settings,
    }
    roles = Counter(run.spec.to_json()["role"] for run in plan.runs.values())
    assert roles == {"teacher": 87, "student": 379}


def test_a_table_asks_for_no_more_than_it_shows(plan):
    assert {name: len(plan.runs_of(name)) for name in plan.study.tables} == {
        "table1": 24 + 36,
        "table2": 12 + 12,
        "table3": 3 * 2 * 3,
        "table4": 4 * 2 * 3,
        "table5": 0,
        "table6": 13 * 3 * 2 * 3,
        "table7": 2 * 8 * 3,
        "table7_calibration": 8 * 3,
        "table7_agreement": 8 * 3,
        "overhead": 0,
    }
    assert {name: len(plan.runs_of(name)) for name in plan.study.figures} == {
        "figure1": 2 + 48,
        "figure2": 15 * 3 * 2,
    }


def test_figure_1_ends_with_the_runs_of_table_1(plan):
    table = {run.id for run in plan.runs_of("table1")}
    shown = {run.id: run.spec.to_json().get("teacher_epoch") for run in plan.runs_of("figure1")}
    of_table = {run for run, epoch in shown.items() if epoch is None}
    assert of_table <= table and len(of_table) == 2 + 2
    epochs = Counter(epoch for epoch in shown.values() if epoch is not None)
    assert epochs == dict.fromkeys(range(10, 240, 10), 2)


def test_every_cell_of_the_paper_s_tables_is_its_experiment_and_has_its_number(plan):
    known = paper_values().index
    names = ("table1", "table2", "table3", "table4", "table6", "table7")
    ours = {
        (name, cell.row, cell.column): cell.deviations
        for name in names
        for cell in plan.contents[name].cells
        if cell.row != "label_smoothing" and not cell.measure.endswith("_null")
    }
    assert set(ours) == {place for place in known if place[0] in names}
    assert not any(ours.values()), {place: said for place, said in ours.items() if said}


def test_the_row_that_the_paper_leaves_out_says_so(plan):
    rows = {cell.row: cell for cell in plan.contents["table7"].cells}
    assert rows["label_smoothing"].deviations == ("method label_smoothing (not in the paper)",)
    assert display_name("label_smoothing") == "Label smoothing (added)"


def test_the_l2_row_of_table_7_is_standard_s_runs_and_trains_none_of_its_own(plan):
    cells = {(cell.row, cell.column): cell.runs for cell in plan.contents["table7"].cells}
    for column in {column for _, column in cells}:
        assert cells["l2", column] == cells["standard", column]
    assert not any("/l2/" in run for run in plan.runs)


def test_table_5_is_the_paper_s_22_cells_from_the_methods_own_files(plan):
    known = paper_values()["mean"]
    ours = {
        ("table5", cell.paper_row, cell.column): cell.weight
        for cell in plan.contents["table5"].weights
    }
    assert ours == {place: value for place, value in known.items() if place[0] == "table5"}
    assert len(ours) == 22


def test_students_have_the_weights_of_their_teachers_column(plan):
    found = {
        (run.id.split("/")[2], name, settings.get("weight"))
        for run in plan.runs.values()
        if run.teacher
        for name, settings in run.spec.to_json()["terms"].items()
        if "weight" in settings
    }
    assert found == {
        (cell.column, cell.paper_row, cell.weight) for cell in plan.contents["table5"].weights
    }


def test_rco_s_anchors_are_epochs_that_the_teachers_keep(plan):
    [epochs] = {
        tuple(
            RCO(
                **{k: v for k, v in run.spec.to_json()["terms"]["rco"].items() if k != "revision"}
            ).teacher_epoch(epoch, run.spec.to_json()["recipe"]["epochs"], 240)
            for epoch in range(240)
        )
        for run in plan.runs.values()
        if "rco" in run.spec.to_json()["terms"]
    }
    assert Counter(epochs) == dict.fromkeys(range(10, 241, 10), 10)


def test_lambda_lr_is_the_data_set_s(plan):
    weights = {
        (run.data, run.spec.to_json()["terms"]["lipschitz"].get("weight", 1e-5))
        for run in plan.runs.values()
        if run.spec.to_json()["role"] == "teacher"
        and "lipschitz" in run.spec.to_json()["terms"]
        and "lipschitz.weight" not in run.id
    }
    assert weights == {("cifar100", 1e-5), ("tiny_imagenet", 1e-6)}


def test_recipes_are_those_of_appendix_d(plan):
    found = {
        (run.data, run.spec.to_json()["role"], run.spec.to_json()["recipe"]["lr"]): tuple(
            run.spec.to_json()["recipe"][key] for key in ("epochs", "batch", "decay_at")
        )
        for run in plan.runs.values()
    }
    cifar = (240, 64, [150, 180, 210])
    assert found == {
        ("cifar100", "teacher", 0.05): cifar,
        ("cifar100", "student", 0.05): cifar,
        ("cifar100", "student", 0.01): cifar,
        ("tiny_imagenet", "teacher", 0.1): (90, 128, [30, 60]),
        ("tiny_imagenet", "student", 0.1): (100, 128, [30, 60, 90]),
    }
    slow = {
        run.spec.to_json()["network"]["name"]
        for run in plan.runs.values()
        if run.spec.to_json()["recipe"]["lr"] == 0.01
    }
    assert slow == {"shufflenet_v2"}


# the rehearsal lies over it

BEYOND = {
    "teachers": {"mse", "early_stopped", "cross_fitted"},
    "distillers": {"dkd", "dist", "logit_standardization"},
    "tables": {"beyond_teachers", "beyond_distillers"},
}
"""What the rehearsal adds to the paper's study, from config/beyond.yaml."""


def test_the_rehearsal_has_every_network_method_table_and_figure_of_the_paper(plan, rehearsal):
    def kinds(planned):
        return {
            (
                run.data,
                run.spec.to_json()["network"]["name"],
                run.id.split("/")[2],
                *run.spec.to_json()["terms"],
            )
            for run in planned.runs.values()
            if ".weight=" not in run.id  # the rehearsal has fewer weights in Figure 2
        }

    more = kinds(rehearsal) - kinds(plan)
    assert kinds(rehearsal) - more == kinds(plan)
    trained = {part for kind in more for part in kind}
    assert BEYOND["teachers"] | BEYOND["distillers"] <= trained
    assert rehearsal.study.blocks.keys() == plan.study.blocks.keys() | BEYOND["tables"]
    assert {run.spec.to_json()["stream"].get("rotation") for run in rehearsal.runs.values()} == {
        None,
        20.0,
    }
    assert {run.spec.to_json()["data"]["source"] for run in rehearsal.runs.values()} == {
        "generated"
    }
    assert {run.spec.to_json().get("teacher_epoch") for run in rehearsal.runs.values()} == {None, 1}
    contents = rehearsal.contents.values()
    assert not any(differing == () for content in contents for differing in content.deviations)


def test_the_rehearsal_overrides_only_what_the_paper_s_study_spells_out(root):
    paper, over = (
        yaml.safe_load((root / f"config/{name}.yaml").read_text())
        for name in ("paper", "rehearsal")
    )

    def check(inner, outer, where):
        for key, value in inner.items():
            if "source" in inner:  # another source has settings of its own
                assert "source" in outer
            else:
                if key in BEYOND.get(where.partition(".")[2], ()):
                    continue
                assert key in outer, f"{where}.{key}"
                if isinstance(value, dict):
                    check(value, outer[key], f"{where}.{key}")

    check(over, paper, "rehearsal")


def test_the_baselines_add_only_the_students_alone(root, plan):
    """One per student network and seed; all runs of the paper stay as they are."""
    more = expand(load(root / "config/paper.yaml", root / "config/baselines.yaml"))
    assert {i: run.spec for i, run in plan.runs.items()}.items() <= {
        i: run.spec for i, run in more.runs.items()
    }.items()
    assert {*more.runs} - {*plan.runs} == {
        f"{network}/alone/seed{seed}"
        for network in (
            "cifar100/wrn_40_1",
            "cifar100/wrn_16_2",
            "cifar100/shufflenet_v2",
            "tiny_imagenet/resnet18",
        )
        for seed in range(3)
    }


def test_beyond_the_paper_are_seven_methods_on_its_pairs(root, plan):
    """All runs of the paper stay as they are; docs/reproduce.md says how many are added."""
    more = expand(load(root / "config/paper.yaml", root / "config/beyond.yaml"))
    assert {i: run.spec for i, run in plan.runs.items()}.items() <= {
        i: run.spec for i, run in more.runs.items()
    }.items()
    added = [run for i, run in more.runs.items() if i not in plan.runs]
    # data/teacher/method/seed, and /student/distiller of students
    found = Counter(tuple(run.id.split("/")[1:3] + run.id.split("/")[5:]) for run in added)
    expected = {}
    for teacher, students, dkd in (
        ("wrn_40_2", 2, "dkd_6"),
        ("resnet32x4", 1, "dkd"),
        ("resnet34", 1, "dkd"),
    ):
        for method in ("standard", "soteacher"):
            for distiller in (dkd, "dist", "logit_standardization"):
                expected[teacher, method, distiller] = 3 * students
        for method in ("mse", "mcmi", "early_stopped", "cross_fitted"):
            expected[teacher, method] = 3
            expected[teacher, method, "kd"] = 3 * students
    assert found == expected
    roles = Counter(run.role for run in added)
    text = (root / "docs/reproduce.md").read_text(encoding="utf-8")
    assert f"{roles['teacher']} teachers and {roles['student']} students more" in text


def test_methods_beyond_the_paper_are_not_in_it_and_have_their_authors_weights(root):
    more = expand(load(root / "config/paper.yaml", root / "config/beyond.yaml"))
    weights = {
        run.spec.terms["dkd"].settings.get("others_weight", 8)
        for run in more.runs.values()
        if "dkd" in run.spec.terms and run.spec.network.name in ("wrn_40_1", "wrn_16_2")
    }
    assert weights == {6}
    for distiller in ("dkd", "dist", "logit_standardization"):
        assert not registry.get("distiller", distiller).in_paper
    for regularizer in ("mse", "mcmi"):
        assert not registry.get("regularizer", regularizer).in_paper
