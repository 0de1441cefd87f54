"""The printed figures of the paper's Tables 1 to 7, as kept in paper_values.csv.

The expected cells, counts and sums below were taken from the paper apart from the file under
test, so a wrong digit, a swapped pair of cells or a lost row in either place shows up here.
"""

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

CSV_PATH = Path(__file__).parents[2] / "soteacher" / "report" / "paper_values.csv"

METHODS = ["standard", "soteacher", "no_cr", "no_lr"]
DISTILLERS = [
    "fitnet",
    "at",
    "sp",
    "cc",
    "vid",
    "rkd",
    "pkt",
    "ab",
    "ft",
    "nst",
    "crd",
    "sskd",
    "rco",
]
CIFAR_PAIRS = ["wrn_40_2/wrn_40_1", "wrn_40_2/wrn_16_2", "resnet32x4/shufflenet_v2"]
TINY_PAIR = "resnet34/resnet18"
PAIRS = [*CIFAR_PAIRS, TINY_PAIR]

# Rows and columns of each table, in the order in which the paper prints them.
LAYOUT = {
    "table1": (
        METHODS,
        [f"{pair} {who}.top1" for pair in CIFAR_PAIRS for who in ("student", "teacher")],
    ),
    "table2": (
        METHODS,
        [f"{TINY_PAIR} {who}.{top}" for who in ("student", "teacher") for top in ("top1", "top5")],
    ),
    "table3": (
        [
            f"{network} {method}"
            for network in ("wrn_40_2", "resnet32x4", "resnet34")
            for method in ("standard", "soteacher")
        ],
        ["ece", "nll", "ece_scaled", "nll_scaled"],
    ),
    "table4": (["standard", "soteacher"], [f"{pair} student.agreement" for pair in PAIRS]),
    "table5": (
        [name for name in DISTILLERS if name not in ("sskd", "rco")],
        ["standard", "soteacher"],
    ),
    "table6": (
        DISTILLERS,
        [f"{pair} {method}" for pair in CIFAR_PAIRS for method in ("standard", "soteacher")],
    ),
    "table7": (
        ["standard", "soteacher", "l2", "l1", "mixup", "cutmix", "augmix", "crl"],
        [f"wrn_40_2/wrn_40_1 {who}.top1" for who in ("student", "teacher")],
    ),
}
COUNTS = {
    "table1": 24,
    "table2": 16,
    "table3": 24,
    "table4": 8,
    "table5": 22,
    "table6": 78,
    "table7": 16,
}
TABLES = sorted(COUNTS)

# (sum of the means, sum of the spreads) of each table.
SUMS = {
    "table1": ("1821.88", "4.49"),
    "table2": ("1206.33", "6.76"),
    "table3": ("13.781", "0.219"),
    "table4": ("612.09", "1.51"),
    "table5": ("51530.83", "0"),
    "table6": ("5894.07", "15.87"),
    "table7": ("1201.61", "2.81"),
}
# The same, each cell multiplied by its place in the table (1, 2, ... along the rows).
PLACED_SUMS = {
    "table1": ("22846.37", "55.42"),
    "table2": ("10316.33", "71.94"),
    "table3": ("196.393", "3.450"),
    "table4": ("2760.67", "6.67"),
    "table5": ("635932.02", "0"),
    "table6": ("233237.19", "599.99"),
    "table7": ("10250.07", "24.95"),
}


def read_lines():
    with CSV_PATH.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def read_cells():
    """Every cell as {(table, row, column): (mean text, sd text)}."""
    return {(table, row, column): (mean, sd) for table, row, column, mean, sd in read_lines()[1:]}


def printed_order(table):
    """The (mean, sd) texts of one table, along its rows as printed."""
    cells = read_cells()
    rows, columns = LAYOUT[table]
    return [cells[table, row, column] for row in rows for column in columns]


def test_header_is_table_row_column_mean_sd():
    assert CSV_PATH.read_text(encoding="utf-8").splitlines()[0] == "table,row,column,mean,sd"


def test_every_table_has_its_printed_number_of_cells():
    assert Counter(line[0] for line in read_lines()[1:]) == COUNTS


def test_every_cell_of_tables_1_to_7_is_there_once():
    found = Counter(tuple(line[:3]) for line in read_lines()[1:])
    expected = Counter(
        (table, row, column)
        for table, (rows, columns) in LAYOUT.items()
        for row in rows
        for column in columns
    )
    assert found == expected


def test_every_mean_is_a_positive_number():
    for cell, (mean, _) in read_cells().items():
        value = Decimal(mean)
        assert value.is_finite() and value > 0, cell


def test_every_spread_is_a_positive_number_and_only_table_5_has_none():
    for cell, (_, sd) in read_cells().items():
        if cell[0] == "table5":
            assert sd == "", cell
        else:
            value = Decimal(sd)
            assert value.is_finite() and value > 0, cell


def test_means_and_spreads_keep_the_decimals_as_printed():
    for cell, texts in read_cells().items():
        if cell[0] == "table5":
            continue
        decimals = 3 if cell[0] == "table3" else 2
        assert [len(text.partition(".")[2]) for text in texts] == [decimals, decimals], cell


@pytest.mark.parametrize("table", TABLES)
def test_means_and_spreads_add_up_to_the_sums_of_the_paper(table):
    values = printed_order(table)
    assert sum(Decimal(mean) for mean, _ in values) == Decimal(SUMS[table][0])
    assert sum(Decimal(sd or "0") for _, sd in values) == Decimal(SUMS[table][1])


@pytest.mark.parametrize("table", TABLES)
def test_no_two_figures_have_changed_places(table):
    values = list(enumerate(printed_order(table), start=1))
    assert sum(i * Decimal(mean) for i, (mean, _) in values) == Decimal(PLACED_SUMS[table][0])
    assert sum(i * Decimal(sd or "0") for i, (_, sd) in values) == Decimal(PLACED_SUMS[table][1])


def test_table_1_pairs_that_share_a_teacher_print_the_same_standard_teacher():
    cells = read_cells()
    first = cells["table1", "standard", "wrn_40_2/wrn_40_1 teacher.top1"]
    second = cells["table1", "standard", "wrn_40_2/wrn_16_2 teacher.top1"]
    assert first == second == ("76.38", "0.13")


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_table_7_standard_and_l2_rows_equal_the_standard_row_of_table_1(who):
    cells = read_cells()
    column = f"wrn_40_2/wrn_40_1 {who}.top1"
    in_table_1 = cells["table1", "standard", column]
    assert cells["table7", "standard", column] == in_table_1
    assert cells["table7", "l2", column] == in_table_1


def test_table_5_soteacher_weight_is_half_the_standard_weight_except_for_crd():
    cells = read_cells()
    for name in LAYOUT["table5"][0]:
        standard = cells["table5", name, "standard"][0]
        soteacher = cells["table5", name, "soteacher"][0]
        if name == "crd":
            assert (standard, soteacher) == ("0.8", "0.5")
        else:
            assert Decimal(soteacher) * 2 == Decimal(standard), name
