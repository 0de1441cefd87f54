"""Which runs are the paper's own experiment, so that its numbers may stand beside ours."""

from __future__ import annotations

from typing import Any

STREAMS = {"cifar100": {"crop_padding": 4, "flip": 0.5}}
RECIPES = {"cifar100": {"epochs": 240, "batch": 64, "decay_at": [150, 180, 210]}}
LR = {"cifar100": 0.05}
"""Appendix D.1."""
TEACHERS: dict[str, dict[str, Any]] = {
    "standard": {},
    "soteacher": {"lipschitz": {}, "consistency": {}},
    "no_cr": {"lipschitz": {}},
    "no_lr": {"consistency": {}},
}
"""Settings that differ from our defaults, which are the paper's for CIFAR-100."""
DISTILLERS: dict[str, dict[str, Any]] = {"kd": {"kd": {}}}


def is_papers(spec: dict[str, Any], method: str) -> bool:
    """Whether a run with this spec is what the paper ran under the method's name.

    `method` is the study's name for the teacher method of a teacher's spec, or for the distiller
    of a student's. Seeds may be any: the paper does not tell its own.
    """
    source = spec["data"].get("source")
    expected = TEACHERS if spec["role"] == "teacher" else DISTILLERS
    if source not in RECIPES or method not in expected or "precision" in spec:
        return False
    recipe = {key: value for key, value in spec["recipe"].items() if key != "keep_every"}
    terms = {name: _settings(term) for name, term in spec["terms"].items()}
    return (
        _settings(spec["data"]) == {"source": source}
        and _settings(spec["stream"]) == STREAMS[source]
        and recipe == RECIPES[source] | {"lr": LR[source]}
        and terms == expected[method]
        and "teacher_epoch" not in spec
    )


def _settings(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "revision"}
