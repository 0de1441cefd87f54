"""Read one study file, YAML or JSON, to plain values: mappings, lists, texts, numbers, booleans.

The file is read by YAML 1.2's core schema (`soteacher.core.scalars`), and with it merge keys `<<`.
A file in JSON is read as JSON, as Snakemake does with files after `--configfile`.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import yaml

from soteacher.core import scalars
from soteacher.core.errors import UserError, short
from soteacher.study.plain_values import MOST_DEPTH, MOST_VALUES, check_plain

MOST_BYTES = 200_000
"""Maximum size of a study file."""
CORE = "tag:yaml.org,2002:"
"""Start of the full names of YAML's own tags, which are written with `!!`."""
PLAIN = "?"
"""The tag of a scalar without quotes and without a tag."""
KINDS = {"null": type(None), "bool": bool, "int": int, "float": float}
"""Tag of a scalar that is not a text, to the type of its value."""
EXPECTED = {"null": "null", "bool": "true or false", "int": "a whole number", "float": "a number"}


def values_of(path: Path) -> dict[str, Any]:
    """Return the values in one file; only that they are plain values is checked.

    A file that cannot be read raises a `UserError` of one line.
    """
    text = _text(Path(path))
    values = _json(path, text) if text.lstrip().startswith("{") else None
    if values is None:
        try:
            values = _Reader(text).value()
        except _BadYaml as error:
            raise UserError(f"{path}, {error}") from None
        except yaml.MarkedYAMLError as error:
            raise UserError(f"{path} is not valid YAML: {_problem(error)}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            problem = " ".join(str(error).split())
            raise UserError(f"{path} is not valid YAML: {short(problem, 300)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of study keys, see config/README.md")
    check_plain(values, str(path))
    return values


def _text(path: Path) -> str:
    """Return the content of the file, without a byte order mark."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            kind = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe or device"
            raise UserError(f"cannot read the study file {path}: expected a file; it is {kind}")
        if info.st_size > MOST_BYTES:
            raise UserError(
                f"cannot read the study file {path}: expected at most {MOST_BYTES} bytes of YAML; "
                f"it has {info.st_size}"
            )
        return path.read_text(encoding="utf-8-sig")
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"cannot read the study file {path}: expected UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the study file {path}: {reason}") from None


def _json(path: Path, text: str) -> Any:
    """Return the values of a JSON file, or None if the text is not JSON."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in values if keys.count(key) > 1)
            raise UserError(f"{path}: the key '{short(twice)}' appears twice in one mapping")
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except UserError:
        raise
    except (ValueError, RecursionError):  # the YAML reader says what is wrong, and where
        return None


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the place and the cause of an error of the YAML parser, in one line."""
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    texts = [text for text in (error.context, error.problem) if text]
    return place + short(", ".join(texts), 300)


class _BadYaml(Exception):
    """A part of the file has a place, but no meaning in a study."""

    def __init__(self, part: Any, text: str) -> None:
        super().__init__(f"line {part.start_mark.line + 1}: {text}")


def _unknown_tag(node: yaml.Node) -> _BadYaml:
    tag = node.tag.replace(CORE, "!!")
    return _BadYaml(node, f"the tag {short(tag)} has no meaning in a study file; remove it")


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.tag == PLAIN and key.value == "<<"


class _Reader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    yaml.resolver.BaseResolver,
):
    """PyYAML's parser with the meaning of tags, scalars and keys that YAML 1.2's core schema has.

    An alias gives the same object as its anchor. `check_plain` refuses values that contain
    themselves, and aliases that make a short file a huge study.
    """

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)
        self._depth = 0
        self._n_values = 0
        self._values: dict[yaml.Node, Any] = {}
        self._unfinished: set[yaml.Node] = set()

    def value(self) -> Any:
        """Return the values in the text."""
        node = self.get_single_node()
        return None if node is None else self._of(node)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Limit the depth and the number of nodes, then compose the node as PyYAML does."""
        start = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _BadYaml(start, f"expected at most {MOST_DEPTH} levels of values")
        self._count(start, 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _count(self, place: yaml.Node | yaml.Event, n: int) -> None:
        """Count values; the limit keeps the reading of any file short."""
        self._n_values += n
        if self._n_values > MOST_VALUES:
            raise _BadYaml(place, f"expected at most {MOST_VALUES} values in a file")

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node without one; `PLAIN` for a scalar without quotes."""
        if kind is yaml.ScalarNode:
            return PLAIN if implicit[0] else f"{CORE}str"
        return f"{CORE}seq" if kind is yaml.SequenceNode else f"{CORE}map"

    def _of(self, node: yaml.Node) -> Any:
        if node in self._values:
            return self._values[node]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        expected = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != f"{CORE}{expected}":
            raise _unknown_tag(node)
        if isinstance(node, yaml.SequenceNode):
            entries: list[Any] = []
            self._values[node] = entries
            entries += [self._of(entry) for entry in node.value]
            return entries
        values: dict[str, Any] = {}
        self._values[node] = values
        self._unfinished.add(node)
        self._fill(values, node)
        self._unfinished.remove(node)
        return values

    def _fill(self, values: dict[str, Any], node: yaml.Node) -> None:
        """Put the merged values of a mapping first, then its own; a key may appear only once."""
        merges = [value for key, value in node.value if _is_merge(key)]
        for merge in merges:
            listed = merge.value if isinstance(merge, yaml.SequenceNode) else [merge]
            for merged in reversed(listed):
                if not isinstance(merged, yaml.MappingNode) or merged in self._unfinished:
                    raise _BadYaml(node, "expected `<<` to name another mapping, or a list of some")
                values |= self._of(merged)
                self._count(node, len(values))
        seen: set[str] = {"<<"} if merges else set()
        if len(merges) > 1:
            raise _BadYaml(node, "the key '<<' appears twice")
        for key_node, value in node.value:
            if _is_merge(key_node):
                continue
            key = self._of(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                given = "a list or mapping"
                if isinstance(key_node, yaml.ScalarNode):
                    given = short(key_node.value) or "nothing"
                raise _BadYaml(key_node, f"expected a text as a key; got {given}")
            if key in seen:
                raise _BadYaml(key_node, f"the key '{short(key)}' appears twice")
            seen.add(key)
            values[key] = self._of(value)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(CORE)
        if node.tag == f"{CORE}str":
            return text
        try:
            value = scalars.scalar(text)
        except ValueError as error:
            raise _BadYaml(node, str(error)) from None
        if node.tag == PLAIN:
            return value
        if kind not in KINDS:
            raise _unknown_tag(node)
        if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not KINDS[kind]:
            raise _BadYaml(node, f"expected {EXPECTED[kind]} after !!{kind}; got '{short(text)}'")
        return value
