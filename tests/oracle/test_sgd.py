"""The optimizer of training: the updates of torch's own class, and of its equation."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from soteacher.training.sgd import SGD


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5)
    unused = nn.Linear(2, 2)  # has no gradient, as a layer whose features no loss uses
    return nn.Sequential(*layers).append(unused).to(memory_format=torch.channels_last)


def backward(of: nn.Sequential, step: int) -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    of[:4](images.contiguous(memory_format=torch.channels_last)).logsumexp(dim=1).sum().backward()


def rate(step: int) -> float:
    return 0.05 * 0.1 ** (step // 3)


@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weights_and_momenta_are_those_of_torch_bit_for_bit(momentum, weight_decay):
    ours, theirs = network(), network()
    sgd = SGD(ours.parameters(), momentum, weight_decay)
    expected = torch.optim.SGD(
        theirs.parameters(), lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True
    )
    for step in range(7):
        sgd.lr = expected.param_groups[0]["lr"] = rate(step)
        for optimizer, trained in ((sgd, ours), (expected, theirs)):
            optimizer.zero_grad()
            backward(trained, step)
            optimizer.step()
    assert not torch.equal(ours[0].weight, network()[0].weight)
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(found, wanted)
        buffer = expected.state[wanted].get("momentum_buffer") if momentum else None
        assert (buffer is None) == (found not in sgd.momenta)
        assert buffer is None or torch.equal(sgd.momenta[found], buffer)


def test_a_copy_with_the_momenta_continues_with_the_same_bits():
    trained = network()
    sgd = SGD(trained.parameters(), 0.9, 5e-4)
    sgd.lr = 0.05
    for step in range(3):
        sgd.zero_grad()
        backward(trained, step)
        sgd.step()
    copy = deepcopy(trained)
    resumed = SGD(copy.parameters(), 0.9, 5e-4)
    resumed.lr = sgd.lr
    for there, here in zip(sgd.parameters, resumed.parameters, strict=True):
        if there in sgd.momenta:
            resumed.momenta[here] = sgd.momenta[there].clone()
    for optimizer, of in ((sgd, trained), (resumed, copy)):
        optimizer.zero_grad()
        backward(of, 3)
        optimizer.step()
    assert all(map(torch.equal, trained.parameters(), copy.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_weight_whose_first_gradient_comes_later_begins_then(momentum):
    """As `torch.optim.SGD` without its fused kernel, which refuses such a weight."""
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(2, 3, generator=generator) for _ in range(3)]
    ours, theirs = ([nn.Parameter(weight.clone()) for weight in first] for _ in "ab")
    sgd = SGD(ours, momentum, 5e-4)
    sgd.lr = 0.05
    expected = torch.optim.SGD(theirs, lr=0.05, momentum=momentum, weight_decay=5e-4)
    for step in range(5):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(2, 3, generator=generator)
            for weight in pair:
                # the last weight stops after two steps
                used = step < 2 if number == 2 else step >= number
                weight.grad = gradient.clone() if used else None
        sgd.step()
        expected.step()
    for found, wanted, before in zip(ours, theirs, first, strict=True):
        assert not torch.equal(found, before)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_two_steps_by_the_equation():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    gradients = [np.array([0.5, 1.0]), np.array([-1.0, 0.25])]
    sgd = SGD([weight], momentum=0.9, weight_decay=0.01)
    expected, v = np.array([1.0, -2.0]), None
    for lr, gradient in zip((0.1, 0.01), gradients, strict=True):
        sgd.lr = lr
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        sgd.step()
        decayed = gradient + 0.01 * expected
        v = decayed if v is None else 0.9 * v + decayed
        expected = expected - lr * v
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)
