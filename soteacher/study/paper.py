"""Where a run differs from the paper's own experiment, so that its numbers stand where they may."""

from __future__ import annotations

from typing import Any

from soteacher import registry
from soteacher.settings import Settings
from soteacher.study.schema import Augment, Recipe

CIFAR100 = "cifar100"
STREAMS = {CIFAR100: {"crop_padding": 4, "flip": 0.5}}
RECIPES = {CIFAR100: {"epochs": 240, "batch": 64, "lr": 0.05, "decay_at": [150, 180, 210]}}
"""Appendix D.1."""
NETWORKS = {CIFAR100: ("wrn_40_2", "wrn_40_1", "wrn_16_2")}
TEACHERS: dict[str, dict[str, Any]] = {
    "standard": {},
    "soteacher": {"lipschitz": {}, "consistency": {}},
    "no_cr": {"lipschitz": {}},
    "no_lr": {"consistency": {}},
}
"""Settings that differ from our defaults, which are the paper's for CIFAR-100."""
DISTILLERS: dict[str, dict[str, Any]] = {"kd": {"kd": {}}}


def deviations(spec: dict[str, Any], method: str) -> list[str]:
    """What of a run is not as in what the paper ran under the method's name; in words.

    `method` is the study's name for the teacher method of a teacher's spec, or for the distiller
    of a student's. Seeds may be any: the paper does not tell its own. A run on data that the paper
    does not have is compared with its CIFAR-100 runs.
    """
    teacher = spec["role"] == "teacher"
    source = spec["data"]["source"]
    theirs = source if source in RECIPES else CIFAR100
    found = []
    own = {k: v for k, v in _settings(spec["data"]).items() if k != "source"}
    if source != theirs or own:
        drawn = " with labels drawn from known distributions" if own.pop("true_labels", 0) else ""
        others = "".join(f", {name} {_text(value)}" for name, value in own.items())
        found.append(f"data {source}{drawn}{others} (paper: {theirs})")
    network = spec["network"]["name"]
    if network not in NETWORKS[theirs]:
        found.append(f"network {network} (not in the paper)")
    found += _differences(Augment, spec["stream"], STREAMS[theirs])
    recipe = {key: value for key, value in spec["recipe"].items() if key != "keep_every"}
    found += _differences(Recipe, recipe, RECIPES[theirs])
    expected = (TEACHERS if teacher else DISTILLERS).get(method)
    kind = "regularizer" if teacher else "distiller"
    if expected is None:
        found.append(f"method {method} (not in the paper)")
    elif spec["terms"].keys() != expected.keys():
        used = " + ".join(sorted(spec["terms"])) or "nothing"
        found.append(f"{method} is {used} (paper: {' + '.join(sorted(expected)) or 'nothing'})")
    else:
        for name, settings in sorted(spec["terms"].items()):
            part = registry.get(kind, name)
            found += [f"{name} {d}" for d in _differences(part, settings, expected[name])]
    if "precision" in spec:
        found.append(f"precision {spec['precision']}")
    if "teacher_epoch" in spec:
        found.append(f"the teacher of epoch {spec['teacher_epoch']} (paper: the last)")
    return found


def _differences(
    settings: type[Settings], ours: dict[str, Any], theirs: dict[str, Any]
) -> list[str]:
    """Settings that are not equal once defaults are filled in: `name ours (paper: theirs)`."""
    full = settings.model_validate(_settings(ours)).model_dump(mode="json")
    expected = settings.model_validate(theirs).model_dump(mode="json")
    return [
        f"{name} {_text(full[name])} (paper: {_text(expected[name])})"
        for name in full
        if full[name] != expected[name]
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "revision"}
