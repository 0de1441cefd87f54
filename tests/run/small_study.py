"""The study that the tests of training run: one teacher and one student on a few digits."""

import os

DEVICE = os.environ.get("SOTEACHER_TEST_DEVICE", "cpu")
"""The device on which the tests train: `cpu` or `cuda`."""

STUDY = {
    "study": "small",
    "seeds": [0],
    "device": DEVICE,
    "data": {"few": {"source": "few_digits", "augment": {"crop_padding": 1, "flip": 0.5}}},
    "recipes": {"short": {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}},
    "pairs": {
        "wrn_10_2/wrn_10_1": {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
    },
    "teachers": {"standard": {}},
    "distillers": {"kd": {}},
}
