"""Runs whose last batch has one image: trained if they can be, refused before training if not."""

import logging
import re

import pytest

from soteacher.core import registry
from soteacher.core.errors import RunsFailed, UserError
from soteacher.study.last_batch import check_last_batch
from soteacher.training import passes

NAMES = registry.shipped("distiller")
SHORT = {
    "ab": {"prepare_epochs": 1},
    "crd": {"negatives": 8},
    "ft": {"prepare_epochs": 1},
    "rco": {"anchors": 2},
    "sskd": {"prepare_epochs": 1},
}
RECIPE = {"epochs": 2, "batch": 63, "lr": 0.02, "decay_at": [1], "keep_every": 1}
"""63 and 1 of the 64 images."""
TEACHERS = {
    "every": {"lipschitz": {}, "l1": {}, "consistency": {}, "crl": {}, "label_smoothing": {}},
    "mixup": {"mixup": {}},
    "cutmix": {"cutmix": {"probability": 1}},
    "augmix": {"augmix": {}},
}
NORMED = """
from typing import Any

from pydantic import PrivateAttr

from soteacher.methods import Distiller, Preparation, register, torch


@register
class Normed(Distiller):
    first_stage: bool = False
    spread: bool = False
    _norm: Any = PrivateAttr()

    def build(self, context):
        self._norm = torch.nn.BatchNorm1d(*context.student_features["pooled"])
        return {"norm": self._norm}

    def preparation(self, context, network, modules):
        if not self.first_stage:
            return None
        norm = torch.nn.BatchNorm1d(*context.teacher_features["pooled"])

        def loss(batch, output, teacher):
            return {"norm": norm(teacher.features["pooled"]).square().mean()}

        return Preparation(1, lambda epoch: 0.1, {"norm": norm}, loss, student=False)

    def method_losses(self, batch, output, teacher, network):
        pooled = output.features["pooled"]
        if self.spread:
            return {"spread": pooled.std(dim=0).mean()}
        if self.first_stage:
            return {"prepared": self._prepared["norm"](teacher.features["pooled"]).mean()}
        return {"normed": self._norm(pooled).square().mean()}
"""


def recipes(batch=63):
    return {"short": RECIPE | {"batch": batch}}


def test_every_shipped_method_trains_on_a_last_batch_of_one_and_a_rehearsal_changes_no_bit(
    lab, monkeypatch
):
    distillers = {name: SHORT.get(name, {}) for name in NAMES}
    teachers, students = lab.plan(recipes=recipes(), teachers=TEACHERS, distillers=distillers)
    students = [run for run in students if "/every/" in run.id]
    found = lab.copy()
    entries = found.run(teachers) | found.run(students)
    assert {entry["status"] for entry in entries.values()} == {"done"}
    rehearsed = []
    monkeypatch.setattr(passes, "rehearse", lambda setup, member: rehearsed.append(member.id))
    other = lab.copy()
    assert other.run(teachers) | other.run(students) == entries
    assert sorted(rehearsed) == sorted(entries)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, r"with normed fails \(Expected more than 1 value per channel"),
        ({"first_stage": True}, r"with normed fails \(Expected more than 1 value per channel"),
        ({"spread": True}, r"with normed has a loss 'spread' of nan"),
    ],
)
def test_a_method_that_needs_two_images_is_refused_before_it_is_trained(
    lab, add_part, caplog, settings, text
):
    add_part("distiller", "normed", NORMED)
    teachers, students = lab.plan(recipes=recipes(), distillers={"normed": settings, "kd": {}})
    lab.run(teachers)
    caplog.set_level(logging.ERROR)
    with pytest.raises(RunsFailed, match=r"1 of 2 runs failed: .*/normed;"):
        lab.run(students)
    [record] = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage().count("leave a last batch of one image, on which the training") == 1
    assert re.search(text, record.getMessage())
    refused, trained = sorted(students, key=lambda run: "kd" in run.id)
    assert not lab.folder(refused).attempts()
    assert lab.record(trained)["status"] == "done"
    assert not lab.stored("preparation")
    _, sound = lab.plan(recipes=recipes(32), distillers={"normed": settings})
    teachers, _ = lab.plan(recipes=recipes(32), distillers={"normed": settings})
    lab.run(teachers)
    assert {entry["status"] for entry in lab.run(sound).values()} == {"done"}


def test_a_job_with_a_network_that_cannot_be_trained_starts_nothing(lab, monkeypatch):
    pairs = {
        "resnet18/wrn_10_1": {"data": "few"}
        | dict.fromkeys(("teacher_recipe", "student_recipe"), "short")
    }
    # the sizes of another source may be known to the job alone
    monkeypatch.setattr("soteacher.study.expand.check_last_batches", lambda *_: None)
    teachers, _ = lab.plan(recipes=recipes(), pairs=pairs)
    with pytest.raises(UserError, match=r"^few/resnet18/.*64 training images in batches of 63"):
        lab.run(teachers)
    assert not lab.stored("teacher")
    [run] = teachers
    with pytest.raises(UserError, match="resnet18 reduces images of 8x8 pixels"):
        check_last_batch(run.id, run.spec, lab.data.outline)
