"""The tables of the page: blocks that are one table, and the difference that belongs to a cell."""

import pytest
from made_claims import PAIR, claim, measured, table
from made_tables import STUDENT, TEACHER, block_of, cell, row, tabulate

from soteacher.report.page.tables import page_tables

MEASURED = [row("a0", 0.5), row("b0", 0.6), row("c0", 0.9, ece=0.1), row("d0", 0.8, ece=0.2)]


def blocks_of(*blocks):
    """The blocks by name, as in the summary, and their tables."""
    return (
        {block["name"]: block for block in blocks},
        {block["name"]: tabulate(block, *MEASURED) for block in blocks},
    )


def accuracy(name="table7", first="standard", second="soteacher"):
    """A block with two methods' students."""
    return block_of(cell(first, ["a0"]), cell(second, ["b0"]), name=name)


def calibration(name="table7_calibration", network="wrn_40_2 ", second="soteacher"):
    """A block with two methods' teachers, whose rows begin with the network."""
    rows = [(f"{network}standard", "c0"), (f"{network}{second}", "d0")]
    cells = [cell(method, [run], "ece", "ece", role="teacher") for method, run in rows]
    return block_of(*cells, name=name, kind="calibration", deviations=("batch 32 (paper: 64)",))


def test_blocks_of_one_table_of_the_paper_are_one_table_with_the_columns_of_all():
    [shown] = page_tables(*blocks_of(accuracy(), calibration()), None)
    assert shown["id"] == "table7" and shown["files"] == ["table7", "table7_calibration"]
    assert shown["columns"] == [("WRN40-2/WRN40-1", "Student accuracy (%)"), ("WRN40-2", "ECE")]
    assert shown["heads"] == [("WRN40-2/WRN40-1", 1), ("WRN40-2", 1)]
    assert shown["labels"] == ["Student accuracy (%)", "ECE"]
    texts = [(name, [one["text"] for one in cells]) for name, cells in shown["rows"]]
    assert texts == [("Standard", ["50.00", "0.100"]), ("SoTeacher", ["60.00", "0.200"])]
    assert shown["paper_notes"] == [("Not the paper's experiment", ["batch 32 (paper: 64)"])]
    assert [part["id"] for part in shown["parts"]] == shown["files"]


def test_a_row_that_only_the_first_block_has_is_empty_in_the_columns_of_others():
    first = accuracy()
    alone = block_of(cell("alone", ["a0"]), *first["cells"], name="table7")
    [shown] = page_tables(*blocks_of(alone, calibration()), None)
    texts = [(name, [one["text"] for one in cells]) for name, cells in shown["rows"]]
    assert texts == [
        ("Student alone", ["50.00", "–"]),
        ("Standard", ["50.00", "0.100"]),
        ("SoTeacher", ["60.00", "0.200"]),
    ]


def test_a_stacked_table_names_the_pair_where_several_have_the_measure():
    columns = (STUDENT, "wrn_40_2/wrn_16_2 student.top1", TEACHER)
    block = block_of(*(cell("standard", ["a0"], column) for column in columns))
    [shown] = page_tables(*blocks_of(block), None)
    assert shown["labels"] == [
        "WRN40-2/WRN40-1: Student accuracy (%)",
        "WRN40-2/WRN16-2: Student accuracy (%)",
        "Teacher accuracy (%)",
    ]


def test_a_column_that_two_blocks_have_is_shown_once():
    columns = [(STUDENT, "top1"), (f"{PAIR} student.top5", "top1")]
    both = [cell(m, [r], *c) for m, r in (("standard", "a0"), ("soteacher", "b0")) for c in columns]
    [shown] = page_tables(*blocks_of(accuracy(), block_of(*both, name="table7_more")), None)
    assert [measure for _, measure in shown["columns"]] == [
        "Student accuracy (%)",
        "Student Top-5 accuracy (%)",
    ]
    assert [len(cells) for _, cells in shown["rows"]] == [2, 2]


@pytest.mark.parametrize(
    "second",
    [
        calibration(second="l1"),  # other rows
        calibration(name="settings"),  # another table
        calibration(name="table70_calibration"),
    ],
)
def test_other_blocks_are_tables_of_their_own(second):
    shown = page_tables(*blocks_of(accuracy(), second), None)
    assert [one["id"] for one in shown] == ["table7", second["name"]]


def test_a_table_alone_keeps_the_networks_in_its_rows():
    [shown] = page_tables(*blocks_of(calibration()), None)
    assert [name for name, _ in shown["rows"]] == ["WRN40-2 Standard", "WRN40-2 SoTeacher"]
    assert shown["columns"] == [("", "ECE")] and shown["heads"] == []


def test_rows_of_two_networks_are_not_those_of_a_table_without_networks():
    both = block_of(
        cell("wrn_40_2 standard", ["c0"], "ece", "ece", role="teacher"),
        cell("resnet34 standard", ["d0"], "ece", "ece", role="teacher"),
        name="table7_calibration",
        kind="calibration",
    )
    methods = accuracy(first="standard", second="soteacher")
    assert len(page_tables(*blocks_of(methods, both), None)) == 2


def differences(block, *comparisons):
    """The differences that the details of a block's cells show."""
    [shown] = page_tables(*blocks_of(block), table(*comparisons))
    return [one["difference"] for _, cells in shown["rows"] for one in cells]


STUDENTS = claim("x", "holds", **measured(1.5, -0.25, 3.25))
TEXT = "SoTeacher − Standard: +1.50 [−0.25, +3.25] points (n = 4, p = 0.04)"


def test_a_cell_has_the_difference_of_its_pair_method_and_measure():
    assert differences(accuracy(), STUDENTS) == ["", TEXT]


@pytest.mark.parametrize(
    "other",
    [
        {"method": "no_cr"},
        {"pair": "wrn_40_2/wrn_16_2"},
        {"measure": "agreement"},
        {"distiller": ""},  # of teachers
        {"difference": float("nan")},
    ],
)
def test_a_difference_of_something_else_is_not_shown(other):
    assert differences(accuracy(), STUDENTS | other) == ["", ""]


def test_with_several_distillers_the_one_of_the_row_is_shown():
    other = STUDENTS | {"distiller": "at"} | measured(-2, -3, -1)
    block = block_of(
        cell("kd", ["a0"], f"{PAIR} soteacher"),
        cell("at", ["b0"], f"{PAIR} soteacher"),
        kind="distillers",
    )
    shown = differences(block, STUDENTS, other)
    assert shown[0] == TEXT and "−2.00 [−3.00, −1.00]" in shown[1]
    assert differences(accuracy(), STUDENTS, other) == ["", ""]  # which one is not known


def test_a_teacher_s_cell_has_the_difference_of_its_network():
    of_teacher = STUDENTS | {"distiller": "", "pair": "wrn_40_2"}
    block = block_of(
        cell("soteacher", ["a0"], STUDENT), cell("soteacher", ["c0"], TEACHER, role="teacher")
    )
    assert differences(block, of_teacher) == ["", TEXT]
    ece = of_teacher | {"measure": "ece", "unit": "ECE"} | measured(-0.05, -0.1, 0, p=0.0001)
    assert differences(calibration(), ece)[1] == (
        "SoTeacher − Standard: −0.050 [−0.100, +0.000] ECE (n = 4, p < 0.001)"
    )
