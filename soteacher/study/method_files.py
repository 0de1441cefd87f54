"""Load loss terms from the user's method files, which a study lists under `methods`.

A file registers one distiller or regularizer, which has the name of the file. The file's content is
part of a run's spec, but its location is not. A change in another file that it imports has no
effect on the spec.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.registry import Outside

NAME = r"[a-z0-9][a-z0-9_]*"
MOST_IN_NAME = 150
"""Maximum number of characters of a method's name, as of all names of a study."""
REMEDY = "expected one class under @register that derives from Distiller or Regularizer"


def load_methods(paths: Iterable[str | Path], where: str = "--methods") -> dict[str, Outside]:
    """Load method files; return name to loss term. Raise `UserError` if a file cannot be used.

    where : the key or option that lists the files, for messages.
    """
    methods: dict[str, Outside] = {}
    for path in paths:
        method = _load(Path(path), where)
        if method.name in methods:
            raise UserError(
                f"{where}: {methods[method.name].source} and {path} are both named "
                f"'{method.name}'; rename one of them"
            )
        methods[method.name] = method
    return methods


def _load(path: Path, where: str) -> Outside:
    name, code = read_code(path, where, "method")
    try:
        registry.check_new(name)
    except UserError as error:
        raise UserError(f"{where}: {path}: {error}; rename the file") from None
    if name in registry.installed():
        raise UserError(
            f"{where}: {path}: an installed package has a method with this name; rename the file"
        )
    sha256 = hashlib.sha256(code).hexdigest()
    for known in registry.files_of(name):
        if known.code_sha256 == sha256:
            return known
    part = _registered(path, code, f"soteacher_method_{sha256[:16]}.{name}", where)
    kind = registry.kind_of(part)
    assert kind is not None
    method = Outside(kind, name, part, str(path), sha256)
    registry.add_file(method)
    return method


def read_code(path: Path, where: str, what: str) -> tuple[str, bytes]:
    """Return the name that a file gives its method or network (`what`), and the file's content."""
    try:
        code = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{where}: cannot read {path}: {error.strerror}; expected the path of a Python file, "
            "relative to the working directory"
        ) from None
    if path.suffix != ".py" or not re.fullmatch(NAME, path.stem):
        raise UserError(
            f"{where}: expected a file named like my_{what}.py ({NAME}.py), because the file "
            f"name is the name of the {what}; got {path}"
        )
    if len(path.stem) > MOST_IN_NAME:
        raise UserError(
            f"{where}: expected a file name of at most {MOST_IN_NAME} characters before .py; "
            f"{path.name} has {len(path.stem)}"
        )
    return path.stem, code


def _registered(path: Path, code: bytes, module_name: str, where: str) -> type:
    """Run a file as a module; return the loss term that it registers."""
    module = ModuleType(module_name)
    module.__file__ = str(path.absolute())
    sys.modules[module_name] = module  # pydantic looks up annotations there
    part: type | None = None
    try:
        with redirect_stdout(sys.stderr):  # a command's output may be read by a program
            exec(compile(code, module.__file__, "exec"), module.__dict__)
        part = registry.take(module_name)
    except (Exception, SystemExit) as error:
        registry.take(module_name)
        problem = _problem(error)
    else:
        problem = _unusable(part)
        if part is not None and not problem:
            return part
    del sys.modules[module_name]
    raise UserError(f"{where}: {path}{problem}")


def _unusable(part: type | None) -> str:
    """Return the text that follows the path if a file's part cannot be used; empty if it can."""
    if registry.kind_of(part) is None:
        registered = "nothing" if part is None else getattr(part, "__name__", repr(part))
        return f" registers {registered}; {REMEDY}"
    try:
        registry.check_settings(part)
    except UserError as error:
        return f": {error}"
    return ""


def _problem(error: BaseException) -> str:
    """Return the text that follows the path in a message about an error in a method file."""
    if isinstance(error, registry.SecondPart):
        return f" registers more than one class; {REMEDY}"
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{line}: {error.msg}; correct the file"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    remedy = "correct the file"
    if isinstance(error, ImportError) and (error.name or "").startswith("soteacher_method_"):
        text = "it imports a file next to it"
        remedy = "put everything that the method needs into one file"
    elif isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "torch":
        remedy = (
            "import torch from soteacher.methods, because studies are also read on machines "
            "without torch"
        )
    return f" cannot be imported: {text}; {remedy}"
