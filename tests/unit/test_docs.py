"""What the documents say of the code is there: settings, keys, files."""

import re

import pytest
from shipped_methods import SHIPPED

from soteacher.core import registry
from soteacher.study.load import load

SETTINGS_OF_ALL = {"ce", "kd", "temperature", "weight"}
PARTS = {name: kind for kind in ("regularizer", "distiller") for name in registry.shipped(kind)}


def rows(root):
    """Number to the cells of its row, of all rows of docs/deviations.md that have one."""
    found = {}
    for line in (root / "docs/deviations.md").read_text().splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        if re.fullmatch(r"A\d+", first):
            assert first not in found
            found[first] = cells
    return found


def test_each_open_point_of_the_paper_has_one_row(root):
    found = rows(root)
    assert set(found) == {f"A{n}" for n in range(1, 33)}
    assert all(all(cells) for cells in found.values())


def test_every_setting_that_is_said_to_change_a_reading_exists(root):
    study = load(root / "config/paper.yaml")
    said = [s for *_, last in rows(root).values() for s in re.findall(r"`([\w.*]+)`", last)]
    assert len(said) > 10
    for setting in said:
        first, *inner = setting.split(".")
        if first in PARTS:
            assert inner[0] in registry.get(PARTS[first], first).model_fields, setting
        elif first in ("tables", "figures"):
            block = getattr(study, first)[inner[0]]
            assert all(key in type(block).model_fields for key in inner[1:]), setting


def described(root, heading):
    """Name to the cell of settings, of the table of methods under a heading of config/README.md."""
    table = (root / "config/README.md").read_text().partition(f'<a name="{heading}">')[2]
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", table.partition("<a name=")[0], re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    return dict(rows)


@pytest.mark.parametrize("kind", SHIPPED)
def test_every_shipped_method_is_explained_with_its_own_settings(root, kind):
    """Of a method that is not shipped, as one being developed, no row is asked for."""
    said = described(root, f"{kind}s")
    assert set(said) == set(SHIPPED[kind])
    for name in SHIPPED[kind]:
        own = set(registry.get(kind, name).model_fields)
        own -= SETTINGS_OF_ALL if kind == "distiller" else set()
        named = set(re.findall(r"`(\w+)`", said[name]))
        assert named <= own and (named == own or "and more" in said[name]), name


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce.md", "docs/deviations.md"])
def test_every_file_that_a_page_leads_to_is_there(root, page):
    text = (root / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((root / page).parent / target).exists(), target
