"""How names are shown: as the paper prints them, where it has them."""

from __future__ import annotations

import re

LABELS = {
    "standard": "Standard",
    "soteacher": "SoTeacher",
    "no_cr": "no-CR",
    "no_lr": "no-LR",
    "student.top1": "Student",
    "teacher.top1": "Teacher",
    "student.top5": "Student (Top-5)",
    "teacher.top5": "Teacher (Top-5)",
}


def label(name: str) -> str:
    """The printed form of a method, network, pair or column, word by word."""
    return " ".join(_word(word) for word in name.split())


def _word(word: str) -> str:
    if "/" in word:
        return "/".join(_word(part) for part in word.split("/"))
    numbered = re.fullmatch(r"(table|figure)(\d+)", word)
    if numbered:
        return f"{numbered[1].capitalize()} {numbered[2]}"
    wide = re.fullmatch(r"wrn_(\d+)_(\d+)", word)
    return f"WRN{wide[1]}-{wide[2]}" if wide else LABELS.get(word, word)
