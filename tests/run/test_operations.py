"""How many operations a step takes: on a GPU each is a kernel that the host must launch.

Steps are counted on torch's meta device, which computes nothing and takes the forms that a GPU
takes. Views launch nothing and are not counted. The optimizer's step is one fused operation on any
device with a kernel for it, and is left out.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.data.prepared import Prepared, prepare
from soteacher.data.spec import DataSpec
from soteacher.models import catalogue
from soteacher.penalties.l1 import l1_sum
from soteacher.penalties.lipschitz import lipschitz_sum
from soteacher.store.run_folder import RunFolder
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.setup import PassSetup

NETWORKS = ("wrn_40_2", "resnet32x4", "resnet34")
FREE = {"alias", "as_strided", "detach", "expand", "permute", "select", "slice", "split"}
FREE |= {"split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"}
FREE |= {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty_strided"}
"""Operations that launch nothing: views, and memory that is not filled."""


class Operations(TorchDispatchMode):
    """The names of the operations inside, without those that launch nothing."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if name not in FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    facts = {"n_train": 32, "n_test": 2, "size": 32, "n_classes": 10}
    spec = DataSpec.from_json({"source": "generated", "revision": 1} | facts)
    manifest = prepare(spec, folder)
    [made] = (folder / "data").iterdir()
    return Prepared(made, manifest)


@pytest.fixture(scope="module")
def paper():
    return expand(load(Path(__file__).parents[2] / "config/paper.yaml"))


def step_operations(paper, images, network, method, tmp_path):
    """Operations of a step of a teacher of the paper in the second epoch."""
    data = "tiny_imagenet" if network == "resnet34" else "cifar100"
    run = paper.runs[f"{data}/{network}/{method}/seed0"]
    folder = RunFolder(tmp_path, "0" * 64, run.id)
    setup = PassSetup([Member(run.id, run.spec, folder)], images, "meta", None)
    setup.stream.batch_size, setup.stream.steps = 8, 4
    learner = setup.learner(setup.members[0], run.spec.loss_terms())
    learner.optimizer.step = lambda: None
    for step in range(2):
        batch = setup.stream.batch(Cursor(Stage.MAIN, 1, step))
        with Operations() as operations:
            learner.step(batch, None)
    return operations.names


@pytest.mark.parametrize("network", NETWORKS)
def test_the_lipschitz_term_takes_few_operations_of_a_step_however_deep_the_network_is(
    paper, images, network, tmp_path
):
    standard, no_cr, soteacher = (
        len(step_operations(paper, images, network, method, tmp_path))
        for method in ("standard", "no_cr", "soteacher")
    )
    assert 0 < no_cr - standard <= 65, (standard, no_cr)  # 325 in WRN-40-2 if weight by weight
    assert soteacher - no_cr <= 40
    convolutions = catalogue.build(network, 10).to("meta")
    for module in convolutions.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Linear):
            module.requires_grad_(False)
    with Operations() as operations:
        lipschitz_sum(convolutions).backward()
    added_to_the_others = 1
    assert len(operations.names) + added_to_the_others <= standard / 10


@pytest.mark.parametrize("penalty", [lipschitz_sum, l1_sum])
def test_a_penalty_takes_as_many_operations_in_a_deeper_network(penalty):
    counts = []
    for network in ("wrn_16_2", "wrn_40_2"):
        built = catalogue.build(network, 10).to("meta")
        with Operations() as operations:
            penalty(built).backward()
        counts.append(len(operations.names))
    assert all(a == b <= 60 for a, b in pairwise(counts)), counts


def test_gradients_of_losses_of_the_weights_are_added_to_the_same_bits(lab, monkeypatch):
    """As if autograd had added them weight by weight, in a run that has two of them."""
    penalties = {"lipschitz": {"weight": 1e-3}, "l1": {"weight": 1e-3}, "consistency": {}}
    [teacher] = lab.plan(teachers={"decayed": penalties})[0]
    found = []
    for at_once in (True, False):
        for term in ("lipschitz", "l1"):
            monkeypatch.setattr(registry.get("regularizer", term), "of_weights", at_once)
        folder = RunFolder(lab.store, "0" * 64, teacher.id)
        setup = PassSetup([Member(teacher.id, teacher.spec, folder)], lab.data, "cpu", None)
        setup.stream.batch_size, setup.stream.steps = 8, 8  # so that no step ends the epoch
        learner = setup.learner(setup.members[0], teacher.spec.loss_terms())
        for step in range(2):
            learner.step(setup.stream.batch(Cursor(Stage.MAIN, 0, step)), None)
        gradients = [parameter.grad for parameter in learner.parameters()]
        found.append([*learner.values().values(), *gradients, *learner.epoch_losses.values()])
    assert len(found[0]) == len(found[1]) > 3
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


def test_losses_of_the_weights_may_be_constant_or_the_only_ones_of_a_weight():
    used, alone = (torch.nn.Parameter(torch.ones(2, 3)) for _ in "ab")
    learner = SimpleNamespace(_of_weights={"paused", "sum"}, parameters=lambda: [used, alone])
    losses = {"ce": 2 * used.sum(), "paused": torch.zeros(())}
    Learner._backward(learner, losses)
    assert alone.grad is None and used.grad.tolist() == [[2] * 3] * 2
    used.grad = None
    Learner._backward(learner, losses | {"ce": 2 * used.sum(), "sum": alone.sum() + used.sum()})
    assert alone.grad.tolist() == [[1] * 3] * 2 and used.grad.tolist() == [[3] * 3] * 2
    assert alone.grad.stride() == alone.stride()  # the gradient of a sum has strides of 0
