from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from soteacher.data.prepared import Prepared, folder_of, prepare
from soteacher.study.expand import expand
from soteacher.study.load import read

ROOT = Path(__file__).parents[2]
PAIR = {"data": "digits", "teacher_recipe": "teachers", "student_recipe": "students"}
WIDE = {
    "study": "wide",
    "seeds": [0, 1],
    "data": {
        "digits": {"source": "digits", "augment": {"crop_padding": 1}},
        "noisy": {"source": "digits", "true_labels": {"confusion": 0.3}},
    },
    "recipes": {
        "teachers": {"epochs": 20, "batch": 64, "lr": 0.05, "decay_at": [10, 15]},
        "students": {"epochs": 10, "batch": 64, "lr": 0.05, "decay_at": [5]},
    },
    "pairs": {
        "wrn_16_2/wrn_16_1": dict(PAIR),
        "wrn_16_2/wrn_10_1": dict(PAIR),
        "small": PAIR | {"data": "noisy", "teacher": "wrn_10_2", "student": "wrn_10_1"},
    },
    "teachers": {
        "standard": {},
        "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}},
        "no_cr": {"lipschitz": {"weight": 1e-4}},
        "no_lr": {"consistency": {}},
    },
    "distillers": {
        "kd": {},
        "kd_hot": {"method": "kd", "temperature": 10.0},
        "kd_only": {"method": "kd", "ce": 0.0, "kd": 1.0},
    },
    "tables": {
        "first": {
            "kind": "accuracy",
            "teachers": ["standard", "soteacher", "no_cr", "no_lr"],
            "distillers": ["kd"],
        },
        "second": {
            "kind": "accuracy",
            "pairs": ["wrn_16_2/wrn_16_1", "small"],
            "teachers": ["standard", "soteacher"],
            "distillers": ["kd", "kd_hot", "kd_only"],
        },
    },
}


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture
def demo() -> dict:
    """The plain values of `every_kind.yaml`, a study called `demo`; a fresh copy."""
    text = (Path(__file__).parent / "every_kind.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


@pytest.fixture
def wide() -> dict:
    """A study of two data sets, three pairs, four methods, three distillers and two tables."""
    return deepcopy(WIDE)


@pytest.fixture(scope="session")
def prepare_data():
    """Prepare a data set of the study `wide` in a store."""

    def prepare_in(store: Path, name: str) -> Prepared:
        spec = expand(read(WIDE)).data_spec(name)
        return Prepared(folder_of(spec, store), prepare(spec, store))

    return prepare_in


@pytest.fixture(scope="session")
def digits(prepare_data, tmp_path_factory) -> Prepared:
    """The digits with their own labels."""
    return prepare_data(tmp_path_factory.mktemp("store"), "digits")


@pytest.fixture(scope="session")
def noisy(prepare_data, tmp_path_factory) -> Prepared:
    """The digits with known true label distributions."""
    return prepare_data(tmp_path_factory.mktemp("store"), "noisy")
