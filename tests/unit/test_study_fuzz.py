"""Whatever a study file holds: it is a study, or one short line says what is wrong, in a second.

The study files of config/ are changed at random, as texts and as values.
"""

from __future__ import annotations

import copy
import datetime
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soteacher.core.errors import MOST_IN_MESSAGE, UserError
from soteacher.study.expand import expand
from soteacher.study.load import load, merged, read
from soteacher.study.study import Study

CONFIG = Path(__file__).parents[2] / "config"
FILES = {"demo": ("demo",), "paper": ("paper",), "rehearsal": ("paper", "rehearsal")}
"""Study to its files; the last one is changed."""
SECONDS = 1.0
"""Most time of this process for one study; other processes of the machine do not count."""

COMMON: dict[str, Any] = {
    "deadline": None,  # of a clock
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

PIECES = [
    *("[", "]", "{", "}", ",", ":", ": ", "- ", "? ", "\n", " ", "\t", "\r", "#", "|\n", ">\n"),
    *("'", '"', "&a ", "*a", "&a [*a]", "<<: *a", "!!int ", "!!timestamp x", "!x ", "!<!> ", "%"),
    *("---\n", "...\n", "%YAML 9.9\n", "\ufeff", "\0", "\x7f", "\u2028", '"\\ud800"', '"\\0"'),
    *("yes", "true", "null", "~", "010", "0x_", "0b1", "1_0", "1:30", "1e999", ".nan", "-.inf"),
    *("2020-13-45", "9" * 5000, "-0x" + "f" * 5000, "[" * 900, "{a: " * 300, "x" * 10_000),
    *(
        "wrn_600000000004_1",
        "1000000000000",
        "$NO_SUCH_VARIABLE",
        "~nobody",
        "../",
        "${",
        "é",
        "\\",
    ),
]
VALUES = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3,
        10**12,
        10**18,
        10**400,
        0.5,
        -0.5,
        1e308,
        math.nan,
        math.inf,
    ),
    *("", " ", "x", "x" * 10_000, "a\nb", "a\0b", "\ud800", "yes", "1e-4", "1_0", "9" * 5000, "/"),
    *("all", "kd", "standard", "wrn_10_1", "wrn_9998_9999", "wrn_600000000004_1", "resnet8x2"),
    *("~nobody/x", "$NO_SUCH_VARIABLE", ".", "results", "path/../../x", "x" * 300 + "/y"),
    *(
        [],
        {},
        [[]],
        [{}],
        {"a": 1},
        {1: 2},
        {None: 1},
        {True: 1},
        [1, 1.0, True],
        (1, 2),
        [0] * 20_000,
    ),
    *(datetime.date(2020, 1, 1), b"x", {1, 2}, object(), 1j, list(range(2000))),
]


def outcome(made: Any) -> None:
    """Read a study; it must be one, or be refused in one short line, in time."""
    start = time.process_time()
    try:
        study = made()
        assert isinstance(study, Study)
        expand(study)
    except UserError as error:
        text = str(error)
        assert text and text.isprintable(), text
        assert len(text) <= MOST_IN_MESSAGE, text
    assert time.process_time() - start < SECONDS


@st.composite
def texts(draw: Any, name: str) -> str:
    """The text of a study file with one to three changes."""
    text = (CONFIG / f"{name}.yaml").read_text()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 0, 1, 2, 5, 40, 400]))
        piece = draw(
            st.sampled_from(PIECES)
            | st.text(max_size=5)
            | st.just(text[start:end] * 2)
            | st.just("")
        )
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def values(draw: Any, name: str) -> dict[str, Any]:
    """The values of a study with one to three changes."""
    changed = copy.deepcopy(merged(*(CONFIG / f"{file}.yaml" for file in FILES[name])))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = changed
        while True:
            keys = [*place] if isinstance(place, dict) else [*range(len(place))]
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
                place = inner
                continue
            other = copy.copy(draw(st.sampled_from(VALUES) | st.just(changed)))
            how = draw(st.sampled_from(["replace", "replace", "delete", "rename"]))
            if how == "replace" or isinstance(place, list):
                place[key] = other
            elif how == "delete":
                del place[key]
            else:
                named = other if other.__hash__ else str(type(other))
                place[named] = place.pop(key)
            break
    return changed


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=15, **COMMON)
@given(data=st.data())
def test_a_changed_text_is_a_study_or_one_short_line(tmp_path_factory, name, data):
    *first, last = FILES[name]
    text = data.draw(texts(last))
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome(lambda: load(*(CONFIG / f"{file}.yaml" for file in first), path))


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=30, **COMMON)
@given(data=st.data())
def test_changed_values_are_a_study_or_one_short_line(name, data):
    changed = data.draw(values(name))
    outcome(lambda: read(changed, "changed"))
