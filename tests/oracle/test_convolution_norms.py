"""The three norms of a convolution against its explicit matrix, and what else is counted."""

import itertools

import pytest
import torch
from torch import nn

from soteacher.core import random as keys
from soteacher.core.errors import UserError
from soteacher.penalties.lipschitz import lipschitz_sum
from soteacher.regularizers.lipschitz import Lipschitz

NORMS = ("entrywise", "induced", "induced_strided")
GEOMETRIES = [
    {"kernel_size": 1},
    {"kernel_size": 2, "padding": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 0, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "out_channels": 4},
    {"kernel_size": 3, "padding": 2, "groups": 4, "dilation": 2},
    {"kernel_size": 3, "padding": 2, "dilation": (1, 3)},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"kernel_size": 5, "padding": 2},
]


def convolution(number, **geometry):
    """A convolution of four channels to eight (or as many as are given) with random weights."""
    channels = {"in_channels": 4, "out_channels": 8} | geometry
    layer = nn.Conv2d(**channels, bias=False, dtype=torch.float64)
    generator = keys.generator(number)
    layer.weight.data = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
    return layer


def reach(layer):
    """Height and width of what one output sees."""
    return [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]


def matrix_norm(layer, size=None):
    """The largest column sum of |M|, where M maps square images as the layer does.

    Without a size the images are so large that a pixel of each phase meets all its taps.
    """
    size = size or 2 * max(reach(layer)) + max(layer.stride)
    n = layer.in_channels * size**2
    basis = torch.eye(n, dtype=torch.float64).reshape(n, layer.in_channels, size, size)
    with torch.no_grad():
        columns = layer(basis).flatten(1)  # the image of each basis image is a column of M
    return columns.abs().sum(dim=1).max().item()


def norm_of(layer, norm):
    return lipschitz_sum(nn.Sequential(layer), norm).item()


def hand_made(**geometry):
    """One channel to one: 1 2 3 / 4 5 6 / 7 8 9."""
    layer = nn.Conv2d(1, 1, 3, **geometry)
    layer.weight.data = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    return layer


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_at_stride_one_both_induced_norms_are_that_of_the_matrix(geometry):
    layer = convolution(1, **geometry)
    expected = pytest.approx(matrix_norm(layer), rel=1e-12)
    assert norm_of(layer, "induced") == expected
    assert norm_of(layer, "induced_strided") == expected


@pytest.mark.parametrize("stride", [2, 3, (2, 1), (1, 4)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_strided_norm_is_that_of_the_matrix_at_any_stride(geometry, stride):
    layer = convolution(2, **geometry, stride=stride)
    expected = pytest.approx(matrix_norm(layer), rel=1e-12)
    assert norm_of(layer, "induced_strided") == expected


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2)])
def test_the_induced_norm_of_a_strided_layer_is_too_large_unless_its_kernel_is_one(kernel, padding):
    wide = convolution(3, kernel_size=kernel, padding=padding, stride=2)
    assert norm_of(wide, "induced") > 1.5 * matrix_norm(wide)
    narrow = convolution(3, kernel_size=1, stride=2)
    assert norm_of(narrow, "induced") == pytest.approx(matrix_norm(narrow), rel=1e-12)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ({"stride": 1}, 45),
        ({"stride": 2}, 1 + 3 + 7 + 9),  # the corners; edges 2 + 8 and 4 + 6, the middle 5
        ({"stride": 3}, 9),  # each tap has its own phase
        ({"stride": (1, 2)}, 1 + 4 + 7 + 3 + 6 + 9),  # the outer columns
        ({"stride": (2, 1)}, 1 + 2 + 3 + 7 + 8 + 9),  # the outer rows
        ({"stride": 2, "dilation": 2}, 45),  # all taps are an even number of pixels apart
        ({"stride": 2, "dilation": 3}, 1 + 3 + 7 + 9),
        ({"stride": 4, "dilation": 2}, 1 + 3 + 7 + 9),  # even numbers, alternately 0 and 2 mod 4
    ],
)
def test_an_input_pixel_meets_the_taps_of_one_phase(geometry, expected):
    layer = hand_made(**geometry)
    assert norm_of(layer, "induced_strided") == expected
    assert norm_of(layer, "induced") == 45
    assert norm_of(layer, "entrywise") == 45


@pytest.mark.parametrize("size", [2, 3, 5, 9])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_each_norm_bounds_the_ones_before_it_and_the_matrix_on_small_maps(geometry, stride, size):
    layer = convolution(4, **geometry, stride=stride)
    if any(size + 2 * p < r for p, r in zip(layer.padding, reach(layer), strict=True)):
        layer.padding = tuple(reach(layer))  # else the kernel does not fit into the map
    found = [norm_of(layer, norm) for norm in reversed(NORMS)]
    assert matrix_norm(layer, size) <= found[0] * (1 + 1e-12)
    assert found[0] <= found[1] * (1 + 1e-12) and found[1] <= found[2] * (1 + 1e-12)


def test_zero_padding_on_a_small_map_makes_the_norms_bounds_only():
    layer = convolution(5, kernel_size=3, padding=1)
    assert matrix_norm(layer, 2) < 0.8 * norm_of(layer, "induced_strided")


def test_the_largest_input_channel_counts_over_all_outputs_of_its_group():
    weights = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 0.5, 0.25]).reshape(4, 2, 1, 1)
    dense = nn.Conv2d(2, 4, 1)
    grouped = nn.Conv2d(4, 4, 1, groups=2)
    dense.weight.data = grouped.weight.data = weights
    # rows are outputs: (1, 2), (3, 4), (5, 6), (0.5, 0.25)
    assert norm_of(dense, "induced") == 2 + 4 + 6 + 0.25
    # inputs 0 and 1 see the first two outputs, inputs 2 and 3 the others: 4, 6, 5.5, 6.25
    assert norm_of(grouped, "induced") == 6.25


def test_a_depthwise_convolution_has_the_norm_of_its_largest_kernel():
    layer = nn.Conv2d(3, 3, (1, 2), groups=3)
    layer.weight.data = torch.tensor([1.0, -2.0, -4.0, 3.0, 0.5, 6.0]).reshape(3, 1, 1, 2)
    assert norm_of(layer, "induced") == 7.0
    assert norm_of(layer, "entrywise") == 16.5


@pytest.mark.parametrize("norm", NORMS)
def test_the_gradient_is_that_of_finite_differences(norm):
    layer = convolution(6, kernel_size=3, stride=2, groups=2)

    def total(weight):
        return torch.func.functional_call(Summed(layer, norm), {"layer.weight": weight}, ())

    assert torch.autograd.gradcheck(total, (layer.weight.detach().requires_grad_(),))


class Summed(nn.Module):
    """A layer whose output is its own norm."""

    def __init__(self, layer, norm):
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self):
        return lipschitz_sum(self, self.norm)


def test_the_gradient_of_the_induced_norm_reaches_one_input_channel_only():
    layer = convolution(7, kernel_size=3, stride=2)
    lipschitz_sum(nn.Sequential(layer), "induced").backward()
    largest = layer.weight.abs().sum(dim=(0, 2, 3)).argmax()
    expected = torch.zeros_like(layer.weight)
    expected[:, largest] = layer.weight[:, largest].sign()
    assert torch.equal(layer.weight.grad, expected)


def test_the_gradient_of_the_strided_norm_reaches_one_phase_of_one_channel_only():
    layer = convolution(8, kernel_size=3, stride=2, groups=2)
    lipschitz_sum(nn.Sequential(layer), "induced_strided").backward()
    largest, expected = 0.0, None
    for group, channel, row, column in itertools.product(range(2), repeat=4):
        mask = torch.zeros_like(layer.weight)
        mask[4 * group : 4 * group + 4, channel, row::2, column::2] = 1
        if (total := (mask * layer.weight.abs()).sum().item()) > largest:
            largest, expected = total, mask * layer.weight.sign()
    assert torch.equal(layer.weight.grad, expected)


# what is counted, and what is not


def network():
    """Layers of each counted kind: a convolution of 4 (induced 3), 2, 1, 0.5 and a linear 5."""
    made = nn.Sequential(
        nn.Conv2d(2, 1, 1),
        nn.BatchNorm2d(1, eps=0),
        nn.Flatten(),
        nn.BatchNorm1d(1, eps=0),
        nn.BatchNorm3d(1, eps=0),
        nn.Linear(1, 2),
    )
    made[0].weight.data = torch.tensor([1.0, -3.0]).reshape(1, 2, 1, 1)
    for layer, scale in ((1, 2.0), (3, -1.0), (4, 0.5)):
        nn.init.constant_(made[layer].weight, scale)
    made[5].weight.data = torch.tensor([[2.0], [-3.0]])
    return made


@pytest.mark.parametrize(("norm", "expected"), [("entrywise", 12.5), ("induced", 11.5)])
def test_the_norm_changes_the_convolutions_part_and_no_other(norm, expected):
    assert lipschitz_sum(network(), norm).item() == expected
    loss = Lipschitz(weight=2.0, norm=norm).losses(None, None, None, network())
    assert {name: value.item() for name, value in loss.items()} == {"lipschitz": 2 * expected}


def test_the_authors_norm_is_the_default_and_no_part_of_a_spec():
    assert lipschitz_sum(network()).item() == 12.5
    assert Lipschitz(norm="entrywise").spec() == Lipschitz().spec() == {}
    assert Lipschitz(norm="induced").spec() == {"norm": "induced"}


def test_layers_of_other_kinds_add_nothing():
    others = nn.ModuleList(
        [
            nn.Conv1d(2, 2, 1),
            nn.ConvTranspose2d(2, 2, 1),
            nn.LayerNorm(2),
            nn.GroupNorm(1, 2),
            nn.Embedding(2, 2),
            nn.BatchNorm2d(2, affine=False),
        ]
    )
    assert lipschitz_sum(nn.Sequential(network(), others)).item() == 12.5


def test_a_network_without_a_counted_layer_is_refused_with_what_to_do():
    message = "no layer .* expected a Conv2d, a Linear or a batch norm .*; remove the term"
    with pytest.raises(UserError, match=message):
        lipschitz_sum(nn.Sequential(nn.Embedding(2, 2), nn.BatchNorm2d(2, affine=False)))


def test_a_batch_norm_without_running_variance_is_refused_by_name():
    stem = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(UserError, match=r"^batch norm 'stem\.1' keeps .*track_running_stats=True"):
        lipschitz_sum(nn.ModuleDict({"stem": stem}))


def test_an_unknown_norm_is_refused_with_the_known_ones():
    message = "^unknown norm 'induce'; known: entrywise, induced, induced_strided; did you mean"
    with pytest.raises(UserError, match=message):
        lipschitz_sum(network(), "induce")
