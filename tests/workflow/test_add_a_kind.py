"""A kind of table and a kind of figure, added to a copy of the project in two files each."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from conftest import ROOT, Workplace

FILES = {
    "study/kinds/tables/seed_range.py": '''
"""How far the seeds of a teacher method are apart."""

from typing import ClassVar, Literal

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.contents import Cell, Cells
from soteacher.study.kinds.base import NetworkBlock
from soteacher.study.kinds.comparison import run_deviations


@register
class SeedRangeTable(NetworkBlock):
    """Largest less smallest test accuracy of teachers over seeds."""

    title: ClassVar = "Range of test accuracy over seeds"
    meaning: ClassVar = "A narrow range means that seeds matter little."

    unit: Literal["percent", "share"] = "percent"

    def check(self, study, where):
        """There must be two seeds to compare."""
        super().check(study, where)
        if len(self.seeds or study.seeds) < 2:
            raise UserError(f"{where}.seeds: expected two seeds or more")

    def content(self, expansion, name):
        """Return a cell per network and method."""
        cells, runs_of = [], self.runs(expansion, name)
        for heading, pair in self.pair_of_each(expansion.study).items():
            for method in self.teachers:
                runs = runs_of.teachers(pair, method)
                column = f"{heading} {self.unit}"
                cells.append(Cell(method, column, "top1", runs, run_deviations(runs, method)))
        return Cells(tuple(cells))
''',
    "report/tables/seed_range.py": '''
"""The report of tables of kind `seed_range`."""

from typing import ClassVar

import pandas as pd

from soteacher.core.registry import register
from soteacher.report.tables.base import TableReport


@register
class SeedRangeReport(TableReport):
    """Largest less smallest value."""

    columns: ClassVar = (*TableReport.columns, "range")
    numbers: ClassVar = ("range",)
    labels: ClassVar = {"percent": "Range (%)"}

    def make(self, record, inputs):
        """Return a row per cell."""
        measures, rows = inputs.measures(), []
        for cell in record["cells"]:
            values = 100 * pd.to_numeric(measures.loc[cell["runs"], "top1"])
            place = {name: cell[name] for name in ("row", "column", "measure")}
            rows.append(place | {"range": values.max() - values.min()})
        return pd.DataFrame(rows)

    def shown(self, cell):
        """Return the range."""
        return f"<{cell['range']:.3f}>"

    def heading(self, record, table):
        """Return the title."""
        return f"{record['title']}, of {len(table)} methods."

    def notes(self, table):
        """Return one note."""
        return ["Ranges grow with the number of seeds."]
''',
    "study/kinds/figures/ranking.py": '''
"""Teachers in the order of the study."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.kinds.base import NetworkBlock


@register
class RankingFigure(NetworkBlock):
    """A bar per teacher method."""

    title: ClassVar = "Test accuracy of teachers in the order of the study"
    meaning: ClassVar = "A longer bar is a better teacher."

    def content(self, expansion, name):
        """Return a bar per network and method."""
        runs_of = self.runs(expansion, name)
        return Points(
            tuple(
                Point(heading, method, runs_of.teachers(pair, method), position={"place": place})
                for heading, pair in self.pair_of_each(expansion.study).items()
                for place, method in enumerate(self.teachers)
            )
        )
''',
    "report/figures/ranking.py": '''
"""The report of figures of kind `ranking`."""

import pandas as pd

from soteacher.core.registry import register
from soteacher.report.drawing.finished import finished, summed
from soteacher.report.drawing.panels import make_panels
from soteacher.report.figures.base import FigureReport


@register
class RankingReport(FigureReport):
    """A panel per network, a bar per method."""

    def values(self, record, measured):
        """Return a row per bar."""
        rows = []
        for point in record["points"]:
            runs = finished(point["runs"], measured.runs)
            accuracy = pd.to_numeric(measured.runs.loc[runs, "top1"])
            named = {name: point[name] for name in ("panel", "series", "place")}
            rows.append(named | summed(accuracy, runs, point["runs"]))
        return pd.DataFrame(rows)

    def draw(self, table):
        """Return the bars."""
        names = list(dict.fromkeys(table["panel"]))
        figure, panels = make_panels(names, "Place", {"Accuracy (%)": 2.0}, set())
        for name, bars in table.groupby("panel"):
            panels[name]["Accuracy (%)"].bar(bars["place"], bars["mean"])
        return figure
''',
}
"""All that is added; nothing else in the project is changed."""
METHODS = ["standard", "soteacher"]
RANGE = {"kind": "seed_range", "teachers": METHODS, "seeds": [0, 1]}
RANKING = {"kind": "ranking", "teachers": METHODS}


class Extended(Workplace):
    """A working directory of a copy of the project that has the kinds."""

    def __init__(self, path: Path, project: Path) -> None:
        super().__init__(path)
        self.project = project

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess:
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.path,
            env=os.environ | {"PATH": binaries, "PYTHONPATH": str(self.project)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def table(self) -> list[dict[str, str]]:
        with open(self.path / "results/tiny/tables/ranges.csv", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory) -> Extended:
    """The tiny study with one block of each of the kinds, made: not to be changed."""
    project = tmp_path_factory.mktemp("project")
    for name in ("soteacher", "workflow", "config"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, project / name, ignore=left_out)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, project / name)
    for name, code in FILES.items():
        (project / "soteacher" / name).write_text(code)
    path = tmp_path_factory.mktemp("extended") / "copy"
    shutil.copytree(finished.path, path, symlinks=True)
    place = Extended(path, project)
    place.write(with_blocks(place.study))
    snakefile = ("--snakefile", str(project / "Snakefile"))
    place.run("snakemake", "--cores", "2", *snakefile, "--configfile", "study.yaml")
    return place


def with_blocks(study: dict, **changes) -> dict:
    tables = study["tables"] | {"ranges": RANGE | changes}
    return study | {"tables": tables, "figures": {"bars": RANKING}}


def test_the_table_is_made_in_every_form(extended):
    rows = extended.table()
    assert [(row["kind"], row["row"], row["column"]) for row in rows] == [
        ("seed_range", method, "wrn_10_1 percent") for method in METHODS
    ]
    folder = extended.path / "results/tiny/tables"
    for name in ("ranges.md", "ranges.tex"):
        text = (folder / name).read_text()
        assert "Range of test accuracy over seeds, of 2 methods." in text
        assert "Ranges grow with the number of seeds." in text
        assert f"<{float(rows[0]['range']):.3f}>" in text and "Range (" in text


def test_the_figure_is_made_in_every_form(extended):
    folder = extended.path / "results/tiny/figures"
    assert (folder / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "bars.pdf").read_bytes().startswith(b"%PDF")
    assert "Panels: WRN10-1." in (folder / "bars.svg").read_text()
    with open(folder / "bars.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["series"], row["place"]) for row in rows] == [
        ("standard", "0"),
        ("soteacher", "1"),
    ]
    assert all(0 < float(row["mean"]) < 100 for row in rows)


def test_the_page_shows_both(extended):
    page = (extended.path / "results/tiny/report.html").read_text()
    assert "Range of test accuracy over seeds, of 2 methods." in page
    assert "A narrow range means that seeds matter little." in page
    assert "Test accuracy of teachers in the order of the study." in page
    assert 'href="figures/bars.csv"' in page and 'href="tables/ranges.csv"' in page


def test_both_are_listed(extended):
    said = extended.run("soteacher", "methods").stdout
    assert "seed_range      Largest less smallest test accuracy of teachers over seeds.\n" in said
    assert re.search(r"ranking +A bar per teacher method\.\n", said)


def test_both_are_verified(extended, tmp_path):
    shutil.copytree(extended.path, tmp_path / "copy", symlinks=True)
    place = Extended(tmp_path / "copy", extended.project)
    for study in ((), ("--study", "study.yaml")):
        said = place.run("soteacher", "verify", "results/tiny", *study).stderr
        assert "ranges.csv: 2 cells recomputed" in said and "bars.csv: 2 values recomputed" in said
    for path, column in (("tables/ranges.csv", "range"), ("figures/bars.csv", "place")):
        file = place.path / "results/tiny" / path
        rows = pd.read_csv(file)
        rows[column] += 1
        rows.to_csv(file, index=False)
    changed = place.run("soteacher", "verify", "results/tiny", code=2).stderr
    assert "tables/ranges.csv, row 1, range: " in changed
    assert "figures/bars.csv, row 1, place: " in changed


def test_the_study_file_accepts_its_settings_and_an_unknown_key_is_one_line(extended, tmp_path):
    place = Extended(tmp_path, extended.project)
    place.write(with_blocks(extended.study, unit="share"))
    place.run("soteacher", "plan", "study.yaml")
    for changes, line in (
        ({"units": "share"}, "tables.ranges: unknown key 'units'; known: "),
        ({"unit": "mile"}, "tables.ranges.unit: expected 'percent' or 'share'; got \"mile\""),
        ({"seeds": [0]}, "tables.ranges.seeds: expected two seeds or more"),
    ):
        place.write(with_blocks(extended.study, **changes))
        said = place.run("soteacher", "plan", "study.yaml", code=2).stderr
        assert line in said and said.count("\n") == 1


def test_the_schema_has_both(extended):
    schema = json.loads(extended.run("soteacher", "schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(with_blocks(extended.study, unit="share"))) == []
    [error] = validator.iter_errors(with_blocks(extended.study, units="share"))
    assert list(error.absolute_path) == ["tables", "ranges"]


def test_a_kind_without_a_report_is_one_line(extended, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(extended.project / "soteacher", project / "soteacher")
    (project / "soteacher/report/tables/seed_range.py").unlink()
    shutil.copytree(extended.path, tmp_path / "copy", symlinks=True)
    place = Extended(tmp_path / "copy", project)
    said = place.run("soteacher", "verify", "results/tiny", code=2).stderr
    assert "unknown kind of table 'seed_range'; known: accuracy, " in said
    assert "soteacher/report/tables/ has none" in said and "Traceback" not in said
