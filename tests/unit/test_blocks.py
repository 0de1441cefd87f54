"""What each kind of table and figure asks for: rows, columns, panels, lines, and their runs."""

import csv
from collections import Counter
from dataclasses import replace
from importlib import resources

import pytest

from soteacher.study.expand import expand
from soteacher.study.load import read

METHODS = ["standard", "soteacher", "no_cr", "no_lr"]
CALIBRATION = ["ece", "ece_null", "nll", "ece_scaled", "ece_scaled_null", "nll_scaled"]
FIRST, OTHER, SMALL = "wrn_16_2/wrn_16_1", "wrn_16_2/wrn_10_1", "small"
TEACHER = "digits/wrn_16_2"


def with_block(values, section, **block):
    """The study with one more table or figure, called `asked`."""
    others = values.get(section, {})
    return values | {section: others | {"asked": {"teachers": ["standard", "soteacher"]} | block}}


def cells(values, **block):
    return expand(read(with_block(values, "tables", **block))).contents["asked"].cells


def points(values, **block):
    return expand(read(with_block(values, "figures", **block))).contents["asked"].points


def ids(runs):
    return [run.id for run in runs]


def shape(found):
    """Rows and columns of a table, in order; each cell must be there once."""
    places = [(cell.row, cell.column) for cell in found]
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*places, strict=True))
    assert places == [(row, column) for row in rows for column in columns]
    return rows, columns


def on_two_data_sets(values):
    """The study where one network teaches on both data sets."""
    pair = values["pairs"][SMALL] | {"teacher": "wrn_16_2"}
    return values | {"pairs": values["pairs"] | {SMALL: pair}}


@pytest.fixture
def kept(wide):
    """The study `wide` whose teachers keep their weights every 5 of 20 epochs."""
    wide["recipes"]["teachers"]["keep_every"] = 5
    return wide


# tables


def test_an_accuracy_table_has_a_row_a_method_and_the_columns_of_each_pair(wide):
    found = cells(wide, kind="accuracy", pairs=[FIRST, SMALL], distillers=["kd"])
    columns = [f"{pair} {role}.top1" for pair in (FIRST, SMALL) for role in ("student", "teacher")]
    assert shape(found) == (["standard", "soteacher"], columns)
    assert {cell.measure for cell in found} == {"top1"}
    assert ids(found[0].runs) == [f"{TEACHER}/standard/seed{k}/wrn_16_1/kd" for k in (0, 1)]
    assert ids(found[1].runs) == [f"{TEACHER}/standard/seed{k}" for k in (0, 1)]
    assert ids(found[-1].runs) == [f"noisy/wrn_10_2/soteacher/seed{k}" for k in (0, 1)]


def test_several_distillers_make_a_row_each_of_a_method(wide):
    found = cells(wide, kind="accuracy", pairs=[FIRST], distillers=["kd", "kd_hot"])
    rows, _ = shape(found)
    assert rows == ["standard kd", "standard kd_hot", "soteacher kd", "soteacher kd_hot"]
    assert ids(found[2].runs)[0] == f"{TEACHER}/standard/seed0/wrn_16_1/kd_hot"


def test_an_agreement_table_is_of_students_only(wide):
    found = cells(wide, kind="agreement", distillers=["kd"])
    pairs = (FIRST, OTHER, SMALL)
    assert shape(found) == (
        ["standard", "soteacher"],
        [f"{pair} student.agreement" for pair in pairs],
    )
    assert {run.spec.to_json()["role"] for cell in found for run in cell.runs} == {"student"}
    assert {cell.measure for cell in found} == {"agreement"}


def test_an_agreement_table_may_have_the_divergence_of_predictions(wide):
    both = ["student.agreement", "student.predictive_kl"]
    found = cells(wide, kind="agreement", pairs=[FIRST], distillers=["kd"], columns=both)
    assert [cell.measure for cell in found[:2]] == ["agreement", "predictive_kl"]
    assert found[0].runs == found[1].runs


def test_a_calibration_table_has_a_row_a_teacher_network_and_method(wide):
    found = cells(wide, kind="calibration")
    rows = [f"{net} {name}" for net in ("wrn_16_2", "wrn_10_2") for name in METHODS[:2]]
    assert shape(found) == (rows, CALIBRATION)
    assert all(cell.measure == cell.column for cell in found)
    assert ids(found[0].runs) == [f"{TEACHER}/standard/seed{k}" for k in (0, 1)]
    assert ids(found[-1].runs) == [f"noisy/wrn_10_2/soteacher/seed{k}" for k in (0, 1)]


def test_a_table_of_steps_trains_nothing_and_names_the_networks_methods_and_first_seed(wide):
    plain = expand(read(wide))
    asked = with_block(wide, "tables", kind="overhead", teachers=["no_lr", "standard"], steps=7)
    plan = expand(read(asked))
    assert plan.runs.keys() == plain.runs.keys() and plan.wanted == plain.wanted
    assert plan.runs_of("asked") == ()
    said = plan.timed["asked"]
    assert said["steps"] == 7
    assert [(found["network"], found["data"]) for found in said["networks"]] == [
        ("wrn_16_2", "digits"),
        ("wrn_10_2", "noisy"),
    ]
    for found in said["networks"]:
        assert [run["method"] for run in found["runs"]] == ["no_lr", "standard"]
        assert {run["spec"]["seed"] for run in found["runs"]} == {0}
    known = plan.runs[f"{TEACHER}/no_lr/seed0"]
    assert said["networks"][0]["runs"][0] == {
        "method": "no_lr",
        "id": known.id,
        "spec": known.spec.to_json(),
    }


def test_a_table_of_steps_may_have_chosen_networks_and_a_seed_of_its_own(wide):
    chosen = {"networks": ["wrn_10_2"], "seeds": [4]}
    plan = expand(read(with_block(wide, "tables", kind="overhead", **chosen)))
    [found] = plan.timed["asked"]["networks"]
    assert [run["id"] for run in found["runs"]] == [
        f"noisy/wrn_10_2/{name}/seed4" for name in METHODS[:2]
    ]


def test_a_calibration_table_of_chosen_networks_trains_no_others(wide):
    values = wide | {"tables": {}}
    plan = expand(read(with_block(values, "tables", kind="calibration", networks=["wrn_10_2"])))
    assert {run.id.rpartition("/")[0] for run in plan.runs.values()} == {
        f"noisy/wrn_10_2/{name}" for name in METHODS[:2]
    }


def test_a_network_that_teaches_on_two_data_sets_is_headed_by_each(wide):
    found = cells(on_two_data_sets(wide), kind="calibration", teachers=["standard"])
    rows, _ = shape(found)
    assert rows == ["digits wrn_16_2 standard", "noisy wrn_16_2 standard"]
    assert ids(found[6].runs) == [f"noisy/wrn_16_2/standard/seed{k}" for k in (0, 1)]


def test_a_distance_table_shows_the_columns_of_a_shared_teacher_once(wide):
    for name in ("wrn_16_2/wrn_16_1", "wrn_16_2/wrn_10_1"):
        wide["pairs"][name]["data"] = "noisy"
    found = cells(wide, kind="truth_distance", distillers=["kd"])
    ours = ["train_distance", "train_spread", "train_bias", "test_distance"]
    columns = [f"wrn_16_2 teacher.{measure}" for measure in ours]
    columns += [f"{pair} student.{m}" for pair in (FIRST, OTHER) for m in ("test_distance", "top1")]
    columns += [f"wrn_10_2 teacher.{measure}" for measure in ours]
    columns += [f"{SMALL} student.{measure}" for measure in ("test_distance", "top1")]
    assert shape(found) == (["standard", "soteacher"], columns)
    assert found[0].measure == "train_distance"
    assert ids(found[0].runs) == [f"noisy/wrn_16_2/standard/seed{k}" for k in (0, 1)]
    assert ids(found[6].runs) == [f"noisy/wrn_16_2/standard/seed{k}/wrn_10_1/kd" for k in (0, 1)]


def test_a_table_s_own_seeds_are_those_of_its_cells(wide):
    found = cells(wide, kind="calibration", seeds=[4])
    assert {run.spec.to_json()["seed"] for cell in found for run in cell.runs} == {4}
    assert {len(cell.runs) for cell in found} == {1}


@pytest.fixture
def papers(wide):
    """A study of those of the paper's networks that we have, with its tables 1, 3 and 4."""
    pair = {"data": "digits", "teacher_recipe": "teachers", "student_recipe": "students"}
    two = {"teachers": METHODS[:2]}
    return wide | {
        "pairs": dict.fromkeys(("wrn_40_2/wrn_40_1", "wrn_40_2/wrn_16_2"), pair),
        "tables": {
            "table1": {"kind": "accuracy", "teachers": METHODS, "distillers": ["kd"]},
            "table3": two | {"kind": "calibration"},
            "table4": two | {"kind": "agreement", "distillers": ["kd"]},
        },
    }


@pytest.mark.parametrize("table", ["table1", "table3", "table4"])
def test_cells_of_the_paper_s_networks_are_called_as_in_the_paper_s_values(papers, table):
    known = resources.files("soteacher.report").joinpath("paper_values.csv").read_text()
    printed = {
        (line["row"], line["column"])
        for line in csv.DictReader(known.splitlines())
        if line["table"] == table and "wrn_40_2" in line["row"] + line["column"]
    }
    cells_of = expand(read(papers)).contents[table].cells
    found = [cell for cell in cells_of if not cell.measure.endswith("_null")]  # not in the paper
    assert {(cell.row, cell.column) for cell in found} == printed
    assert len(found) == len(printed) > 0


# figures


def test_a_reliability_figure_has_a_panel_a_teacher_network_and_method(wide):
    found = points(wide, kind="reliability", seeds=[1])
    assert [(point.panel, point.series) for point in found] == [
        (f"{network} {method}", method)
        for network in ("wrn_16_2", "wrn_10_2")
        for method in METHODS[:2]
    ]
    assert [ids(point.runs) for point in found[:2]] == [
        [f"{TEACHER}/standard/seed1"],
        [f"{TEACHER}/soteacher/seed1"],
    ]
    assert all("epoch" not in point.position and point.teachers == () for point in found)


def test_curves_show_each_teacher_once_and_then_the_students_of_each_pair(wide):
    found = points(wide, kind="curves", pairs=[FIRST, OTHER], distillers=["kd"])
    assert [(point.panel, point.series) for point in found] == [
        (panel, method) for panel in ("wrn_16_2", FIRST, OTHER) for method in METHODS[:2]
    ]
    assert ids(found[0].runs) == [f"{TEACHER}/standard/seed{k}" for k in (0, 1)]
    assert ids(found[5].runs) == [f"{TEACHER}/soteacher/seed{k}/wrn_10_1/kd" for k in (0, 1)]


def test_curves_of_several_distillers_name_them_in_the_students_panel_only(wide):
    found = points(
        wide, kind="curves", teachers=["standard"], pairs=[FIRST], distillers=["kd", "kd_hot"]
    )
    assert [(point.panel, point.series) for point in found] == [
        ("wrn_16_2", "standard"),
        (FIRST, "standard kd"),
        (FIRST, "standard kd_hot"),
    ]


def test_curves_of_a_network_that_teaches_on_two_data_sets_are_headed_by_each(wide):
    values = on_two_data_sets(wide)
    found = points(values, kind="curves", teachers=["standard"], distillers=["kd"])
    panels = [point.panel for point in found]
    assert panels == ["digits wrn_16_2", "noisy wrn_16_2", FIRST, OTHER, SMALL]


def test_predictors_have_a_point_per_pair_distiller_and_method_with_the_seeds_of_its_runs(wide):
    asked = {"kind": "predictors", "pairs": [FIRST, OTHER], "seeds": [2, 0]}
    found = points(wide, **asked, distillers=["kd", "kd_only"], teachers=["standard", "no_lr"])
    assert [(point.panel, point.series) for point in found] == [
        (f"{pair} {distiller}", method)
        for pair in (FIRST, OTHER)
        for distiller in ("kd", "kd_only")
        for method in ("standard", "no_lr")
    ]
    teachers = [f"{TEACHER}/standard/seed{seed}" for seed in (2, 0)]
    assert ids(found[0].teachers) == teachers
    assert ids(found[0].runs) == [f"{teacher}/wrn_16_1/kd" for teacher in teachers]
    assert {tuple(point.position["seeds"]) for point in found} == {(2, 0)}


CHECKPOINTS = {"kind": "checkpoints", "pairs": [FIRST], "distillers": ["kd"], "every": 5}


def test_checkpoints_are_a_point_every_so_many_epochs_and_the_last(kept):
    found = points(kept, **CHECKPOINTS, seeds=[0])
    assert [(point.panel, point.series, point.position["epoch"]) for point in found] == [
        (FIRST, method, epoch) for method in METHODS[:2] for epoch in (5, 10, 15, 20)
    ]
    for point in found:
        teacher = f"{TEACHER}/{point.series}/seed0"
        home = (
            teacher
            if point.position["epoch"] == 20
            else f"{teacher}/epoch{point.position['epoch']:03d}"
        )
        assert ids(point.runs) == [f"{home}/wrn_16_1/kd"]
        assert ids(point.teachers) == [teacher]


def test_checkpoints_that_do_not_divide_the_epochs_end_with_the_last_one(kept):
    found = points(kept, **CHECKPOINTS | {"every": 15}, teachers=["standard"])
    assert [point.position["epoch"] for point in found] == [15, 20]


def test_a_checkpoint_student_is_another_run_by_its_teacher_s_epoch_alone(kept):
    *early, last = points(kept, **CHECKPOINTS, teachers=["standard"], seeds=[0])
    assert last.runs[0].spec.teacher_epoch is None
    for point in early:
        assert point.runs[0].spec == replace(
            last.runs[0].spec, teacher_epoch=point.position["epoch"]
        )
        assert point.runs[0].teacher is last.runs[0].teacher


def test_the_last_checkpoint_s_students_are_the_very_runs_of_a_table(kept):
    plan = expand(read(with_block(kept, "figures", **CHECKPOINTS, seeds=[0])))
    of_table = {run.id: run for cell in plan.contents["first"].cells for run in cell.runs}
    for point in plan.contents["asked"].points:
        for run in point.runs:
            assert (run.id in of_table) == (point.position["epoch"] == 20)
            assert run is of_table.get(run.id, run)
            assert ("first" in plan.wanted[run.id]) == (point.position["epoch"] == 20)


def test_a_figure_changes_no_run_of_the_tables_and_adds_its_seed_s_only(kept):
    before = expand(read(kept)).runs
    after = expand(read(with_block(kept, "figures", **CHECKPOINTS, seeds=[0]))).runs
    assert {name: run.spec for name, run in before.items()} == {
        name: after[name].spec for name in before
    }
    added = [after[name] for name in after.keys() - before.keys()]
    assert Counter(run.spec.to_json()["teacher_epoch"] for run in added) == {5: 2, 10: 2, 15: 2}
    assert {run.spec.to_json()["seed"] for run in added} == {0}


@pytest.mark.parametrize(
    "block",
    [
        CHECKPOINTS,
        {"kind": "reliability"},
        {"kind": "curves", "distillers": ["kd"]},
        {"kind": "predictors", "distillers": ["kd"]},
        {"kind": "sweep", "teachers": ["standard"], "distillers": ["kd"], "base": "soteacher"}
        | {"vary": {"consistency.weight": [0, 3]}},
        {"kind": "grid", "teachers": ["standard"], "distillers": ["kd"], "base": "soteacher"}
        | {"vary": {"consistency.weight": [0, 3], "lipschitz.weight": [0, 0.1]}},
    ],
    ids=lambda block: block["kind"],
)
def test_every_run_of_a_figure_is_wanted_by_it_and_no_other_is(kept, block):
    plan = expand(read(with_block(kept, "figures", **block)))
    shown = {run.id for run in plan.runs_of("asked")}
    assert shown == {
        run.id for point in plan.contents["asked"].points for run in (*point.runs, *point.teachers)
    }
    assert shown == {name for name, asked in plan.wanted.items() if "asked" in asked}


SWEEP = {
    "kind": "sweep",
    "pairs": [FIRST],
    "base": "soteacher",
    "teachers": ["standard"],
    "distillers": ["kd"],
    "seeds": [0],
}


def swept(values, **vary):
    """Panel, value, whether it is the method's own, and the teacher method of each point."""
    found = points(values, **SWEEP, vary=vary)
    for point in found:
        [teacher], [student] = point.teachers, point.runs
        assert student.teacher is teacher
    return [
        (
            point.panel,
            point.position["value"],
            point.position["is_base_value"],
            point.teachers[0].id.split("/")[2],
        )
        for point in found
    ]


def test_a_sweep_has_a_point_a_value_and_one_a_method_to_compare_with(wide):
    panel = "lipschitz.weight"
    assert swept(wide, **{panel: [0.01, "1e-5"], "consistency.ramp": ["cosine"]}) == [
        (panel, "1e-05", False, "soteacher.lipschitz.weight=1e-05"),
        (panel, "0.0001", True, "soteacher"),
        (panel, "0.01", False, "soteacher.lipschitz.weight=0.01"),
        (panel, "", False, "standard"),
        ("consistency.ramp", "linear", True, "soteacher"),
        ("consistency.ramp", "cosine", False, "soteacher.consistency.ramp=cosine"),
        ("consistency.ramp", "", False, "standard"),
    ]


def test_a_sweep_s_values_that_are_other_methods_of_the_study_are_their_runs(wide):
    lipschitz, consistency = "lipschitz.weight", "consistency.weight"
    found = swept(wide, **{lipschitz: [0], consistency: [0]})
    assert (lipschitz, "0", False, "no_lr") in found
    assert (consistency, "0", False, "no_cr") in found
    assert {method for *_, method in found} == {"no_lr", "no_cr", "soteacher", "standard"}


def test_a_value_of_a_sweep_changes_that_setting_alone(wide):
    found = points(wide, **SWEEP, vary={"consistency.weight": [3]})
    [own] = [point.teachers[0].spec.to_json() for point in found if point.position["is_base_value"]]
    [other] = [
        point.teachers[0].spec.to_json() for point in found if point.position["value"] == "3"
    ]
    assert other["terms"]["consistency"] == own["terms"]["consistency"] | {"weight": 3.0}
    assert other["terms"]["lipschitz"] == own["terms"]["lipschitz"]
    assert {k: v for k, v in other.items() if k != "terms"} == {
        k: v for k, v in own.items() if k != "terms"
    }


def test_a_weight_by_data_set_is_varied_from_that_data_set_s(wide):
    wide["teachers"]["soteacher"]["lipschitz"] = {"weight": {"digits": 2.0, "noisy": 5.0}}
    found = points(wide, **SWEEP, vary={"lipschitz.weight": [1]})
    assert [(point.position["value"], point.position["is_base_value"]) for point in found] == [
        ("1", False),
        ("2", True),
        ("", False),
    ]


def test_a_sweep_of_several_pairs_names_them(wide):
    block = SWEEP | {"pairs": "all", "vary": {"consistency.weight": [3]}}
    assert {point.panel for point in points(wide, **block)} == {
        f"{pair} consistency.weight" for pair in wide["pairs"]
    }


GRID = SWEEP | {"kind": "grid"}
CROSSED = {"lipschitz.weight": [0, 0.01], "consistency.ramp": ["cosine"]}


def gridded(values, **block):
    """Both values, whether they are the method's own, and the teacher method of each cell."""
    found = points(values, **GRID, **block)
    return [
        (
            point.position["x_value"],
            point.position["y_value"],
            point.position["is_base_value"],
            point.teachers[0].id.split("/")[2],
        )
        for point in found
    ]


def test_a_grid_has_a_cell_for_each_combination_and_the_methods_to_compare_with(wide):
    assert gridded(wide, vary=CROSSED) == [
        ("0", "linear", False, "no_lr"),
        ("0", "cosine", False, "soteacher.consistency.ramp=cosine.lipschitz.weight=0"),
        ("0.0001", "linear", True, "soteacher"),
        ("0.0001", "cosine", False, "soteacher.consistency.ramp=cosine"),
        ("0.01", "linear", False, "soteacher.lipschitz.weight=0.01"),
        ("0.01", "cosine", False, "soteacher.consistency.ramp=cosine.lipschitz.weight=0.01"),
        ("", "", False, "standard"),
    ]


def test_a_cell_of_a_grid_changes_both_settings_and_no_other(wide):
    found = points(wide, **GRID, vary=CROSSED)
    own, other = (
        next(p for p in found if (p.position["x_value"], p.position["y_value"]) == values)
        .teachers[0]
        .spec.to_json()
        for values in (("0.0001", "linear"), ("0.01", "cosine"))
    )
    terms = other.pop("terms")
    expected = own.pop("terms")
    expected["lipschitz"] |= {"weight": 0.01}
    expected["consistency"] |= {"ramp": "cosine"}
    assert terms == expected and other == own


def test_settings_of_a_removed_regularizer_give_no_other_runs(wide):
    cells = gridded(wide, vary={"consistency.weight": [0], "consistency.ramp": ["cosine"]})
    assert [method for x, _, _, method in cells if x == "0"] == ["no_cr", "no_cr"]


def test_the_order_of_a_grid_s_settings_changes_no_run(wide):
    turned = dict(reversed(CROSSED.items()))
    methods = [{cell[-1] for cell in gridded(wide, vary=vary)} for vary in (CROSSED, turned)]
    assert methods[0] == methods[1]


def test_a_grid_and_a_sweep_share_the_runs_of_their_common_cells(wide):
    in_sweep = {method for *_, method in swept(wide, **CROSSED)}
    assert in_sweep < {method for *_, method in gridded(wide, vary=CROSSED)} | {"standard"}


def test_a_grid_has_a_panel_for_each_pair_and_distiller(wide):
    found = points(wide, **GRID | {"pairs": "all"}, vary=CROSSED)
    assert {point.panel for point in found} == set(wide["pairs"])
    found = points(wide, **GRID | {"distillers": ["kd", "kd_hot"]}, vary=CROSSED)
    assert {point.panel for point in found} == {f"{FIRST} kd", f"{FIRST} kd_hot"}


def test_a_row_that_has_to_say_more_is_still_the_paper_s(wide):
    both = cells(wide, kind="accuracy", pairs=[FIRST], distillers=["kd", "kd_hot"])
    assert {(cell.row, cell.paper_row) for cell in both} >= {("standard kd", "standard")}
    several = cells(on_two_data_sets(wide), kind="calibration")
    assert ("digits wrn_16_2 standard", "wrn_16_2 standard") in {
        (cell.row, cell.paper_row) for cell in several
    }
