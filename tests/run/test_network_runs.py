"""Runs of networks from outside: dropout draws from the run's numbers, so a resume is exact."""

from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import soteacher
from soteacher.core.cursor import Cursor, Stage
from soteacher.models import catalogue, outside
from soteacher.study.network_files import load_networks

CODE = '''"""A convolution, and dropout of half of what it gives."""

from torch import nn

from soteacher.models.output import Output


class Dropping(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(8, n_classes)

    def forward(self, x):
        stage1 = self.first(x).relu()
        pooled = self.dropout(stage1.mean(dim=(2, 3)))
        return Output(self.last(pooled), {"stage1": stage1, "pooled": pooled})


def build(n_classes, height, width):
    return Dropping(n_classes)
'''
VIT = '''"""A small ViT of timm for images of 8x8 pixels."""

from soteacher.models.output import Output
import timm
from torch import nn


class ViT(nn.Module):
    def __init__(self, n_classes, size):
        super().__init__()
        sizes = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
        self.vit = timm.models.VisionTransformer(size, num_classes=n_classes, **sizes)

    def forward(self, images):
        pooled = self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)
        return Output(self.vit.head(pooled), {"pooled": pooled})


def build(n_classes, height, width):
    return ViT(n_classes, (height, width))
'''
PAIR = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}


@pytest.fixture
def planned(lab, tmp_path, monkeypatch):
    """A teacher with dropout, and students with dropout of two methods."""
    monkeypatch.setattr(outside, "_files", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dropping.py").write_text(CODE)
    load_networks(["dropping.py"])
    return lab.plan(
        networks=["dropping.py"],
        pairs={"dropping/dropping": PAIR},
        distillers={"kd": {}, "rkd": {}},
    )


def weights(entries):
    return {run_id: entry["artifacts"]["weights.safetensors"] for run_id, entry in entries.items()}


def test_a_killed_run_with_dropout_ends_with_the_same_bits(lab, planned, kill):
    teachers, students = planned
    lab.run(teachers)
    straight = weights(lab.elsewhere([students]))
    torch.manual_seed(1)
    alone = weights(lab.elsewhere([[run] for run in students]))
    assert alone == straight and len(straight) == 2
    with kill("/kd", Cursor(Stage.MAIN, 1, 1)):
        lab.run(students, save_every=0)
    torch.manual_seed(2)  # another state of the global generator than without the kill
    assert weights(lab.run(students)) == straight


def test_dropout_is_in_effect_and_draws_other_numbers_in_each_step(lab, planned, monkeypatch):
    """Else the test above would also pass without dropout, or with one mask for all steps."""
    masks = []
    real = torch.nn.Dropout.forward

    def noted(layer, value):
        found = real(layer, value)
        if layer.training:
            masks.append(found == 0)
        return found

    monkeypatch.setattr(torch.nn.Dropout, "forward", noted)
    lab.run(planned[0])
    same = [bool(torch.equal(a, b)) for a, b in pairwise(masks)]
    assert len(masks) > 3 and not any(same)
    assert all(mask.float().mean() > 0.2 for mask in masks)


@pytest.mark.parametrize("method", [{"cross_fit": 3}, {"early_stop": True}])
def test_a_killed_teacher_with_dropout_and_held_out_images_ends_with_the_same_bits(
    lab, planned, kill, method
):
    [teacher], students = lab.plan(
        networks=["dropping.py"], pairs={"dropping/dropping": PAIR}, teachers={"held": method}
    )
    straight = weights(lab.elsewhere([[teacher]]))
    torch.manual_seed(2)
    with kill("held/seed0", Cursor(Stage.MAIN, 1, 1)):
        lab.run([teacher], save_every=0)
    assert weights(lab.run([teacher])) == straight
    assert {entry["status"] for entry in lab.run(students).values()} == {"done"}


def test_the_networks_of_folds_have_dropout_of_their_own(lab, planned, monkeypatch):
    masks = {}
    real = torch.nn.Dropout.forward

    def noted(layer, value):
        found = real(layer, value)
        if layer.training:
            masks.setdefault(id(layer), found == 0)
        return found

    monkeypatch.setattr(torch.nn.Dropout, "forward", noted)
    pairs, teachers = {"dropping/dropping": PAIR}, {"held": {"cross_fit": 2}}
    lab.run(lab.plan(networks=["dropping.py"], pairs=pairs, teachers=teachers)[0])
    one, other = masks.values()
    assert not torch.equal(one, other)


def test_a_file_of_weights_is_a_teacher_of_a_network_from_outside(lab, planned, tmp_path):
    torch.manual_seed(3)
    network = catalogue.build("dropping", 10, (8, 8))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    [teacher], [student] = lab.plan(
        networks=["dropping.py"],
        pairs={"dropping/dropping": PAIR},
        teachers={"mine": {"weights": "mine.pth"}},
    )
    assert teacher.spec.to_json()["network"]["code_sha256"]
    lab.run([teacher])
    assert lab.record(teacher)["image_size"] == [8, 8]
    loaded, _ = soteacher.load(lab.folder(teacher).path)
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert lab.run([student])[student.id]["status"] == "done"


@pytest.mark.parametrize("file", ["theirs.safetensors", "theirs.pth"])
def test_a_teacher_of_a_library_has_the_names_of_its_library(lab, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    network = torchvision.models.resnet18(weights=None, num_classes=10)
    state = network.state_dict()
    save_file(state, file) if file.endswith(".safetensors") else torch.save(state, file)
    [teacher], _ = lab.plan(
        pairs={"one": PAIR | {"teacher": "torchvision/resnet18", "student": "wrn_10_1"}},
        teachers={"mine": {"weights": {"torchvision/resnet18": file}}},
    )
    assert teacher.id == "few/torchvision.resnet18/mine/seed0"
    lab.run([teacher])
    loaded, record = soteacher.load(lab.folder(teacher).path)
    found = loaded.state_dict()
    assert all(torch.equal(found[f"network.{key}"], value) for key, value in state.items())
    assert record["imported"]["renamed"]["network.conv1.weight"] == "conv1.weight"


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_a_vision_transformer_teaches_methods_that_need_no_maps(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outside, "_files", {})
    (tmp_path / "vit.py").write_text(VIT)
    methods = ("kd", "dkd", "dist", "rkd", "crd")
    teachers, students = lab.plan(
        networks=["vit.py"],
        recipes={"short": {"epochs": 1, "batch": 40, "lr": 0.01, "decay_at": []}},
        pairs={"vit/wrn_10_1": PAIR},
        teachers={"soteacher": {"lipschitz": {"weight": 1e-5}, "consistency": {}}},
        distillers={name: {} for name in methods} | {"crd": {"negatives": 16}},
    )
    entries = lab.run(teachers) | lab.run(students)
    assert len(entries) == 6 and {entry["status"] for entry in entries.values()} == {"done"}
