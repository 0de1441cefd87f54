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
from soteacher.core.recipe import FineTune
from soteacher.core.settings import Settings
from soteacher.data.settings import Augment, CountsFile, TrueLabels
from soteacher.study.schema import OWN_KEYS, PARTS, Head, TeacherMethod

Schema = Callable[[type[Settings]], dict[str, Any]]
"""Returns the JSON schema of a class of settings."""
PART_DESCRIPTIONS = {
    "data": "Data sets by name: a source of images, and what is done to the images.",
    "teachers": "Teacher methods by name: each is a set of regularizers, and {} is Standard.",
    "distillers": "Ways to train students by name: each is a distiller and its settings.",
    "tables": "Tables by name: the kind of each table, and what it shows.",
    "figures": "Figures by name: the kind of each figure, and what it shows.",
}
"""Descriptions of the keys of a study whose entries name registered parts."""


class _Described(GenerateJsonSchema):
    """Use the texts below the fields of settings as their descriptions.

    pydantic's `use_attribute_docstrings` does the same, but it parses the source of every class at
    import, which adds a quarter of a second to each command.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        for name, text in _texts(schema["cls"]).items():
            json_schema["properties"][name]["description"] = text
        return json_schema


def _texts(settings: type[Settings]) -> dict[str, str]:
    """Return setting to the text below it, for the settings of a class and its bases."""
    texts: dict[str, str] = {}
    for cls in reversed(settings.__mro__[: settings.__mro__.index(Settings)]):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(value))),
                ) if name in settings.model_fields:
                    texts[name] = inspect.cleandoc(value)
    return texts


def json_schema(methods: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Return the JSON schema of study files.

    methods : kind to the names of the regularizers and distillers to include; None: all of them.
    """
    definitions: dict[str, Any] = {}
    named = methods or {kind: registry.names(kind) for kind in registry.LOSS_TERMS}

    def schema(settings: type[Settings]) -> dict[str, Any]:
        json_schema = settings.model_json_schema(
            ref_template="#/$defs/{model}", schema_generator=_Described
        )
        definitions.update(json_schema.pop("$defs", {}))
        return json_schema

    top = schema(Head)
    regularizers = {
        name: {"anyOf": [schema(registry.get("regularizer", name)), {"type": "null"}]}
        for name in named["regularizer"]
    }
    methods = TeacherMethod.model_json_schema(schema_generator=_Described)
    own = {name: methods["properties"][name] for name in OWN_KEYS}
    own["fine_tune"] |= {"anyOf": [schema(FineTune), {"type": "null"}]}
    distillers = {}
    for name in named["distiller"]:
        distillers[name] = schema(registry.get("distiller", name))
        distillers[name]["properties"]["method"] = {"enum": list(named["distiller"])}
    top["properties"] |= {
        "tables": {"type": "object", "additionalProperties": {"anyOf": _kinds("table", schema)}},
        "figures": {
            "type": ["object", "null"],  # a study may have no figures
            "additionalProperties": {"anyOf": _kinds("figure", schema)},
        },
        "data": {"type": "object", "additionalProperties": {"anyOf": _sources(schema)}},
        "teachers": {
            "type": "object",
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": own | regularizers,
                "additionalProperties": False,
            },
        },
        "distillers": {
            "type": "object",
            "additionalProperties": {"anyOf": [*distillers.values(), {"type": "null"}]},
        },
    }
    for part, text in PART_DESCRIPTIONS.items():
        top["properties"][part]["description"] = text
    top["required"] = [*top["required"], *(part for part in PARTS if part != "figures")]
    top["title"] = "soteacher study"
    top["$defs"] = definitions
    return top


def _sources(schema: Schema) -> list[dict[str, Any]]:
    """Return the schemas of data sets, one per source."""
    sources = []
    for name in registry.names("data source"):
        source = schema(registry.get("data source", name))
        source["properties"] = {
            "source": {"const": name, "description": "Where the images come from."},
            **source.get("properties", {}),
            "augment": {"anyOf": [schema(Augment), {"type": "null"}]},
            "true_labels": {"anyOf": [schema(TrueLabels), schema(CountsFile), {"type": "null"}]},
        }
        source["required"] = [*source.get("required", []), "source"]
        sources.append(source)
    return sources


def _kinds(what: str, schema: Schema) -> list[dict[str, Any]]:
    """Return the schemas of the kinds of tables or figures, each with the kind's name."""
    kinds = []
    for name in registry.names(f"kind of {what}"):
        kind = schema(registry.get(f"kind of {what}", name))
        named = {"const": name, "title": "Kind", "type": "string"}
        kind["properties"] = {"kind": named, **kind["properties"]}
        kind["required"] = ["kind", *kind["required"]]
        kinds.append(kind)
    return kinds
