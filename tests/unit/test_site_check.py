"""The check of the built documentation site finds what it is for."""

import runpy
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / "site/check_site.py"
PAGE = '<h1 id="top">A</h1><a name="old"></a><a href="b/c.html#here">c</a><a href="#old">o</a>'
OTHER = '<p id="here">c</p><a href="../a.html">a</a><a href="https://a.b/">away</a>'


@pytest.fixture
def faults(tmp_path):
    def of(page):
        (tmp_path / "b").mkdir()
        (tmp_path / "a.html").write_text(page, encoding="utf-8")
        (tmp_path / "b/c.html").write_text(OTHER, encoding="utf-8")
        return runpy.run_path(str(CHECK))["faults"](tmp_path)

    return of


def test_a_site_whose_links_lead_somewhere_has_no_fault(faults):
    assert faults(PAGE) == []


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ('<a href="d.html">d</a>', "a.html links to d.html, which does not exist"),
        ('<a href="b/c.html#x">c</a>', "a.html links to b/c.html#x, which has no such heading"),
        ('<a href="#x">x</a>', "a.html links to #x, which has no such heading"),
        ('<img src="d.png">', "a.html links to d.png, which does not exist"),
        ('<script src="//x.y/z.js">', "a.html loads //x.y/z.js from another host"),
        ('<link href="https://x.y/z">', "a.html loads https://x.y/z from another host"),
    ],
)
def test_each_fault_is_found(faults, added, said):
    assert faults(PAGE + added) == [said]


def test_an_empty_site_is_a_fault(tmp_path):
    [fault] = runpy.run_path(str(CHECK))["faults"](tmp_path)
    assert fault.endswith("has no page")
