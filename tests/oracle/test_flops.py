"""The catalogue's forward cost of networks against torch's own count and published tables."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from soteacher.core.errors import UserError
from soteacher.models import catalogue

EXAMPLES = [example for family in catalogue.FAMILIES for example in family.examples]
SIZES = [(32, 32), (8, 8), (9, 9), (64, 48), (7, 10)]


def counted(name, height, width, n_classes, n_images=1):
    """What torch counts while the network runs on images that hold nothing."""
    with torch.device("meta"):
        network = catalogue.build(name, n_classes).eval()
        images = torch.empty(n_images, 3, height, width)
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", [*EXAMPLES, "wrn_22_3", "resnet14x3"])
def test_a_forward_pass_costs_what_torch_counts(name, height, width):
    assert catalogue.flops(name, height, width, 7) == counted(name, height, width, 7)


def test_a_batch_costs_its_images():
    assert counted("wrn_16_2", 32, 32, 100, n_images=5) == 5 * catalogue.flops(
        "wrn_16_2", 32, 32, 100
    )


@pytest.mark.parametrize(
    ("name", "size", "n_classes", "millions"),
    [
        ("wrn_40_2", 32, 100, 327.6),
        ("wrn_40_1", 32, 100, 83.3),
        ("wrn_16_2", 32, 100, 101.1),
        ("resnet32x4", 32, 100, 1083.0),
        ("resnet8x4", 32, 100, 177.1),
        ("shufflenet_v2", 32, 100, 44.5),
        ("resnet34", 64, 200, 4637.7),
        ("resnet18", 64, 200, 2221.8),
    ],
)
def test_multiply_adds_are_the_millions_of_the_published_tables(name, size, n_classes, millions):
    assert round(catalogue.flops(name, size, size, n_classes) / 2 / 1e6, 1) == millions


def test_resnet8x4_costs_the_hand_counted_multiply_adds():
    # One block a stage, 32 -> 64 -> 128 -> 256 channels; maps of 32, 16 and 8 pixels a side.
    stem = 1024 * 3 * 32 * 9
    stage1 = 1024 * (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64)
    stage2 = 256 * (64 * 128 * 9 + 128 * 128 * 9 + 64 * 128)
    stage3 = 64 * (128 * 256 * 9 + 256 * 256 * 9 + 128 * 256)
    counted_by_hand = stem + stage1 + stage2 + stage3 + 256 * 100
    assert counted_by_hand == 177_071_104
    assert catalogue.flops("resnet8x4", 32, 32, 100) == 2 * counted_by_hand


def test_the_cost_of_an_unknown_network_is_an_error():
    with pytest.raises(UserError, match="unknown network 'wrn_11_2'"):
        catalogue.flops("wrn_11_2", 32, 32, 100)
