"""The sum of norms in few operations: its gradients have the bits of the weight-by-weight form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from soteacher.models import catalogue
from soteacher.penalties import entrywise, l1, lipschitz


@pytest.fixture(params=["lipschitz", "l1"])
def both(request, monkeypatch):
    """A function from a network to both forms' sums and gradients; a CPU takes the first form."""
    module, penalty = {
        "lipschitz": (lipschitz, lipschitz.lipschitz_sum),
        "l1": (l1, l1.l1_sum),
    }[request.param]

    def computed(network):
        found = []
        for few in (False, True):
            monkeypatch.setattr(module, "in_few_operations", lambda weights, few=few: few)
            total = 1e-3 * penalty(network)
            parameters = [p for p in network.parameters() if p.requires_grad]
            found.append((total, torch.autograd.grad(total, parameters, allow_unused=True)))
        return found

    return computed


def check_alike(found):
    (total, gradients), (few_total, few_gradients) = found
    torch.testing.assert_close(few_total, total, rtol=1e-5, atol=0)
    assert any(gradient is not None for gradient in gradients)
    for gradient, few in zip(gradients, few_gradients, strict=True):
        assert (gradient is None) == (few is None)
        assert gradient is None or (few.dtype == gradient.dtype and few.equal(gradient))


@pytest.mark.parametrize("network", ["wrn_16_2", "resnet8x4", "shufflenet_v2"])
def test_gradients_have_the_same_bits(both, network):
    built = catalogue.build(network, 10).to(memory_format=torch.channels_last)
    check_alike(both(built))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_of_other_precisions_too(both, dtype):
    check_alike(both(catalogue.build("wrn_10_1", 3).to(dtype)))


def mixed():
    """Half, float and double weights in one network; a zero weight; one layer frozen."""
    layers = [nn.Conv2d(2, 3, 3).half(), nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3).double()]
    layers[1].weight.data[0] = 0
    return nn.Sequential(*layers, nn.Conv2d(2, 2, 1).requires_grad_(False))


def shared():
    """Two layers with one weight, and one layer with a weight norm."""
    first, second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
    second.weight = first.weight
    return nn.Sequential(first, second, parametrizations.weight_norm(nn.Conv2d(3, 2, 1)))


@pytest.mark.parametrize("build", [mixed, shared])
def test_of_mixed_shared_frozen_and_parametrized_weights_too(both, build):
    check_alike(both(build()))


def test_a_gradient_of_the_gradient_is_that_of_the_other_form():
    """By the product with the upstream gradient; the gradient to the weights is 0."""
    weights = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    loss = scale.square() * entrywise.sum_of_norms(weights)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    [second] = torch.autograd.grad(sum(g.square().sum() for g in gradients), [scale])
    assert second.item() == pytest.approx(2 * 6 * 4 * 0.5**3)  # of n * scale^4, n = 12 entries


def test_torch_func_differentiates_it_also_for_several_networks_at_once():
    weights = torch.randn(5, 3, 2)  # of five networks

    def total(weight):
        return entrywise.sum_of_norms([weight, 2 * weight])

    found = torch.func.vmap(torch.func.grad(total))(weights)
    assert found.equal(3 * weights.sign())


def test_a_cpu_keeps_the_form_whose_bits_are_recorded():
    assert not entrywise.in_few_operations([torch.zeros(2)])
    assert entrywise.in_few_operations([torch.zeros(2, device="meta")])
    assert not entrywise.in_few_operations([torch.zeros(2), torch.zeros(2, device="meta")])


def test_an_older_torch_without_operations_on_lists_takes_the_other_form(monkeypatch):
    monkeypatch.setattr(entrywise, "FOREACH", False)
    assert not entrywise.in_few_operations([torch.zeros(2, device="meta")])
    assert lipschitz.lipschitz_sum(nn.Conv2d(2, 2, 3).to("meta")).shape == ()
