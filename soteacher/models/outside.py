"""Networks from outside this package: from files that a study names, and from installed packages.

`timm/resnet18` and `torchvision/mobilenet_v2` are networks of these packages; other packages
declare theirs as entry points. A name is looked up without torch and without running the code of
the network. `build` runs it, and `soteacher.models.facts` measures what plans need to know.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from soteacher.core.errors import UserError
from soteacher.models.output import Output

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("timm", "torchvision")
"""Packages with networks by name, such as `timm/resnet18`."""
ENTRY_POINTS = "soteacher.networks"
"""The group of entry points with which installed packages declare networks."""
BUILD = ("n_classes", "height", "width")
"""The parameters of the function `build` of a file or a module."""
REVISION = 1
"""Part of the specs of these networks. Increase it if the same code gives other results."""


@dataclass(frozen=True)
class OutsideNetwork:
    """A network from a file or from an installed package."""

    name: str
    source: str
    """The path of a file, or the name and version of an installed package."""
    code: bytes | None = None
    """The content of a file; None for an installed package."""
    code_sha256: str | None = None
    """The hash of a file's bytes; None for an installed package."""
    module: str = ""
    """The module of an entry point."""

    @property
    def identity(self) -> dict[str, str]:
        """The values that say which network this is, beside its name: for specs."""
        if self.code_sha256 is not None:
            return {"code_sha256": self.code_sha256}
        return {"package": self.source}


_files: dict[str, OutsideNetwork] = {}
"""Name to network of the files that this process has loaded; the last one of a name counts."""


def add_file(network: OutsideNetwork) -> None:
    """Make the network of a file known under its name."""
    _files[network.name] = network


def outside(name: str) -> OutsideNetwork | None:
    """Return the outside network of this name, or None if there is none.

    Raises `UserError` if the name is of a library that is not installed.
    """
    library, slash, model = name.partition("/")
    if slash:
        return _of_library(library, model) if library in LIBRARIES and model else None
    return _files.get(name) or installed().get(name)


def names() -> list[str]:
    """Return the names of the files' networks and of the entry points, and an example each."""
    return [*_files, *installed(), "timm/resnet18", "torchvision/mobilenet_v2"]


def _of_library(library: str, model: str) -> OutsideNetwork:
    try:
        return OutsideNetwork(f"{library}/{model}", f"{library} {version(library)}")
    except PackageNotFoundError:
        raise UserError(
            f"the network '{library}/{model}' needs the package {library}, which is not "
            f"installed: python -m pip install {library}"
        ) from None


@cache
def installed() -> dict[str, OutsideNetwork]:
    """Return name to network of each installed package's entry point; nothing is imported."""
    found = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?"
        found[entry.name] = OutsideNetwork(entry.name, source, module=entry.module)
    return found


def check_same(name: str, planned: dict[str, str]) -> None:
    """Raise `UserError` unless the network of this name is the one that a spec names.

    planned : `OutsideNetwork.identity` as in the spec; empty for a network of this package.
    """
    now = outside(name)
    identity = {} if now is None else now.identity
    if identity == planned:
        return
    if now is not None and "package" in planned:
        raise UserError(
            f"the plan needs the network '{name}' of {planned['package']}, but {now.source} is "
            "used now: use the same version for the plan and the job, or plan the study again"
        )
    expected = f"expected the network '{name}' of a file with sha256 "
    expected += planned.get("code_sha256", "?")[:12]
    if now is None:
        raise UserError(f"{expected}, which is not loaded: list the file under `networks`")
    raise UserError(
        f"{expected}; {now.source} now has sha256 {str(now.code_sha256)[:12]}: restore the file, "
        "or rerun the same snakemake command to plan the study with the changed file"
    )


def check_code(code: bytes) -> None:
    """Raise `UserError` unless a file's code defines `build(n_classes, height, width)`.

    The code is parsed, not run, because a study is also read on machines without torch. The error
    is the text that follows the file's path.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"{line}: {error.msg}; correct the file") from None
    except ValueError as error:  # null bytes
        raise UserError(f": {error}; correct the file") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            if tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args)) == BUILD:
                return
            break
    raise UserError(f": expected a function build({', '.join(BUILD)}) that returns the network")


def build(network: OutsideNetwork, n_classes: int, height: int, width: int) -> nn.Module:
    """Build a network, with random weights from torch's global generator.

    Its output is an `Output`. Raises `UserError` if it cannot be built for these images.
    """
    try:
        return _builder(network)(n_classes, height, width)
    except UserError as error:
        raise refused(network, n_classes, height, width, str(error)) from error
    except Exception as error:  # foreign code can raise anything
        raise refused(network, n_classes, height, width, error) from error


def refused(
    network: OutsideNetwork, n_classes: int, height: int, width: int, error: Exception | str
) -> UserError:
    """Return the error of one line for a network that cannot be used with such images."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    remedy = "correct the file" if network.code is not None else "choose another network"
    return UserError(
        f"the network '{network.name}' ({network.source}) cannot be used for {n_classes} classes "
        f"and images of {height}x{width} pixels: {' '.join(text.split())}; {remedy}"
    )


def _builder(network: OutsideNetwork) -> Callable[[int, int, int], Any]:
    library, slash, model = network.name.partition("/")
    if slash:
        from soteacher.models import libraries  # it imports torch

        return partial(libraries.build, library, model)
    if network.code is not None:
        return _run(network).build
    return importlib.import_module(network.module).build


def _run(network: OutsideNetwork) -> ModuleType:
    """Run the file of a network as a module, once per content."""
    assert network.code is not None and network.code_sha256 is not None
    name = f"soteacher_network_{network.code_sha256[:16]}.{network.name}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = network.source
        sys.modules[name] = module  # dataclasses and pickles look modules up there
        try:
            exec(compile(network.code, network.source, "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def check_output(output: object, n_images: int, n_classes: int) -> None:
    """Raise `ValueError` unless a network's output has the form of `Output`."""
    if not isinstance(output, Output):
        raise ValueError(
            f"it returns {type(output).__name__}; expected soteacher.models.output.Output"
        )
    if not isinstance(output.features, dict):
        raise ValueError(
            f"its features are {type(output.features).__name__}; expected a dict of tensors by name"
        )
    _check_tensor("its logits are", output.logits)
    if tuple(output.logits.shape) != (n_images, n_classes):
        raise ValueError(
            f"its logits are {tuple(output.logits.shape)}; expected ({n_images}, {n_classes})"
        )
    if "pooled" not in output.features:
        raise ValueError("it has no feature 'pooled', (B, C), the input of its last linear layer")
    for name, value in output.features.items():
        _check_tensor(f"its feature '{name}' is", value)
        n_dimensions = 2 if name == "pooled" else 4
        if value.ndim != n_dimensions or len(value) != n_images:
            form = "(B, C)" if name == "pooled" else "(B, C, H, W)"
            raise ValueError(f"its feature '{name}' is {tuple(value.shape)}; expected {form}")


def _check_tensor(what: str, value: object) -> None:
    from torch import Tensor

    if not isinstance(value, Tensor):
        raise ValueError(f"{what} {type(value).__name__}; expected a tensor")
    if not value.is_floating_point():
        raise ValueError(f"{what} of {value.dtype}; expected a tensor of floating-point numbers")
