"""Loss terms from files of the user's: a study lists them under `methods`.

A file registers one distiller or regularizer, named after the file. The content of the file is part
of what a run is, its location is not. Only the file itself counts: a change in another file that it
imports is not noticed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.registry import Outside

NAME = r"[a-z0-9][a-z0-9_]*"
REMEDY = "expected one class under @register that derives from Distiller or Regularizer"


def load_methods(paths: Iterable[str | Path], where: str = "--methods") -> dict[str, Outside]:
    """Load method files; return name to loss term. `UserError` (one line) if one cannot be used.

    where : what lists the files, for messages.
    """
    found: dict[str, Outside] = {}
    for path in paths:
        method = _load(Path(path).expanduser(), where)
        if method.name in found:
            raise UserError(
                f"{where}: {found[method.name].source} and {path} are both named "
                f"'{method.name}'; rename one of them"
            )
        found[method.name] = method
    return found


def _load(path: Path, where: str) -> Outside:
    name = path.stem
    try:
        code = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{where}: cannot read {path}: {error.strerror}; expected a Python file, by its path "
            "from the working directory"
        ) from None
    if path.suffix != ".py" or not re.fullmatch(NAME, name):
        raise UserError(
            f"{where}: expected a file named like my_method.py ({NAME}.py), which gives the method "
            f"its name; got {path}"
        )
    try:
        registry.check_new(name)
    except UserError as error:
        raise UserError(f"{where}: {path}: {error}: rename the file") from None
    if name in registry.installed():
        raise UserError(
            f"{where}: {path}: an installed package has a method of that name; rename the file"
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


def _registered(path: Path, code: bytes, module_name: str, where: str) -> type:
    """Run a file as a module; return the loss term that it registers."""
    module = ModuleType(module_name)
    module.__file__ = str(path.absolute())
    sys.modules[module_name] = module  # where pydantic looks up annotations
    part: type | None = None
    try:
        exec(compile(code, module.__file__, "exec"), module.__dict__)
        part = registry.take(module_name)
    except (Exception, SystemExit) as error:
        registry.take(module_name)
        problem = _problem(error)
    else:
        if part is not None and registry.kind_of(part) is not None:
            return part
        problem = f" registers {part.__name__ if part else 'nothing'}; {REMEDY}"
    del sys.modules[module_name]
    raise UserError(f"{where}: {path}{problem}")


def _problem(error: BaseException) -> str:
    """What to say, after the path, of whatever the code of a file may raise."""
    if isinstance(error, registry.SecondPart):
        return f" registers more than one class; {REMEDY}"
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{line}: {error.msg}; correct the file"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f" cannot be imported: {text}; correct the file (import torch from soteacher.methods: "
        "a study is read without it)"
    )
