"""The table of training steps: from made-up times to what is printed."""

import re

import pandas as pd
import pytest
from made_tables import heading, notes, shown

from soteacher import cli
from soteacher.core.errors import UserError
from soteacher.core.hash_list import write_hash_list
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.page import make_page
from soteacher.report.tables import make_table, read_table
from soteacher.report.tables.base import Inputs
from soteacher.report.tables.overhead import make_overhead, read_steps
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.requests import Request
from soteacher.study.summary import block_record

MACHINE = {
    "device": "A CPU",
    "capability": "AVX2",
    "threads": 2,
    "precision": "float32",
    "torch": "2.0.1",
    "soteacher": "1.2.3",
}
CALM = {"standard": [10.0, 10.1, 9.9, 10.0, 30.0], "soteacher": [10.4, 10.6, 10.3, 10.6, 31.5]}
"""One step of each method took long, which the quartiles do not show."""
REFERENCE = ("standard", "more_time")
"""The cell without a number."""
MILLISECONDS = {
    "standard": [10, 20, 40, 100, 10],
    "soteacher": [11, 21, 48, 200, 9],  # 10, 5, 20, 100 and -10 % more
}


@pytest.fixture
def block(demo):
    """What the study says of its table of steps, of two methods and five steps."""
    demo["tables"]["overhead"] |= {"steps": 5, "teachers": [*MILLISECONDS]}
    return block_record(expand(read(demo)), "overhead")


@pytest.fixture
def write(block, tmp_path):
    """Write the two files of the clock; returns the path of the steps."""

    def write(times=MILLISECONDS, peaks=(None, None), waiting=(1.0, 1.0), **changes):
        wall = dict(zip(times, waiting, strict=True))
        steps = [
            {"network": "wrn_10_2", "method": method, "step": k + 1, "seconds": t / 1e3}
            | {"cpu_seconds": wall[method] and t / 1e3 / wall[method]}
            for k in range(5)
            for method, of_method in times.items()
            for t in of_method[k : k + 1]
        ]
        methods = [
            {"network": network, "method": method, "spec_sha256": sha256 + "0" * 48}
            | {"kept_mb": 0.0 if method == "standard" else 12.3456, "peak_mb": peak}
            | MACHINE
            | changes
            for (network, method, sha256), peak in zip(
                block["timed"]["methods"], peaks, strict=True
            )
        ]
        path = tmp_path / "overhead.csv"
        pd.DataFrame(steps).to_csv(path, index=False)
        pd.DataFrame(methods).to_csv(path.with_suffix(".methods.csv"), index=False)
        write_hash_list(path, [path.with_suffix(".methods.csv")])
        return path

    return write


def table_of(block, path):
    """The table of a block and the steps that were written for it."""
    return make_table(block, Inputs(lambda: pytest.fail("it needs no measures"), path))


def cells(table):
    """(row, column) to (median, low, high)."""
    return {
        (cell["row"], cell["column"]): tuple(cell[["median", "low", "high"]])
        for _, cell in table.iterrows()
    }


def texts(table):
    return {(cell["row"], cell["column"]): shown(cell) for _, cell in table.iterrows()}


def test_times_are_medians_and_quartiles_and_more_time_is_of_each_step_s_own_pair(write):
    found = cells(make_overhead(*read_steps(write())))
    assert found["wrn_10_2 standard", "step_ms"] == pytest.approx((20, 10, 40))
    assert found["wrn_10_2 soteacher", "step_ms"] == pytest.approx((21, 11, 48))
    # the medians alone would say 21/20, 5 %
    assert found["wrn_10_2 soteacher", "more_time"] == pytest.approx((10, 5, 20))
    assert found["wrn_10_2 standard", "more_time"] == (0, 0, 0)


def test_the_order_of_the_rows_of_steps_is_no_matter(write):
    steps, methods = read_steps(write())
    mixed = steps.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(make_overhead(mixed, methods), make_overhead(steps, methods))


def test_each_network_is_compared_with_its_own_first_method(write):
    steps, methods = read_steps(write())
    steps = pd.concat([steps, steps.assign(network="wide", seconds=3 * steps["seconds"])])
    other = methods.assign(network="wide").iloc[::-1]
    found = cells(make_overhead(steps, pd.concat([methods, other])))
    assert found["wide soteacher", "more_time"] == (0, 0, 0)
    assert found["wide standard", "step_ms"] == pytest.approx((60, 30, 120))
    assert found["wide standard", "more_time"][0] == pytest.approx(100 * (1 / 1.1 - 1))


def test_cells_say_their_numbers_and_which_method_is_the_reference(write, block):
    found = texts(table_of(block, write()))
    assert found == {
        ("wrn_10_2 standard", "step_ms"): "20.00 (10.00 to 40.00), disturbed",
        ("wrn_10_2 standard", "more_time"): "reference",
        ("wrn_10_2 standard", "kept_mb"): "0.00",
        ("wrn_10_2 soteacher", "step_ms"): "21.00 (11.00 to 48.00), disturbed",
        ("wrn_10_2 soteacher", "more_time"): "+10.00 (+5.00 to +20.00), disturbed",
        ("wrn_10_2 soteacher", "kept_mb"): "12.35",
    }


def test_the_peak_is_shown_where_it_was_measured(write, block):
    found = texts(table_of(block, write(peaks=(100.0, 112.3456))))
    assert found["wrn_10_2 standard", "peak_mb"] == "100.00"
    assert found["wrn_10_2 soteacher", "peak_mb"] == "112.35"


@pytest.mark.parametrize(
    ("times", "waiting", "expected"),
    [
        pytest.param(CALM, (1.0, 1.0), set(), id="calm"),
        pytest.param(CALM, (1.09, 1.09), set(), id="nearly all of a core"),
        pytest.param(CALM, (None, None), set(), id="on a GPU"),
        pytest.param(
            CALM,
            (1.0, 1.2),
            {("soteacher", "step_ms"), ("soteacher", "more_time")},
            id="one method waited for a core",
        ),
        pytest.param(
            CALM,
            (1.2, 1.0),
            {("standard", "step_ms"), ("standard", "more_time"), ("soteacher", "more_time")},
            id="the reference waited for a core",
        ),
        pytest.param(
            {"standard": [10, 12, 14, 10, 12], "soteacher": [11, 13.2, 15.4, 11, 13.2]},
            (None, None),
            {("standard", "step_ms"), ("soteacher", "step_ms")},
            id="both methods were slower in the same steps: only their ratio is sure",
        ),
    ],
)
def test_times_are_disturbed_if_quartiles_are_wide_or_steps_waited(
    write, block, times, waiting, expected
):
    table = table_of(block, write(times, waiting=waiting))
    marked = table[table["disturbed"]]
    found = {
        (row.split()[1], column)
        for row, column in zip(marked["row"], marked["column"], strict=True)
    }
    assert found == expected
    assert ("disturbed" in " ".join(texts(table).values())) == bool(expected - {REFERENCE})
    said = [note for note in notes(table) if note.startswith("Disturbed: ")]
    assert len(said) == bool(expected)
    assert all("10 % of the median" in note and "1.1 times" in note for note in said)


@pytest.mark.parametrize("peaks", [(None, None), (1.5, 2.5)])
def test_the_csv_says_what_the_table_says(write, block, tmp_path, peaks):
    table = table_of(block, write(peaks=peaks))
    table.to_csv(tmp_path / "table.csv", index=False)
    write_hash_list(tmp_path / "table.csv")
    again = read_table(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(again, table)
    assert texts(again) == texts(table)


def test_markdown_and_latex_have_every_cell_the_number_of_steps_and_the_device(write, block):
    table = table_of(block, write(CALM))
    said = heading(block, table)
    assert said.endswith("; median and quartiles of n = 5 steps per method.")
    device = "Measured on A CPU (AVX2, 2 threads), float32, torch 2.0.1, soteacher 1.2.3."
    assert notes(table) == [device]
    for text in (to_markdown(block, table), to_latex(block, table)):
        assert said in text and device in text
        assert all(cell in text for cell in texts(table).values())
        assert "WRN10-2 SoTeacher" in text and "Kept (MB)" in text and "nan" not in text
        assert "paper's experiment" not in text


def test_the_page_has_every_cell_and_says_what_the_paper_found(write, block):
    table = table_of(block, write())
    said = {"study": "ours", "facts": [], "teachers": {}, "distillers": {}, "recipes": {}}
    said["regularizers"] = {}
    asked = said | {"tables": {"overhead": block}, "figures": {}}
    page = make_page(asked, {"overhead": table}, {})
    shown = [re.sub("<[^>]*>", "", part) for part in re.findall("<td .*?</td>", page)]
    assert shown == [*texts(table).values()]
    assert "about 5 %" in page and "Training overhead" in page


def test_the_table_command_makes_the_three_forms(write, block, tmp_path):
    steps = write()
    asked = Request.of(tmp_path, "block", block).write()
    outs = {name: str(tmp_path / f"t.{name}") for name in ("markdown", "latex", "out")}
    given = [word for name, path in outs.items() for word in (f"--{name}", path)]
    beside = str(steps.with_suffix(".methods.csv"))
    given += ["--measures", str(Request.of(tmp_path, "measures", []).write())]
    cli.main(["table", "--block", str(asked), "--steps", str(steps), beside, *given])
    table = table_of(block, steps)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.out"), table)
    assert (tmp_path / "t.markdown").read_text() == to_markdown(block, table)
    assert (tmp_path / "t.latex").read_text() == to_latex(block, table)


@pytest.mark.parametrize(
    ("times", "changes"),
    [
        (MILLISECONDS, {"spec_sha256": "f" * 64}),
        (MILLISECONDS, {"method": "no_cr"}),
        ({name: times[:4] for name, times in MILLISECONDS.items()}, {}),
    ],
    ids=["settings", "methods", "number"],
)
def test_steps_of_other_settings_are_refused(write, block, times, changes):
    path = write(times, **changes)
    with pytest.raises(UserError, match="have other settings than the study needs; rerun"):
        read_steps(path, block["timed"])


def test_steps_that_are_cut_short_are_named(write):
    path = write()
    path.write_text("network,met")
    with pytest.raises(UserError, match=r"overhead.csv has changed since it was made"):
        read_steps(path)
    write_hash_list(path)
    with pytest.raises(UserError, match=r"overhead.csv: it has no column 'method'; delete it"):
        read_steps(path)
