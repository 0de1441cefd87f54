"""The JSON schema of study files, for editors that complete and check them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from soteacher.core import registry
from soteacher.core.settings import Settings
from soteacher.data.settings import Augment, TrueLabels
from soteacher.study.schema import PARTS, Head, TeacherMethod


class _Described(GenerateJsonSchema):
    """Settings with the texts below them as descriptions.

    pydantic can read those (`use_attribute_docstrings`), but parses the source of every class
    for them when it is imported: a quarter of a second of each command.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for name, text in _texts(schema["cls"]).items():
            made["properties"][name]["description"] = text
        return made


def _texts(settings: type[Settings]) -> dict[str, str]:
    """Setting to the text below it, for those of a class and its bases that have one."""
    found: dict[str, str] = {}
    for cls in reversed(settings.__mro__[: settings.__mro__.index(Settings)]):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(value))),
                ) if name in settings.model_fields:
                    found[name] = inspect.cleandoc(value)
    return found


def json_schema(methods: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """The JSON schema of study files, for editors that complete and check them.

    methods : names of the regularizers and distillers in it, by kind; None: all that there are.
    """
    definitions: dict[str, Any] = {}
    named = methods or {kind: registry.names(kind) for kind in registry.BASES}

    def schema(settings: type[Settings]) -> dict[str, Any]:
        made = settings.model_json_schema(
            ref_template="#/$defs/{model}", schema_generator=_Described
        )
        definitions.update(made.pop("$defs", {}))
        return made

    top = schema(Head)
    sources = []
    for name in registry.names("data source"):
        source = schema(registry.get("data source", name))
        source["properties"] = {
            "source": {"const": name},
            **source.get("properties", {}),
            "augment": {"anyOf": [schema(Augment), {"type": "null"}]},
            "true_labels": {"anyOf": [schema(TrueLabels), {"type": "null"}]},
        }
        source["required"] = [*source.get("required", []), "source"]
        sources.append(source)
    regularizers = {
        name: {"anyOf": [schema(registry.get("regularizer", name)), {"type": "null"}]}
        for name in named["regularizer"]
    }
    methods = TeacherMethod.model_json_schema(schema_generator=_Described)
    table5 = methods["properties"]["table5"]
    distillers = {}
    for name in named["distiller"]:
        distillers[name] = schema(registry.get("distiller", name))
        distillers[name]["properties"]["method"] = {"enum": list(named["distiller"])}
    top["properties"] |= {
        "tables": {"type": "object", "additionalProperties": {"anyOf": _kinds("table", schema)}},
        "figures": {
            "type": ["object", "null"],  # a study may have none
            "additionalProperties": {"anyOf": _kinds("figure", schema)},
        },
        "data": {"type": "object", "additionalProperties": {"anyOf": sources}},
        "teachers": {
            "type": "object",
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": {"table5": table5, **regularizers},
                "additionalProperties": False,
            },
        },
        "distillers": {
            "type": "object",
            "additionalProperties": {"anyOf": [*distillers.values(), {"type": "null"}]},
        },
    }
    top["required"] = [*top["required"], *(part for part in PARTS if part != "figures")]
    top["title"] = "soteacher study"
    top["$defs"] = definitions
    return top


def _kinds(what: str, schema: Callable[[type[Settings]], dict[str, Any]]) -> list[dict[str, Any]]:
    """The schemas of the kinds of tables or figures, each with its name."""
    kinds = []
    for name in registry.names(f"kind of {what}"):
        kind = schema(registry.get(f"kind of {what}", name))
        named = {"const": name, "title": "Kind", "type": "string"}
        kind["properties"] = {"kind": named, **kind["properties"]}
        kind["required"] = ["kind", *kind["required"]]
        kinds.append(kind)
    return kinds
