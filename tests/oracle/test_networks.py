"""Wide residual networks against hand counts and a plain forward pass; seeds; the catalogue."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from soteacher import keys
from soteacher.errors import UserError
from soteacher.models import catalogue

EXAMPLES = [example for family in catalogue.FAMILIES for example in family.examples]
WRN_FEATURES = ("stem", *catalogue.THREE_STAGES, "pooled")


def built(name, n_classes=10, number=0):
    with keys.seeded(number):
        return catalogue.build(name, n_classes)


def images(n, size, number=1):
    return torch.randn(n, 3, size, size, generator=keys.generator(number))


def perturbed(name, n_classes=10):
    """A network whose batch norms all differ from the identity."""
    network = built(name, n_classes)
    generator = keys.generator(2)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for value in (layer.weight, layer.bias, layer.running_mean):
                    value.add_(0.5 * torch.randn(value.shape, generator=generator))
                layer.running_var.add_(torch.rand(layer.running_var.shape, generator=generator))
    return network


def trainable(network):
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


# -- sizes --------------------------------------------------------------------------------------


def test_wrn_40_2_of_100_classes_has_the_hand_counted_parameters():
    # A block from i to o channels: batch norms 2i + 2o, convolutions 9io + 9oo, shortcut io if
    # i is not o. Six blocks a stage, 16 -> 32 -> 64 -> 128.
    stem = 3 * 16 * 9
    stage1 = (96 + 4608 + 9216 + 512) + 5 * (128 + 9216 + 9216)
    stage2 = (192 + 18432 + 36864 + 2048) + 5 * (256 + 36864 + 36864)
    stage3 = (384 + 73728 + 147456 + 8192) + 5 * (512 + 147456 + 147456)
    head = 2 * 128 + 128 * 100 + 100
    assert stem + stage1 + stage2 + stage3 + head == 2_255_156
    assert trainable(built("wrn_40_2", 100)) == 2_255_156


@pytest.mark.parametrize(
    ("name", "millions"), [("wrn_40_2", 2.255), ("wrn_40_1", 0.570), ("wrn_16_2", 0.703)]
)
def test_parameters_are_the_millions_of_the_published_tables(name, millions):
    assert round(trainable(built(name, 100)) / 1e6, 3) == millions


@pytest.mark.parametrize("n_classes", [2, 100])
@pytest.mark.parametrize("name", [*EXAMPLES, "wrn_22_3", "wrn_28_1"])
def test_catalogue_counts_the_parameters_that_the_network_has(name, n_classes):
    assert catalogue.parameters(name, n_classes) == trainable(built(name, n_classes))


# -- features -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_features_have_the_names_of_the_catalogue_in_its_order(name):
    family, _ = catalogue.find(name)
    assert tuple(built(name).eval()(images(2, 8)).features) == family.features


@pytest.mark.parametrize("size", [32, 8])
@pytest.mark.parametrize(("name", "width"), [("wrn_10_1", 1), ("wrn_16_2", 2)])
def test_features_halve_their_size_twice_and_widen_with_the_stages(name, width, size):
    output = built(name, 7)(images(2, size))
    stages = {
        "stem": (2, 16, size, size),
        "stage1": (2, 16 * width, size, size),
        "stage2": (2, 32 * width, size // 2, size // 2),
        "stage3": (2, 64 * width, size // 4, size // 4),
    }
    pre = {f"{stage}_pre": shape for stage, shape in stages.items() if stage != "stem"}
    assert {stage: tuple(value.shape) for stage, value in output.features.items()} == {
        **stages,
        **pre,
        "pooled": (2, 64 * width),
    }
    assert output.logits.shape == (2, 7)


def normalised(x, state, name, training):
    """A batch norm by its formula, from the state dict."""
    if training:
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    else:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    gamma, beta = state[f"{name}.weight"], state[f"{name}.bias"]
    scaled = (x - mean[:, None, None]) / torch.sqrt(variance + 1e-5)[:, None, None]
    return gamma[:, None, None] * scaled + beta[:, None, None]


def plain_forward(state, x, blocks, training):
    """Logits and features of a Wide ResNet, written down once more, without modules."""

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    features = {"stem": conv(x, "conv")}
    x = features["stem"]
    for stage in range(3):
        for block in range(blocks):
            at, stride = f"stages.{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            pre = normalised(x, state, f"{at}.bn1", training)
            if stage > 0 and block == 0:
                features[f"stage{stage}_pre"] = pre
            active = pre.clamp(min=0)
            inner = conv(active, f"{at}.conv1", stride)
            inner = normalised(inner, state, f"{at}.bn2", training).clamp(min=0)
            projected = f"{at}.shortcut.weight" in state
            x = conv(inner, f"{at}.conv2") + (
                conv(active, f"{at}.shortcut", stride) if projected else x
            )
        features[f"stage{stage + 1}"] = x
    features["stage3_pre"] = normalised(x, state, "bn", training)
    features["pooled"] = features["stage3_pre"].clamp(min=0).mean(dim=(2, 3))
    return features["pooled"] @ state["fc.weight"].T + state["fc.bias"], features


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "blocks"), [("wrn_10_2", 1), ("wrn_16_1", 2)])
def test_logits_and_features_are_those_of_a_plain_forward_pass(name, blocks, training):
    network = perturbed(name).train(training)
    state = {key: value.detach().double() for key, value in network.state_dict().items()}
    logits, features = plain_forward(state, images(4, 8).double(), blocks, training)
    found = network(images(4, 8))
    torch.testing.assert_close(found.logits.double(), logits, rtol=1e-4, atol=1e-4)
    assert {*found.features} == {*features}
    for feature, expected in features.items():
        torch.testing.assert_close(found.features[feature].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["wrn_10_1", "wrn_16_2"])
def test_pre_features_are_the_next_batch_norms_output_before_its_relu(name):
    network = perturbed(name).eval()
    features = network(images(4, 8)).features
    nexts = (network.stages[1][0].bn1, network.stages[2][0].bn1, network.bn)
    for number, norm in enumerate(nexts, start=1):
        pre, stage = features[f"stage{number}_pre"], features[f"stage{number}"]
        assert torch.equal(pre, norm(stage))
        assert 0.1 < (pre < 0).float().mean() < 0.9


def test_features_are_left_as_they_were_made():
    network = perturbed("wrn_16_1").train()
    layers = {
        "stem": network.conv,
        "stage1_pre": network.stages[1][0].bn1,
        "stage2_pre": network.stages[2][0].bn1,
        "stage3_pre": network.bn,
    }
    layers |= {f"stage{index + 1}": stage[-1] for index, stage in enumerate(network.stages)}
    made = {}

    def keep(name):
        def hook(layer, inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            made[name] = value.detach().clone()

        return hook

    for name, layer in layers.items():
        layer.register_forward_hook(keep(name))
    output = network(images(4, 8))
    output.logits.sum().backward()
    assert {*made} == {*WRN_FEATURES} - {"pooled"}
    for name, value in made.items():
        assert torch.equal(output.features[name], value)


def test_one_training_pass_updates_every_batch_norm_once():
    network = built("wrn_16_1").train()
    output = network(images(4, 8))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_batches_tracked.item() for norm in norms] == [1] * 13
    mean = 0.1 * output.features["stage3"].mean(dim=(0, 2, 3))  # momentum 0.1, from 0
    torch.testing.assert_close(network.bn.running_mean, mean, rtol=1e-4, atol=1e-6)


# -- initial weights and seeds ------------------------------------------------------------------


def test_convolutions_begin_with_the_standard_deviation_of_their_fan_out():
    network = built("wrn_10_4")
    for layer, kernel, out, tolerance in (
        (network.stages[2][0].conv2, 3, 256, 0.01),
        (network.stages[2][0].conv1, 3, 256, 0.01),  # 128 channels in: these do not count
        (network.stages[2][0].shortcut, 1, 256, 0.03),
        (network.conv, 3, 16, 0.15),
    ):
        assert layer.weight.shape[0] == out and layer.weight.shape[-1] == kernel
        expected = math.sqrt(2 / (kernel * kernel * out))
        assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance)
        assert abs(layer.weight.mean().item()) < 0.2 * expected


def test_batch_norms_begin_as_the_identity_and_the_last_bias_as_zero():
    network = built("wrn_10_2")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all() and layer.bias.eq(0).all()
    assert network.fc.bias.eq(0).all()
    assert network.fc.weight.std() > 0


def test_convolutions_have_no_bias():
    network = built("wrn_10_2")
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_number_gives_the_same_weights_and_another_number_others(name):
    first, again, other = (dict(built(name, 5, n).named_parameters()) for n in (3, 3, 4))
    assert all(torch.equal(first[layer], again[layer]) for layer in first)
    drawn = [layer for layer, value in first.items() if value.dim() > 1]
    assert not any(torch.equal(first[layer], other[layer]) for layer in drawn)


def test_keys_of_other_seeds_roles_and_purposes_give_other_weights():
    numbers = [
        keys.key(0, "teacher", "initial weights"),
        keys.key(1, "teacher", "initial weights"),
        keys.key(0, "student", "initial weights"),
        keys.key(0, "teacher", "initial modules"),
    ]
    firsts = {built("wrn_10_1", 5, number).conv.weight[0, 0, 0, 0].item() for number in numbers}
    assert len(firsts) == 4


def test_seeded_leaves_the_global_generator_where_it_was():
    before = torch.get_rng_state()
    built("wrn_10_1", number=3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyError), keys.seeded(3):
        torch.rand(5)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_do_not_depend_on_what_was_drawn_before():
    first = built("wrn_10_1", number=3).conv.weight
    torch.rand(5)
    assert torch.equal(built("wrn_10_1", number=3).conv.weight, first)


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["wrn_11_2", "wrn_4_1", "wrn_10_0", "wrn_40", "wrn_40_2_1", "WRN_40_2", "resnet", ""]
)
def test_an_unknown_name_is_an_error_that_tells_the_known_ones(name):
    with pytest.raises(UserError) as error:
        catalogue.find(name)
    assert str(error.value).startswith(f"unknown network '{name}'; known: ")
    assert all(example in str(error.value) for example in EXAMPLES)


def test_an_unknown_name_is_an_error_wherever_it_is_used():
    for use in (catalogue.build, catalogue.parameters):
        with pytest.raises(UserError, match="unknown network 'wrn_11_2'"):
            use("wrn_11_2", 10)
