"""The Lipschitz regularizer against sums worked out by hand, and against plain loops."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from soteacher.core import random as keys
from soteacher.core.errors import UserError
from soteacher.models import catalogue
from soteacher.models.wrn import Block
from soteacher.penalties.lipschitz import LipschitzPenalty, counted, lipschitz_sum
from soteacher.regularizers.lipschitz import Lipschitz


def conv_of(weights):
    weights = torch.tensor(weights)
    out, into, *kernel = weights.shape
    layer = nn.Conv2d(into, out, kernel)
    layer.weight.data = weights
    return layer


def batch_norm_of(gamma, running_var, eps):
    layer = nn.BatchNorm2d(len(gamma), eps=eps)
    layer.weight.data = torch.tensor(gamma)
    layer.running_var.copy_(torch.tensor(running_var))
    return layer


def linear_of(weights):
    weights = torch.tensor(weights)
    layer = nn.Linear(weights.shape[1], weights.shape[0])
    layer.weight.data = weights
    return layer


def small_network():
    """One layer of each kind: 11.25 + 2 + 4.5 = 17.75."""
    return nn.Sequential(
        # all entries: (1 + 2 + 3 + 4) + (0.5 + 0 + 0.5 + 0.25) = 11.25
        conv_of([[[[1.0, -2.0], [3.0, -4.0]]], [[[0.5, 0.0], [-0.5, 0.25]]]]),
        # largest channel: max(2 / sqrt(3.75 + 0.25), 3 / sqrt(2 + 0.25)) = max(1, 2) = 2
        batch_norm_of([2.0, -3.0], [3.75, 2.0], eps=0.25),
        nn.ReLU(),
        nn.Flatten(),
        # largest column: max(1 + 3, 2 + 1, 0.5 + 4) = 4.5; the largest row would be 8
        linear_of([[1.0, -2.0, 0.5], [-3.0, 1.0, 4.0]]),
    )


@pytest.mark.parametrize(("layer", "expected"), [(0, 11.25), (1, 2.0), (2, 0.0), (4, 4.5)])
def test_each_kind_of_layer_adds_its_own_bound(layer, expected):
    network = small_network()
    rest = nn.Sequential(*[part for index, part in enumerate(network) if index != layer])
    assert lipschitz_sum(network).item() == 17.75
    assert lipschitz_sum(rest).item() == 17.75 - expected


def test_layers_are_summed_and_not_multiplied_over_depth():
    network = nn.Sequential(small_network(), nn.Sequential(small_network()))
    assert lipschitz_sum(network).item() == 2 * 17.75


def test_biases_have_no_part():
    network = small_network()
    with torch.no_grad():
        for layer in (network[0], network[1], network[4]):
            layer.bias.fill_(100.0)
        network[1].running_mean.fill_(100.0)
    total = lipschitz_sum(network)
    total.backward()
    assert total.item() == 17.75
    assert all(network[index].bias.grad is None for index in (0, 1, 4))


def test_a_blocks_shortcut_convolution_is_counted_and_an_identity_is_not():
    def filled(into, out):
        block = Block(into, out, stride=2)
        with torch.no_grad():
            for layer in (block.conv1, block.conv2, block.shortcut):
                if layer is not None:
                    layer.weight.fill_(-0.5)
            for layer in (block.bn1, block.bn2):
                layer.eps = 0.0
            block.bn1.weight.fill_(3.0)  # 3 / sqrt(1)
            block.bn2.weight.copy_(torch.tensor([2.0, -5.0]))  # max(2 / sqrt(1), 5 / sqrt(4))
            block.bn2.running_var.copy_(torch.tensor([1.0, 4.0]))
        return block

    # conv1 1*2*9/2 = 9, conv2 2*2*9/2 = 18, shortcut 1*2/2 = 1, batch norms 3 + 2.5
    assert lipschitz_sum(filled(1, 2)).item() == 33.5
    # conv1 2*2*9/2 = 18, conv2 18, no shortcut, batch norms 3 + 2.5
    assert lipschitz_sum(filled(2, 2)).item() == 41.5


def test_gradient_is_the_sign_of_every_convolution_weight():
    network = small_network()
    lipschitz_sum(network).backward()
    expected = [[[[1.0, -1.0], [1.0, -1.0]]], [[[1.0, 0.0], [-1.0, 1.0]]]]
    assert network[0].weight.grad.tolist() == expected


def test_gradient_of_a_batch_norm_reaches_its_largest_channel_only():
    network = small_network()
    lipschitz_sum(network).backward()
    # sign(-3) / sqrt(2.25) at the second channel
    assert network[1].weight.grad.tolist() == pytest.approx([0.0, -1 / 1.5])


def test_batch_norms_of_any_widths_keep_their_own_scales_variances_and_eps():
    layers = [
        batch_norm_of([2.0, 1.0], [3.0, 3.0], eps=1.0),  # 2 / 2
        batch_norm_of([-6.0], [8.0], eps=1.0),  # 6 / 3
        batch_norm_of([1.0, -3.0], [3.0, 2.0], eps=0.25),  # 3 / 1.5
        batch_norm_of([0.5, 8.0], [0.0, 15.0], eps=1.0),  # 8 / 4
    ]
    total = lipschitz_sum(nn.Sequential(*layers))
    total.backward()
    assert total.item() == 1 + 2 + 2 + 2
    found = [layer.weight.grad.tolist() for layer in layers]
    expected = [[1 / 2, 0], [-1 / 3], [0, -1 / 1.5], [0, 1 / 4]]
    assert found == [pytest.approx(gradient, rel=1e-6) for gradient in expected]


def test_gradient_of_a_linear_layer_reaches_its_largest_column_only():
    network = small_network()
    lipschitz_sum(network).backward()
    assert network[4].weight.grad.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


def test_running_variance_has_seen_the_batch_and_passes_no_gradient():
    conv = conv_of([[[[2.0]]]])
    norm = batch_norm_of([1.5], [1.0], eps=0.15)
    network = nn.Sequential(conv, norm).train()
    # 2 * (0, 1) has unbiased variance 2; with momentum 0.1: 0.9 * 1 + 0.1 * 2 = 1.1; + eps = 1.25
    conv.bias.data.zero_()
    network(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1))
    total = lipschitz_sum(network)
    total.backward()
    assert total.item() == pytest.approx(2 + 1.5 / math.sqrt(1.25), rel=1e-6)
    assert conv.weight.grad.item() == 1.0  # the sign alone, nothing by way of the variance
    assert norm.weight.grad.item() == pytest.approx(1 / math.sqrt(1.25), rel=1e-6)


def plain_sum(state, eps):
    """l_LR from a state dict, entry by entry in float64."""
    arrays = {name: value.numpy().astype(np.float64) for name, value in state.items()}
    total = 0.0
    for name, array in arrays.items():
        if array.ndim == 4:
            for entry in array.reshape(-1):
                total += abs(entry)
        elif array.ndim == 2:
            largest = 0.0
            for column in range(array.shape[1]):
                sums = 0.0
                for row in range(array.shape[0]):
                    sums += abs(array[row, column])
                largest = max(largest, sums)
            total += largest
        elif name.endswith("running_var"):
            gammas = arrays[name.replace("running_var", "weight")]
            largest = 0.0
            for gamma, variance in zip(gammas, array, strict=True):
                largest = max(largest, abs(gamma) / math.sqrt(variance + eps))
            total += largest
    return total


def perturbed_network():
    generator = keys.generator(7)
    with keys.seeded(7):
        network = catalogue.build("wrn_10_1", 5)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var.abs_()
    return network


def test_a_perturbed_network_has_the_sum_of_plain_loops():
    network = perturbed_network()
    expected = plain_sum(network.state_dict(), eps=1e-5)
    assert lipschitz_sum(network).item() == pytest.approx(expected, rel=1e-5)


def test_a_perturbed_networks_gradient_touches_signs_one_column_and_one_channel_a_layer():
    network = perturbed_network()
    lipschitz_sum(network).backward()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert torch.equal(layer.weight.grad, layer.weight.sign())
        elif isinstance(layer, nn.BatchNorm2d):
            constants = layer.weight.abs() / (layer.running_var + layer.eps).sqrt()
            assert layer.weight.grad.nonzero().tolist() == [[constants.argmax().item()]]
        elif isinstance(layer, nn.Linear):
            column = layer.weight.abs().sum(dim=0).argmax()
            expected = torch.zeros_like(layer.weight)
            expected[:, column] = layer.weight[:, column].sign()
            assert torch.equal(layer.weight.grad, expected)


def test_the_weight_multiplies_the_sum_and_its_gradient():
    network = small_network()
    losses = Lipschitz(weight=0.25).losses(None, None, None, network)
    losses["lipschitz"].backward()
    assert {name: loss.item() for name, loss in losses.items()} == {"lipschitz": 0.25 * 17.75}
    assert network[0].weight.grad[0].tolist() == [[[0.25, -0.25], [0.25, -0.25]]]


def test_the_default_weight_is_that_of_the_paper_on_cifar_100():
    loss = Lipschitz().losses(None, None, None, small_network())["lipschitz"]
    assert loss.item() == pytest.approx(17.75e-5, rel=1e-6)


def test_a_map_gives_each_data_set_its_weight():
    term = Lipschitz(weight={"cifar100": 0.5, "tiny_imagenet": 0.125})
    for data, expected in (("cifar100", 0.5 * 17.75), ("tiny_imagenet", 0.125 * 17.75)):
        own = term.for_data(data, "teachers.soteacher.lipschitz")
        assert own.losses(None, None, None, small_network())["lipschitz"].item() == expected


def test_one_number_is_the_weight_of_every_data_set():
    term = Lipschitz(weight=0.5)
    assert term.for_data("anything", "teachers.soteacher.lipschitz").weight == 0.5


def test_a_data_set_without_a_weight_is_an_error_that_names_those_that_have_one():
    term = Lipschitz(weight={"cifar100": 1e-5, "tiny_imagenet": 1e-6})
    with pytest.raises(UserError) as error:
        term.for_data("cifar10", "teachers.soteacher.lipschitz")
    text = str(error.value)
    assert text.startswith("teachers.soteacher.lipschitz.weight: ")
    assert "'cifar10'" in text
    assert "given for: cifar100, tiny_imagenet" in text


class Mixed(nn.Module):
    """Layers of counted kinds, and others."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.plain = nn.BatchNorm2d(2, affine=False)
        self.up, self.deep = nn.ConvTranspose2d(2, 2, 2), nn.Conv3d(1, 1, 1)
        self.words, self.layer_norm = nn.Embedding(5, 4), nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.GRU(4, 4)
        self.token = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 5, bias=False)


def test_counted_names_the_layers_that_add_something_and_every_other_trainable_weight():
    network = Mixed()
    network.conv.weight.requires_grad_(False)
    found = LipschitzPenalty().counted(network)
    assert found == counted(network)
    assert found.layers == ("norm", "attention.out_proj", "head")
    assert found.frozen == ("conv",)
    assert set(found.others) == {
        "token",
        *("up.weight", "deep.weight", "words.weight", "layer_norm.weight"),
        *("attention.in_proj_weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0"),
    }
    parts = nn.ModuleList([network.norm, network.attention.out_proj, network.head])
    assert lipschitz_sum(network).item() == lipschitz_sum(parts).item()


def test_a_penalty_names_what_it_does_not_count_once():
    network, penalty = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), LipschitzPenalty()
    with pytest.warns(UserWarning, match=r"it does not count 1\.weight"):
        penalty(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalty(network)
        LipschitzPenalty()(small_network())


@pytest.mark.parametrize("name", ["wrn_10_1", "resnet8x4", "resnet18", "shufflenet_v2"])
def test_every_weight_of_the_paper_s_networks_is_counted(name):
    network = catalogue.build(name, 5)
    found = counted(network)
    assert found.frozen == found.others == ()
    weights = [n.removesuffix(".weight") for n, _ in network.named_parameters() if "bias" not in n]
    assert [*found.layers] == weights


def test_frozen_layers_add_nothing_and_a_frozen_network_is_refused():
    network = small_network()
    network[0].weight.requires_grad_(False)
    assert lipschitz_sum(network).item() == 17.75 - 11.25
    network[1].requires_grad_(False)
    assert lipschitz_sum(network).item() == 4.5
    with pytest.raises(UserError, match="expected a Conv2d, a Linear or a batch norm with a train"):
        lipschitz_sum(network.requires_grad_(False))


def test_layers_that_share_a_weight_count_once_each_and_a_shared_layer_once():
    first, second = linear_of([[1.0, -2.0], [3.0, 0.5]]), nn.Linear(2, 2)  # columns 4 and 2.5
    second.weight = first.weight
    total = lipschitz_sum(nn.Sequential(first, second))
    total.backward()
    assert total.item() == 8
    assert first.weight.grad.tolist() == [[2.0, 0.0], [2.0, 0.0]]
    assert lipschitz_sum(nn.Sequential(first, nn.ReLU(), first)).item() == 4
    tied = nn.ModuleDict({"words": nn.Embedding(2, 2), "head": nn.Linear(2, 2)})
    tied["words"].weight = tied["head"].weight
    assert counted(tied) == (("head",), (), ())


@pytest.mark.parametrize("norm", ["entrywise", "induced", "induced_strided"])
@pytest.mark.parametrize(
    "changed",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
        pytest.param(
            nn.utils.weight_norm, marks=pytest.mark.filterwarnings("ignore::FutureWarning")
        ),
    ],
)
def test_a_parametrized_weight_counts_as_the_layer_uses_it(changed, norm):
    torch.manual_seed(0)
    network = nn.Sequential(changed(nn.Conv2d(1, 2, 2)), nn.Flatten(), changed(nn.Linear(2, 3)))
    network(torch.randn(4, 1, 2, 2)).sum().backward()
    network.zero_grad()
    network(torch.randn(4, 1, 2, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 3))
    total = lipschitz_sum(network, norm)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    network.eval()
    for index in (0, 2):
        plain[index].weight.data = network[index].weight.detach()
    assert total.item() == pytest.approx(lipschitz_sum(plain, norm).item(), rel=1e-6)
    total.backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if "bias" not in n)
    assert counted(network) == (("0", "2"), (), ())
    assert all(part.training for part in network.train().modules())


def test_a_batch_norm_with_a_parametrized_scale_counts():
    class Doubled(nn.Module):
        def forward(self, scale):
            return 2 * scale

    norm = batch_norm_of([1.0, -3.0], [3.75, 2.0], eps=0.25)  # 1 / 2, 3 / 1.5
    nn.utils.parametrize.register_parametrization(norm, "weight", Doubled())
    assert lipschitz_sum(norm).item() == 4
    assert counted(norm).layers == ("",)


def test_counted_lists_layers_that_are_not_initialised_yet():
    network = nn.Sequential(nn.LazyConv2d(2, 1), nn.LazyBatchNorm2d(), nn.LazyConvTranspose2d(2, 1))
    assert counted(network) == (("0", "1"), (), ("2.weight",))
