"""The rooms of the package: imports go down only, none goes in a circle, and few bring torch.

Every import counts, also one inside a function or for types only.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LAYERS = (
    ("core",),
    ("models", "data", "penalties"),
    ("terms",),
    ("distillers", "regularizers"),
    ("methods",),
    ("study",),
    ("store",),
    ("training", "measures"),
    ("report",),
    ("results",),
    ("cli",),
)
"""From the bottom. Rooms of one layer do not import each other."""
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FACADE = {"soteacher", "soteacher.__main__"}
"""What users import or run: it may import from every room, and no room imports it."""
METHODS = "soteacher.methods"
"""What the files of methods import, wherever they are: it imports none of them but their bases."""
WITHOUT_TORCH = ("core", "distillers", "regularizers", "study", "store", "measures")
WITHOUT_TORCH += ("report", "results", "cli", "terms", "methods")
TORCH = {"torch", "torchvision", "safetensors"}


def modules(root: Path) -> dict[str, ast.Module]:
    """Name to syntax tree of every module of the package."""
    found = {}
    for path in sorted((root / "soteacher").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the package that some code imports, the most exact name that there is."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "soteacher"}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def is_method(module: str) -> bool:
    return room(module) in ("distillers", "regularizers") and not module.endswith(".base")


@pytest.fixture(scope="module")
def graph(root) -> dict[str, set[str]]:
    """Module to what it imports of the package."""
    trees = modules(root)
    return {name: imports(tree, {*trees}) for name, tree in trees.items()}


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


def test_every_module_is_in_a_room(graph):
    rooms = {room(name) for name in graph.keys() - FACADE}
    assert rooms <= LEVEL.keys()


def test_no_import_goes_up_or_to_a_room_of_the_same_layer(graph):
    wrong = [
        f"{name} imports {other}"
        for name in graph.keys() - FACADE
        for other in graph[name] - ({METHODS} if is_method(name) else set())
        if other in FACADE
        or (room(other) != room(name) and LEVEL[room(other)] >= LEVEL[room(name)])
    ]
    assert wrong == []


def test_no_imports_go_in_a_circle(graph):
    packages = {name for name in graph if any(n.startswith(f"{name}.") for n in graph)}
    within = {  # a package's own file may name what is in it
        name: {o for o in others if not (name in packages and o.startswith(f"{name}."))}
        for name, others in graph.items()
    }
    assert list(TopologicalSorter(within).static_order())


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_room_without_torch_imports_it_for_types_alone_or_where_it_is_used(root, name):
    """At the top of a module, that is: what is imported with the module."""
    found = [
        f"{module}: {ast.unparse(node)}"
        for module, tree in modules(root).items()
        if room(module) == name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for package in [getattr(node, "module", None) or node.names[0].name]
        if package.partition(".")[0] in TORCH
    ]
    assert found == []
