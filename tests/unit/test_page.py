"""The page: one whole file, with every number, the runs behind it, and every figure."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from made_tables import TEACHER, block_of, cell, heading, lost, notes, row, shown, tabulate

from soteacher import cli
from soteacher.core.errors import UserError
from soteacher.core.hash_list import write_hash_list
from soteacher.report.markdown import to_markdown
from soteacher.report.page import make_page
from soteacher.study.requests import Request

VOID = {"meta", "img", "br", "hr", "link", "input"}
FACTS = ["The study needs 3 teachers & 3 students, over seeds <0>."]
DIVERGED = "bad: diverged in epoch 3, step 7 (ce=nan)"


class Reader(HTMLParser):
    """A page as a browser sees it; refuses tags that are not closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.ids, self.links, self.loaded = [], {}, []
        self.cells, self.asides = [], []  # what opens when it is pressed, in tables and elsewhere
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        assert len(named) == len(attrs)
        if tag == "li":
            assert self.open[-1] == "ul"
        if tag in ("td", "th"):
            assert self.open[-1] == "tr"
        if tag == "summary":
            assert self.open[-1] == "details"
        if tag == "p":
            assert "p" not in self.open
        if tag == "a":
            assert "a" not in self.open
            self.links.setdefault(named["href"], "")
            self.link = named["href"]
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.loaded += [named[name] for name in ("src", "srcset", "data") if name in named]
        assert not any(name.startswith("on") for name in named)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "details":
            self.details = self.cells if "td" in self.open else self.asides
            self.details.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("summary", "li") and "details" in self.open:
            self.details[-1] += "|"

    def handle_data(self, data):
        self.texts.append(data)
        if "a" in self.open:
            self.links[self.link] = data
        if "details" in self.open:
            self.details[-1] += data


def svg(name):
    """The bytes of a figure's file: a wide and a narrow drawing, of which a browser shows one."""
    sheet = (
        f"#{name} {{ display: block; width: 100%; height: auto; max-width: 882px; "
        "aspect-ratio: 504 / 200 } @media screen and (max-width: 719px) { "
        f"#{name} {{ aspect-ratio: 252 / 200 }} #{name} .wide {{ display: none }} "
        f"#{name} .narrow {{ display: inline }} }}"
    )
    drawings = "".join(
        f'<svg class="{form}" viewBox="0 0 {width} 200" width="100%" height="100%"{more}>'
        f'<path id="{name}-{form}-m1"/><text x="9" y="99" font-size="7">{form}</text></svg>'
        for form, width, more in (("wide", 504, ""), ("narrow", 252, ' display="none"'))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" role="img" aria-label="{name}">'
        f"<desc>What {name} shows</desc><style>{sheet}</style>{drawings}</svg>"
    ).encode()


def figure(kind, *runs, deviations=()):
    """What the page says of a figure besides its image."""
    said = {"kind": kind, "title": f"A {kind}", "meaning": f"What <{kind}> & others mean."}
    papers = "none" if deviations else "all"
    return said | {"deviations": list(deviations), "papers": papers, "runs": list(runs)}


def summary_of(blocks, **others):
    """What `page_summary` says of a study with these tables, and two figures."""
    said = ("kind", "title", "meaning", "deviations", "papers")
    return {
        "study": "ours",
        "facts": FACTS,
        "teachers": {"soteacher": "lipschitz (weight 0.0001) + consistency"},
        "regularizers": {"soteacher": ["consistency", "lipschitz"], "no_lr": ["l1"]},
        "distillers": {"kd": "kd"},
        "recipes": {"demo": "epochs 16, lr {'default': 0.05}"},
        "tables": {block["name"]: {key: block[key] for key in said} for block in blocks},
        "figures": {
            "figure1": figure("checkpoints", "teachers/f0", "students/f0/epoch004/kd"),
            "curves": figure("curves", "teachers/f0"),
        },
    } | others


@pytest.fixture
def mixed():
    """Two tables with every kind of cell, and the measures of their runs."""
    first = block_of(
        cell("standard", ["t/s0", "t/s1"], TEACHER, papers=True, role="teacher"),
        cell("standard", ["a0"]),
        cell("soteacher", ["t/t0", "t/t1", "t/t2"], TEACHER, role="teacher"),
        cell("soteacher", ["b0"]),
        deviations=("batch 32 (paper: 64)",),
    )
    second = block_of(
        cell("wrn_40_2 standard", ["c0", "c1"], "ece", "ece", role="teacher"),
        cell("wrn_40_2 standard", ["c0", "c1"], "nll_scaled", "nll_scaled", role="teacher"),
        name="settings",
        kind="calibration",
    )
    rows = [row(run, share) for run, share in (("t/s0", 0.76), ("t/s1", 0.77), ("a0", 0.5))]
    rows += [row("t/t0", 0.74), lost("t/t1", "diverged", DIVERGED), row("t/t2", 0.75)]
    rows += [lost("b0", "blocked", "b0: blocked by t/t1")]
    rows += [row("c0", 0.9, ece=0.1, nll_scaled=0.5), row("c1", 0.9, ece=0.2, nll_scaled=0.75)]
    return [first, second], rows


NUMBERS = pd.DataFrame(
    {
        "role": ["teacher", "student", "student"],
        "runs": ["f0", "f0/epoch004/kd", None],
        "trained_on": ["a CPU", "a GPU", None],
    }
)
FIGURES = {"figure1": (svg("figure-figure1"), NUMBERS), "curves": (svg("figure-curves"), NUMBERS)}


@pytest.fixture
def made(mixed):
    """The tables, and the page of them and of two figures."""
    blocks, rows = mixed
    tables = {block["name"]: tabulate(block, *rows) for block in blocks}
    return blocks, tables, Reader(make_page(summary_of(blocks), tables, FIGURES))


def test_the_page_is_one_file_that_loads_nothing(made):
    _, _, page = made
    assert page.loaded == []
    outside = {link for link in page.links if ":" in link}
    assert outside == {
        "https://arxiv.org/abs/2206.06661",
        "https://openreview.net/forum?id=aR3hRo_O6cn",
    }
    assert {"link", "iframe", "object", "img"}.isdisjoint(page.tags)
    assert page.tags.count("script") == 1
    assert page.tags.count("html") == page.tags.count("body") == 1


def test_the_page_has_every_cell_s_text_heading_meaning_and_all_notes(made):
    blocks, tables, page = made
    for block in blocks:
        table = tables[block["name"]]
        for text in table.apply(shown, axis=1):
            assert any(cell.startswith(f"{text}|") for cell in page.cells)
        assert {heading(block, table), block["meaning"], *notes(table)} <= set(page.texts)
    assert page.asides[0] == (
        "Some cells are not the paper's experiment, so the paper's value is not shown with them: "
        "1 difference|batch 32 (paper: 64)|"
    )


def test_the_page_has_every_run_behind_a_number_with_its_value_and_its_record(made):
    _, _, page = made
    assert page.cells[:4] == [
        "76.50 ± 0.71 (paper 76.38 ± 0.13, +0.12, p = 0.85)|76.00 t/s0|77.00 t/s1|",
        "50.00|50.00 a0|",
        "74.50 ± 0.71 (n = 2 of 3)|74.00 t/t0|diverged t/t1|75.00 t/t2|",
        "none (n = 0 of 1)|blocked b0|",
    ]
    for run in ("t/s0", "t/s1", "t/t0", "t/t1", "t/t2", "c0", "c1"):
        assert page.links[f"teachers/{run}/run.json"] == run
    assert page.links["students/a0/run.json"] == "a0"


def test_a_blocked_run_which_has_no_record_is_named_without_a_link(made):
    _, _, page = made
    assert "b0" in page.texts
    assert not any("b0" in link for link in page.links)


def test_a_value_is_printed_with_the_decimals_of_its_measure(made):
    _, _, page = made
    assert page.cells[4].startswith("0.150 ± 0.071")
    assert "0.100 c0" in page.cells[4] and "0.200 c1" in page.cells[4]
    assert "0.750 c1" in page.cells[5]


def test_the_contents_lead_to_every_table_every_figure_and_the_settings(made):
    _, _, page = made
    anchors = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert anchors == ["table1", "settings", "figure1", "curves", "all-settings"]
    assert set(anchors) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.links["#table1"] == "Table 1"


def test_figures_are_in_the_page_as_they_are_in_their_files(made):
    blocks, tables, _ = made
    page = make_page(summary_of(blocks), tables, FIGURES)
    for drawing, _ in FIGURES.values():
        assert page.count(drawing.decode()) == 1
    assert {"A checkpoints.", "What <curves> & others mean."} <= set(Reader(page).texts)


@pytest.mark.parametrize("drawing", [b"<svg", b"<p>text</p>"])
def test_a_file_without_a_drawing_is_refused_in_one_line(drawing, mixed):
    blocks, _ = mixed
    with pytest.raises(UserError, match=r"the SVG file of 'figure1' has no drawing .*delete it"):
        make_page(summary_of(blocks), {}, {"figure1": (drawing, NUMBERS)})


def test_the_runs_of_a_figure_are_linked_under_it(made):
    _, _, page = made
    runs = ["teachers/f0", "students/f0/epoch004/kd"]
    assert f"From 2 runs|{runs[0]}|{runs[1]}|" in page.asides
    assert f"From 1 run|{runs[0]}|" in page.asides
    assert {f"{run}/run.json" for run in runs} <= page.links.keys()


def test_below_a_figure_stands_what_is_not_the_paper_s_and_what_it_was_trained_on(mixed):
    blocks, rows = mixed
    tables = {block["name"]: tabulate(block, *rows) for block in blocks}
    figures = {
        "figure1": figure("checkpoints", "teachers/f0", deviations=("batch 32 (paper: 64)",)),
        "curves": figure("curves", "teachers/f0") | {"papers": "some", "deviations": ["x", "y"]},
    }
    page = Reader(make_page(summary_of(blocks, figures=figures), tables, FIGURES))
    assert "Not the paper's experiment: 1 difference|batch 32 (paper: 64)|" in page.asides
    assert "Some of the runs are not the paper's experiment: 2 differences|x|y|" in page.asides
    assert page.texts.count("Trained on a CPU; and on a GPU.") == 2


def test_the_page_says_how_its_runs_ended(made):
    _, _, page = made
    [line] = [text for text in page.texts if text.startswith("Runs in tables and figures")]
    assert line == "Runs in tables and figures: 1 blocked, 1 diverged, 9 done."
    assert not any("proves no claim" in text for text in page.texts)


def test_the_page_says_what_a_method_of_the_paper_is_if_the_study_s_is_the_same(made):
    _, _, page = made
    assert any(text.startswith("the paper's method: Standard with Lips") for text in page.texts)
    assert not any(text.startswith("SoTeacher without") for text in page.texts)  # no_lr is l1 here


def test_the_page_has_the_day_of_its_numbers(mixed):
    blocks, _ = mixed
    page = make_page(summary_of(blocks), {}, FIGURES, dated=date(2026, 1, 31))
    assert '<time datetime="2026-01-31">2026-01-31</time>' in page


def test_a_run_that_is_in_a_figure_alone_and_not_drawn_is_not_finished(mixed):
    blocks, _ = mixed
    page = make_page(summary_of(blocks), {}, {"figure1": (svg("figure-figure1"), NUMBERS[:1])})
    assert "Runs in tables and figures: 1 done, 1 not finished." in page


def test_a_page_without_an_experiment_of_the_paper_says_so_once_at_its_top():
    block = block_of(cell("standard", ["s0"]), deviations=("batch 32 (paper: 64)",))
    table = tabulate(block, row("s0", 0.5))
    page = make_page(summary_of([block], figures={}), {"table1": table}, {})
    said = "Nothing here is the paper’s experiment, so this page proves no claim of the paper."
    assert page.count(said) == 1
    assert page.index(said) < page.index("<nav")


def test_files_of_tables_and_figures_are_linked_beside_them(made):
    _, _, page = made
    tables = ("table1", "settings")
    files = {f"tables/{name}.{kind}" for name in tables for kind in ("csv", "md", "tex")}
    files |= {f"figures/{name}.{kind}" for name in FIGURES for kind in ("csv", "svg", "pdf", "png")}
    assert files <= page.links.keys()


def test_a_study_without_figures_has_a_page_without_them(mixed):
    blocks, rows = mixed
    tables = {block["name"]: tabulate(block, *rows) for block in blocks}
    page = Reader(make_page(summary_of(blocks), tables, {}))
    assert "svg" not in page.tags
    assert "Figures" not in page.texts
    assert "#figure1" not in page.links


def test_columns_stand_under_the_pair_they_are_of(made):
    _, _, page = made
    assert page.texts.count("WRN40-2/WRN40-1") == 1
    heads = {"Teacher accuracy (%)", "Student accuracy (%)", "ECE", "NLL, scaled"}
    assert heads | {"SoTeacher"} <= set(page.texts)


def test_what_is_special_in_html_is_shown_as_it_is():
    evil = "<b>&\"'</b>"
    block = block_of(
        cell(evil, ["s0"], f"{evil} {evil}"), name="odd", deviations=(f"batch {evil}",)
    )
    block |= {"title": evil, "meaning": evil}
    table = tabulate(block, row("s0", 0.5, device=evil))
    summary = summary_of([block], study=evil, facts=[evil], recipes={"a": evil})
    page = Reader(make_page(summary, {"odd": table}, {}))
    assert "b" not in page.tags
    assert f"Study “{evil}”: student-oriented teacher training" in page.texts
    assert page.texts.count(evil) >= 6  # fact, row, head, column, meaning, recipe
    assert f"Not the paper's experiment: 1 difference|batch {evil}|" in page.asides
    assert any(text.startswith(f"Trained on {evil} (1 thread)") for text in page.texts)


# the command: the page is made of the table's CSV, which must hold what its texts are made of


def commands(folder, summary, blocks, rows, figures):
    """Make tables and the page of them in a folder; return the page's text."""
    tabulated = {block["name"]: tabulate(block, *rows) for block in blocks}
    said = Request.of(folder, "asked", summary).write()
    arguments = ["page", "--summary", said, "--out", str(folder / "page.html")]
    arguments += ["--tables"]
    for name, table in tabulated.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        write_hash_list(folder / f"{name}.csv")
        arguments.append(str(folder / f"{name}.csv"))
    arguments += ["--figures"]
    for name, (drawing, numbers) in figures.items():
        (folder / f"{name}.png").write_bytes(b"a picture")
        (folder / f"{name}.svg").write_bytes(drawing)
        numbers.to_csv(folder / f"{name}.csv", index=False)
        others = [folder / f"{name}.{kind}" for kind in ("svg", "csv")]
        write_hash_list(folder / f"{name}.png", others)
        arguments.append(str(folder / f"{name}.png"))
    cli.main(arguments)
    return (folder / "page.html").read_text(encoding="utf-8")


def test_the_page_command_makes_the_same_page_of_files(mixed, tmp_path):
    blocks, rows = mixed
    summary = summary_of(blocks)
    tables = {block["name"]: tabulate(block, *rows) for block in blocks}
    today, place = datetime.now(UTC).date(), f"{tmp_path.name}/page.html"
    expected = make_page(summary, tables, FIGURES, dated=today, place=place)
    assert commands(tmp_path, summary, blocks, rows, FIGURES) == expected


def test_a_single_run_that_diverged_is_on_the_page_too(tmp_path):
    block = block_of(cell("standard", ["s0"]))
    page = commands(tmp_path, summary_of([block]), [block], [lost("s0", "diverged", DIVERGED)], {})
    assert Reader(page).cells == ["none (n = 0 of 1)|diverged s0|"]


@pytest.mark.parametrize("shares", [(0.9004, 0.9007), (0.9006, 0.9009)])
def test_markdown_and_page_round_a_number_alike(shares, tmp_path):
    block = block_of(cell("standard", ["s0", "s1"]))
    rows = [row("s0", shares[0]), row("s1", shares[1])]
    page = Reader(commands(tmp_path, summary_of([block]), [block], rows, {}))
    printed = next(text for text in page.texts if "±" in text)
    assert printed in to_markdown(block, tabulate(block, *rows))


def test_a_run_that_a_figure_does_not_show_has_no_link(mixed):
    blocks, _ = mixed
    shown = {"figure1": (svg("figure-figure1"), NUMBERS[:1])}
    page = make_page(summary_of(blocks), {}, shown)
    assert 'href="teachers/f0/run.json"' in page
    assert "students/f0/epoch004/kd" not in page
    assert "From 1 run<" in page


def test_an_unexpected_error_of_a_command_is_in_its_log(tmp_path):
    tabulate(block_of(cell("standard", ["s0"])), row("s0", 0.5)).to_csv(tmp_path / "t.csv")
    write_hash_list(tmp_path / "t.csv")
    options = [
        "--summary",
        Request.of(tmp_path, "empty", {}).write(),
        "--tables",
        "t.csv",
        "--out",
        "page.html",
        "--log",
        "page.log",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "soteacher", "page", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
    )
    assert done.returncode == 1
    assert "KeyError: 'tables'" in (tmp_path / "page.log").read_text()
