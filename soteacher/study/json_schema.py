"""The JSON schema of study files, for editors that complete and check them."""

from __future__ import annotations

from typing import Any

from soteacher import registry
from soteacher.settings import Settings
from soteacher.study.kinds import FIGURES, TABLES
from soteacher.study.schema import PARTS, Augment, Head, TeacherMethod, TrueLabels


def json_schema() -> dict[str, Any]:
    """The JSON schema of study files, for editors that complete and check them."""
    definitions: dict[str, Any] = {}

    def schema(settings: type[Settings]) -> dict[str, Any]:
        made = settings.model_json_schema(ref_template="#/$defs/{model}")
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
        for name in registry.names("regularizer")
    }
    table5 = TeacherMethod.model_json_schema()["properties"]["table5"]
    distillers = {}
    for name in registry.names("distiller"):
        distillers[name] = schema(registry.get("distiller", name))
        distillers[name]["properties"]["method"] = {"enum": list(registry.names("distiller"))}
    blocks = {
        part: {
            "type": "object",
            "additionalProperties": {"anyOf": [schema(block) for block in kinds.values()]},
        }
        for part, kinds in (("tables", TABLES), ("figures", FIGURES))
    }
    blocks["figures"]["type"] = ["object", "null"]  # a study may have none
    top["properties"] |= blocks | {
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
