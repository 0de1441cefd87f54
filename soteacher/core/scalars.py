"""The scalars of YAML 1.2's core schema: what a word without quotes means in a study file.

In YAML 1.1, which PyYAML and Snakemake read, `yes` is true, `010` is 8 and `1:30` is 90. In
YAML 1.2, `yes` and `1:30` are texts and `010` is 10.
"""

from __future__ import annotations

import re

NULL = re.compile(r"null|Null|NULL|~|")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
DECIMAL = re.compile(r"[-+]?[0-9]+")
OCTAL = re.compile(r"0o[0-7]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)")

MOST_DIGITS = 400
"""Maximum length of a number's text. Python refuses to read or print whole numbers of more than
4300 digits."""

MOST_WHOLE = 2**63
"""Limit of whole numbers, which torch and NumPy store in 64 bits."""


def scalar(text: str) -> bool | int | float | str | None:
    """Return the value of a scalar without quotes; raise `ValueError` if its number is too long."""
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text) or FALSE.fullmatch(text):
        return text[0] in "tT"
    value = number(text)
    return text if value is None else value


def number(text: str) -> int | float | None:
    """Return the number that a text is, or None; raise `ValueError` if it is too long."""
    if HEXADECIMAL.fullmatch(text):
        return int(_not_too_long(text), 16)
    if OCTAL.fullmatch(text):
        return int(_not_too_long(text)[2:], 8)
    if DECIMAL.fullmatch(text):
        return int(_not_too_long(text))
    if FLOAT.fullmatch(text):
        return float(_not_too_long(text))
    if INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return float("nan") if NOT_A_NUMBER.fullmatch(text) else None


def _not_too_long(text: str) -> str:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"expected a number of at most {MOST_DIGITS} digits; got {len(text)}")
    return text
