"""Printed forms of names; names in the paper have the paper's form.

The file of a kind of table's report has the printed forms of its columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from soteacher.core import registry

LABELS = {
    "standard": "Standard",
    "soteacher": "SoTeacher",
    "shufflenet_v2": "ShuffleNetV2",
    "no_cr": "no-CR",
    "no_lr": "no-LR",
    "l2": "ℓ2",
    "oracle": "Oracle",
    "early_stopped": "Early-stopped",
    "cross_fitted": "Cross-fitted",
    "alone": "Student alone",
    "overhead": "Training overhead",
    "beyond_wrn": "Distillers beyond the paper, WRN pairs",
    "beyond_others": "Distillers beyond the paper, other pairs",
    "beyond_teachers": "Teachers beyond the paper",
    "beyond_calibration": "Calibration of teachers beyond the paper",
    "dkd_6": "DKD, weight 6",
    "truth": "Distance to the true label distribution",
    "curves": "Training curves",
    "reliability": "Reliability diagrams",
    "predictors": "Predictors of the student",
    "disagreement": "Predictions by the disagreement of labellers",
    "lipschitz.weight": "Lipschitz weight, λ of LR",
    "consistency.weight": "Consistency weight, λ of CR",
    "consistency.ramp": "Ramp of the consistency weight",
}

NO_LABELS: Mapping[str, str] = MappingProxyType({})


def display_name(name: str, labels: Mapping[str, str] = NO_LABELS) -> str:
    """Return the printed form of a method, network, pair or column, word by word.

    labels : word to printed form, for a kind of table.
    """
    return " ".join(labels.get(word) or _word(word) for word in name.split())


def _word(word: str) -> str:
    if "/" in word:
        return "/".join(_word(part) for part in word.split("/"))
    numbered = re.fullmatch(r"(table|figure)(\d+)", word)
    if numbered:
        return f"{numbered[1].capitalize()} {numbered[2]}"
    further = re.fullmatch(r"(table\d+)_(\w+)", word)
    if further:
        rest = LABELS.get(further[2], further[2].replace("_", " "))
        return f"{_word(further[1])}, {rest[0].lower()}{rest[1:]}"
    wide_resnet = re.fullmatch(r"wrn_(\d+)_(\d+)", word)
    if wide_resnet:
        return f"WRN{wide_resnet[1]}-{wide_resnet[2]}"
    residual = re.fullmatch(r"resnet(\d+(?:x\d+)?)", word)
    if residual:
        return f"ResNet{residual[1]}"
    for kind in ("distiller", "regularizer"):
        if word in registry.names(kind):
            return vars(registry.get(kind, word)).get("display_name") or word
    return LABELS.get(word, word)
