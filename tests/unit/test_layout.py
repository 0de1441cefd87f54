"""The rooms of the package: imports go down only, none goes in a circle, and few bring torch.

Every import counts, also one inside a function or for types only.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LAYERS = (
    ("core",),
    ("models", "data", "penalties"),
    ("terms",),
    ("distillers", "regularizers"),
    ("methods",),
    ("losses",),
    ("study",),
    ("store",),
    ("training", "measures"),
    ("exchange",),
    ("statistics",),
    ("report",),
    ("claims",),
    ("results",),
    ("cli",),
)
"""From the bottom. Rooms of one layer do not import each other."""
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FACADE = {"soteacher", "soteacher.__main__"}
"""What users import or run: it may import from every room, and no room imports it."""
METHODS = "soteacher.methods"
"""What the files of methods import, wherever they are: it imports none of them but their bases."""
LAZILY = ("core", "terms", "distillers", "regularizers", "methods", "store")
"""Rooms that import torch only inside functions, or for types."""
NEVER = ("study", "measures", "statistics", "report", "claims", "results", "cli")
"""Rooms that do not import torch at all."""
ALWAYS = ("models", "data", "penalties", "losses", "training", "exchange")
"""Rooms with modules that import torch when they are imported."""
TORCH = {"torch", "torchvision", "safetensors"}


@cache
def modules(root: Path) -> dict[str, ast.Module]:
    """Name to syntax tree of every module of the package."""
    found = {}
    for path in sorted((root / "soteacher").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the package that some code imports, the most exact name that there is."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                modules.add(whole if whole in known else node.module)
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {name for name in modules if name.partition(".")[0] == "soteacher"}


def of_torch(node: ast.AST) -> bool:
    """Whether a statement imports torch, or a package that imports it."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.partition(".")[0] in TORCH for name in names)


def outside_functions(node: ast.AST):
    """All statements that run when a module is imported: not in functions, not for types only."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not for_types:
            yield child
            yield from outside_functions(child)


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


def test_imports_name_modules_in_full(root):
    """A relative import, or one by a text, would escape the other tests."""
    for name, tree in modules(root).items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name}, {node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                at_runtime = name in ("soteacher.core.registry", "soteacher.cli.entry_point")
                named = node.value.startswith("soteacher.") and node.value in modules(root)
                assert at_runtime or not named, f"{name}, {node.lineno}: {node.value}"


def test_no_imports_go_in_a_circle(graph):
    """A package's own file may name what is in it, as long as nothing in it names the package."""
    within = {}
    for name, others in graph.items():
        inside = {other for other in others if other.startswith(f"{name}.")}
        returned = {other for other in inside if name in graph[other]}
        within[name] = others - inside | returned
    assert list(TopologicalSorter(within).static_order())


def test_the_module_for_authors_of_methods_imports_no_method(graph):
    of_methods = {name for name in graph[METHODS] if room(name) in ("distillers", "regularizers")}
    assert of_methods == {"soteacher.distillers.base", "soteacher.regularizers.base"}


def torch_in(root, name, statements):
    """The statements of a room's modules that import torch."""
    return [
        f"{module}, line {node.lineno}"
        for module, tree in modules(root).items()
        if room(module) == name
        for node in statements(tree)
        if of_torch(node)
    ]


@pytest.mark.parametrize("name", LAZILY)
def test_a_room_imports_torch_for_types_alone_or_where_it_is_used(root, name):
    assert torch_in(root, name, outside_functions) == []


@pytest.mark.parametrize("name", NEVER)
def test_a_room_never_imports_torch(root, name):
    assert torch_in(root, name, ast.walk) == []


def test_rooms_with_and_without_torch_are_all_rooms():
    assert LEVEL.keys() == {*LAZILY, *NEVER, *ALWAYS}
