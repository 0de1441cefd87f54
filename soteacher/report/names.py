"""How names are shown: as the paper prints them, where it has them."""

from __future__ import annotations

import re

from soteacher.core import registry

LABELS = {
    "standard": "Standard",
    "soteacher": "SoTeacher",
    "shufflenet_v2": "ShuffleNetV2",
    "no_cr": "no-CR",
    "no_lr": "no-LR",
    "l2": "ℓ2",
    "student.top1": "Student accuracy (%)",
    "teacher.top1": "Teacher accuracy (%)",
    "student.top5": "Student Top-5 accuracy (%)",
    "teacher.top5": "Teacher Top-5 accuracy (%)",
    "student.agreement": "Agreement (%)",
    "student.predictive_kl": "Predictive KL",
    "ece": "ECE",
    "nll": "NLL",
    "ece_scaled": "ECE, scaled",
    "nll_scaled": "NLL, scaled",
    "step_ms": "Step (ms)",
    "more_time": "More time (%)",
    "kept_mb": "Kept (MB)",
    "peak_mb": "Peak (MB)",
    "overhead": "Training overhead",
    "truth": "Distance to the true label distribution",
    "curves": "Training curves",
    "reliability": "Reliability diagrams",
    "lipschitz.weight": "Lipschitz weight, $\\lambda_{LR}$",
    "consistency.weight": "Consistency weight, $\\lambda_{CR}^{max}$",
    "consistency.ramp": "Ramp of the consistency weight",
}


def display_name(name: str) -> str:
    """The printed form of a method, network, pair or column, word by word."""
    return " ".join(_word(word) for word in name.split())


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
    distance = re.fullmatch(r"(teacher|student)\.(train|test)_distance(_l1)?", word)
    if distance:
        whose = "Student, " if distance[1] == "student" else ""
        return f"{whose}{distance[2]}, {'ℓ1' if distance[3] else 'ℓ2'}".capitalize()
    wide = re.fullmatch(r"wrn_(\d+)_(\d+)", word)
    if wide:
        return f"WRN{wide[1]}-{wide[2]}"
    residual = re.fullmatch(r"resnet(\d+(?:x\d+)?)", word)
    if residual:
        return f"ResNet{residual[1]}"
    for kind in ("distiller", "regularizer"):
        if word in registry.names(kind):
            return vars(registry.get(kind, word)).get("display_name") or word
    return LABELS.get(word, word)
