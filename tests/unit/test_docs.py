"""What the documents name exists: settings, keys, files, functions."""

import ast
import re

import pytest
from shipped_methods import SHIPPED
from test_layout import LAYERS

from soteacher.core import registry
from soteacher.store.forecast import Forecast
from soteacher.study.expand import expand
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
    assert set(found) == {f"A{n}" for n in range(1, 37)}
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


def test_the_hours_on_gpus_are_those_of_the_plan(root):
    """docs/reproduce.md prints what `soteacher plan config/paper.yaml --only BLOCK` models."""
    _, _, text = (
        (root / "docs/reproduce.md").read_text("utf-8").partition("| hours, by the model |")
    )
    headings, _, *rows = text.partition("\n\n")[0].splitlines()
    columns = [heading.strip().rsplit(" ", 1) for heading in headings.strip("|").split("|")]
    plan, found = expand(load(root / "config/paper.yaml")), {}
    for row in rows:
        name, *printed = (cell.strip("` ") for cell in row.strip("|").split("|"))
        part = plan if name == "all" else plan.only([name])
        hours = {
            (one["gpu"], one["precision"]): one["seconds"] / 3600
            for one in Forecast(part).facts()["gpu"]["hours"]
        }
        found[name] = [f"{hours[gpu, precision.lower()]:.0f}" for gpu, precision in columns]
        assert found[name] == printed, name
    assert len(found) == 7


PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")
PAGES += tuple(f"docs/{name}.md" for name in ("clusters", "code-map", "deviations", "engines"))
PAGES += tuple(
    f"docs/{name}.md" for name in ("add-a-method", "gpu", "losses", "penalties", "reproduce")
)
PAGES += ("docs/theory.md", "docs/claims.md", "docs/exchange.md", "docs/releasing.md")
PAGES += ("CODE_OF_CONDUCT.md", "SECURITY.md", "docs/results.md", "docs/own-data.md")
PAGES += tuple(
    f"docs/evidence/{name}.md" for name in ("README", "mechanism", "human_labels", "cifar20")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_leads_to_is_there(root, page):
    text = (root / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((root / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_heading_that_a_page_leads_to_exists(root, page):
    for target, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", (root / page).read_text()):
        text = ((root / page).parent / target if target else root / page).read_text()
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}
        assert heading in slugs | {*re.findall(r'<a name="([\w-]+)">', text)}, f"{target}#{heading}"


@pytest.fixture(scope="module")
def code_map(root):
    return (root / "docs/code-map.md").read_text()


def named_code(root):
    """What the code map names in the code: `path`, or `path:name` for a name in that file."""
    quoted = re.findall(r"`([^`\n]+)`", (root / "docs/code-map.md").read_text())
    return sorted({text for text in quoted if re.match(r"(soteacher|workflow|tests)/", text)})


def kinds(root, block):
    """The kinds of a table or of a figure, as config/README.md lists them."""
    _, _, text = (root / "config/README.md").read_text().partition(f"| `kind` of a {block} |")
    return re.findall(r"^\| `(\w+)` \|", text.partition("\n\n")[0], re.MULTILINE)


def defined(path):
    """Every name that a file defines: rules, functions, classes, constants, `Class.method`."""
    text = path.read_text()
    if path.suffix == ".smk":
        return {*re.findall(r"^(?:rule|def) (\w+)", text, re.MULTILINE)}
    return names_in(ast.parse(text).body)


def names_in(body, prefix=""):
    found = set()
    for node in body:
        if isinstance(node, ast.If):
            found |= names_in(node.body + node.orelse, prefix)
        elif isinstance(node, ast.ClassDef):
            found |= {prefix + node.name} | names_in(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            found.add(prefix + node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_code_map_names_code_by_its_path_alone(root, code_map):
    """`Class.method` or `module.function` without a path would not be checked."""
    quoted = re.findall(r"`([^`\n]+)`", code_map)
    dotted = {text for text in quoted if re.fullmatch(r"\w+(\.\w+)+(\(\))?", text)}
    assert dotted <= {"run.json"}
    assert len(named_code(root)) > 100


def test_every_file_and_name_of_the_code_map_exists(root):
    missing = []
    for text in named_code(root):
        path, _, name = text.partition(":")
        block = "figure" if "/figures/" in path else "table"
        for kind in kinds(root, block) if "<kind>" in path else [""]:
            file = root / path.replace("<kind>", kind)
            if not file.exists() or (name and name not in defined(file)):
                missing.append(str(file.relative_to(root)) + (f":{name}" if name else ""))
    assert missing == []


def test_the_code_map_has_every_room_in_the_order_of_imports(code_map):
    _, _, text = code_map.partition("| room | what it knows | torch |")
    rows = [line.split("|")[1] for line in text.partition("\n\n")[0].splitlines()[2:]]
    rooms = [tuple(re.findall(r"`soteacher/(\w+)(?:/|\.py)`", row)) for row in rows]
    assert rooms == list(LAYERS)


def test_every_test_that_the_document_on_reliability_names_exists(root):
    said = (root / "docs/reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", said)
    assert len(named) > 40
    for file, name in named:
        source = (root / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, (file, name)


def test_every_page_is_in_the_navigation_of_the_site(root):
    navigation = (root / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {*root.glob("*.md"), root / "config/README.md", *(root / "docs").glob("*.md")}
    pages |= {*(root / "docs/evidence").glob("*.md"), *(root / "docs/site").rglob("*.md")}
    named = re.findall(r"(\S+\.md)$", navigation, re.MULTILINE)
    assert {(root / name) for name in named if not name.startswith("api/")} | {
        root / "docs/site" / name for name in named if name.startswith("api/")
    } == pages


def test_the_api_reference_shows_modules_that_exist(root):
    pages = sorted((root / "docs/site/api").glob("*.md"))
    shown = [
        name
        for page in pages
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert len(shown) == len(set(shown)) > 10
    for name in shown:
        path = root / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name
