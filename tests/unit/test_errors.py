"""Errors of users: a library's caller can catch them as `ValueError`, and their texts are kept."""

import pytest

from soteacher.core.errors import RunsFailed, UserError
from soteacher.data.spec import DataSpec
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.specs import RunSpec

STUDY = {
    "study": "s",
    "seeds": [0],
    "data": {"d": {"source": "digits"}},
    "recipes": {"r": {"epochs": 2, "batch": 16, "lr": 0.05, "decay_at": [1]}},
    "pairs": {"wrn_10_1/wrn_10_1": {"data": "d", "teacher_recipe": "r", "student_recipe": "r"}},
    "teachers": {"standard": {}},
    "distillers": {"kd": {}},
    "tables": {"t": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd"]}},
}


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)
    assert issubclass(RunsFailed, UserError)


def spec():
    runs = expand(read(STUDY)).runs.values()
    return next(run.spec.to_json() for run in runs if run.role == "teacher")


def test_reading_a_spec_keeps_the_text_of_a_user_error():
    values = spec()
    assert RunSpec.from_json(values).to_json() == values
    values["recipe"]["epochs"] = 0
    with pytest.raises(UserError, match=r"^recipe\.epochs: expected greater than"):
        RunSpec.from_json(values)
    values = spec()["data"] | {"true_labels": {"revision": 1, "confusion": 7}}
    with pytest.raises(UserError, match=r"^true_labels\.confusion: expected less than"):
        DataSpec.from_json(values)


def test_values_that_are_no_spec_are_still_one_user_error():
    with pytest.raises(UserError, match=r"^expected the spec of a run.*KeyError"):
        RunSpec.from_json({"role": "teacher"})
    with pytest.raises(UserError, match=r"^expected the spec of a data set"):
        DataSpec.from_json({"source": "digits"})
