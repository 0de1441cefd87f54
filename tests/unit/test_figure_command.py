"""The command `figure`: its files are those of the functions, and their hashes are listed."""

from __future__ import annotations

import pytest
from made_figures import NO_TENTHS, binned, history, make, measured, record_of

from soteacher.cli import entry_point
from soteacher.core.hash_list import read_listed, write_hash_list
from soteacher.report.figures import make_svg
from soteacher.results.recomputed import of_drawings
from soteacher.study.requests import Request

FORMS = ("png", "pdf", "svg", "csv")
POINTS = [{"panel": "wrn_10_2", "series": "standard", "runs": ["a"]}]


@pytest.fixture
def files(tmp_path):
    """The folder with what the command wrote."""
    measures = measured(a=0.5)
    path = tmp_path / "job.csv"
    measures.to_csv(path)
    history(a=[0.25, 0.5]).to_csv(tmp_path / "job.epochs.csv", index=False)
    binned("a", 0, (1, 0.5, 0.5)).to_csv(tmp_path / "job.reliability.csv", index=False)
    NO_TENTHS.to_csv(tmp_path / "job.disagreement.csv", index=False)
    kinds = ("epochs", "reliability", "disagreement")
    write_hash_list(path, [tmp_path / f"job.{kind}.csv" for kind in kinds])
    record = record_of("curves", POINTS) | {"runs": {"a": "hash of a"}}
    block = Request.of(tmp_path, "curves", record).write()
    listed = Request.of(tmp_path, "measures", [str(path)]).write()
    made = [part for form in FORMS[1:] for part in (f"--{form}", str(tmp_path / f"curves.{form}"))]
    command = ["figure", "--block", block, "--measures", listed, *made]
    entry_point.main([*command, "--out", str(tmp_path / "curves.png")])
    return tmp_path


def test_it_writes_every_form_and_lists_their_hashes(files):
    content = {form: read_listed(files / f"curves.{form}", files / "curves.png") for form in FORMS}
    assert content["png"].startswith(b"\x89PNG") and content["pdf"].startswith(b"%PDF")
    _, table = make("curves", POINTS, measured(a=0.5), history(a=[0.25, 0.5]))
    assert content["svg"].decode() == make_svg(record_of("curves", POINTS), table)
    assert content["csv"].decode() == table.to_csv(index=False)


@pytest.mark.parametrize("form", FORMS[:3])
def test_a_changed_drawing_is_told_by_verify(files, form):
    assert of_drawings(files / "curves") == []
    with open(files / f"curves.{form}", "ab") as file:
        file.write(b" ")
    [told] = of_drawings(files / "curves")
    assert f"curves.{form} has changed since it was made" in told
