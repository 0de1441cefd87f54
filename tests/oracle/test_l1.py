"""L1 decay, by hand."""

import pytest
import torch
from torch import nn

from soteacher.core.errors import UserError
from soteacher.models import catalogue
from soteacher.penalties.l1 import l1_sum
from soteacher.regularizers.l1 import L1


def network():
    made = nn.Sequential(nn.Conv2d(1, 2, (1, 2)), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters(), 1):
            parameter.fill_(-number)
    return made


# conv 4 x 1, its bias 2 x 2; batch norm 2 x 3 and 2 x 4; linear 2 x 5, its bias 1 x 6
def test_the_sum_counts_what_it_says():
    assert l1_sum(network()).item() == 4 + 10
    assert l1_sum(network(), "all").item() == 4 + 4 + 6 + 8 + 10 + 6


def test_the_gradient_is_the_sign_of_the_counted_weights_and_nothing_on_the_others():
    made = network()
    with torch.no_grad():
        made[0].weight[0, 0, 0, 0] = 0.25
    losses = L1(weight=0.5).losses(None, None, None, made)
    losses["l1"].backward()
    assert [*losses] == ["l1"]
    for parameter in made.parameters():
        if parameter.ndim > 1:
            assert parameter.grad.equal(0.5 * parameter.sign())
        else:
            assert parameter.grad is None


def test_of_a_network_of_the_paper_it_is_the_sum_over_its_kernels_and_last_layer():
    made = catalogue.build("wrn_10_1", 7)
    expected = sum(
        layer.weight.abs().sum().item()
        for layer in made.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    )
    assert l1_sum(made).item() == pytest.approx(expected, rel=1e-5)


def test_frozen_weights_do_not_count():
    made = network()
    made[0].requires_grad_(False)
    assert l1_sum(made).item() == 10


def test_a_network_without_weights_and_an_unknown_choice_are_refused():
    with pytest.raises(UserError, match="no parameter that L1 decay counts"):
        l1_sum(nn.ReLU())
    with pytest.raises(UserError, match="unknown choice of parameters 'weight'"):
        l1_sum(network(), "weight")
