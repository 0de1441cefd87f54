"""Networks against hand counts and a plain forward pass; initial weights; seeds; the catalogue."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from soteacher.core import random as keys
from soteacher.core.errors import UserError
from soteacher.models import catalogue, shufflenet_v2

EXAMPLES = [example for family in catalogue.FAMILIES for example in family.examples]
ONE_A_FAMILY = ["wrn_10_1", "resnet8x4", "resnet18", "shufflenet_v2"]
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


def basic_block(into, out):
    """Weights of two 3x3 convolutions and their batch norms; of the 1x1 shortcut, if any."""
    shortcut = into * out + 2 * out if into != out else 0
    return 9 * into * out + 9 * out * out + 4 * out + shortcut


def test_resnet32x4_of_100_classes_has_the_hand_counted_parameters():
    # Five blocks a stage, 32 -> 64 -> 128 -> 256.
    assert (basic_block(32, 64), basic_block(64, 64)) == (57_728, 73_984)
    stages = sum(basic_block(c // 2, c) + 4 * basic_block(c, c) for c in (64, 128, 256))
    assert (3 * 32 * 9 + 64) + stages + (256 * 100 + 100) == 7_433_860
    assert trainable(built("resnet32x4", 100)) == 7_433_860


def test_resnet34_of_200_classes_has_the_hand_counted_parameters():
    # Stages of 3, 4, 6 and 3 blocks; only the first has no change of channels, hence no shortcut.
    stages = 3 * basic_block(64, 64)
    stages += basic_block(64, 128) + 3 * basic_block(128, 128)
    stages += basic_block(128, 256) + 5 * basic_block(256, 256)
    stages += basic_block(256, 512) + 2 * basic_block(512, 512)
    assert (3 * 64 * 9 + 128) + stages + (512 * 200 + 200) == 21_379_592
    assert trainable(built("resnet34", 200)) == 21_379_592


def test_shufflenet_v2_of_100_classes_has_the_hand_counted_parameters():
    # A block of 2c channels computes c of them: cc, 9c and cc weights, three batch norms of 2c.
    # A block that shrinks i channels to 2c: on the left 9i + 2i and ic + 2c, on the right ic + 2c,
    # 9c + 2c and cc + 2c.
    stem = 3 * 24 + 2 * 24
    stage1 = (264 + 1508 + 1508 + 638 + 3480) + 3 * (2 * 58**2 + 15 * 58)
    stage2 = (1276 + 13_688 + 13_688 + 1276 + 13_688) + 7 * (2 * 116**2 + 15 * 116)
    stage3 = (2552 + 54_288 + 54_288 + 2552 + 54_288) + 3 * (2 * 232**2 + 15 * 232)
    head = 464 * 1024 + 2 * 1024 + 1024 * 100 + 100
    assert stem + stage1 + stage2 + stage3 + head == 1_355_528
    assert trainable(built("shufflenet_v2", 100)) == 1_355_528


@pytest.mark.parametrize(
    ("name", "n_classes", "exactly", "millions"),
    [
        ("wrn_40_2", 100, 2_255_156, 2.255),
        ("wrn_40_1", 100, 569_780, 0.570),
        ("wrn_16_2", 100, 703_284, 0.703),
        ("resnet8x4", 100, 1_233_540, 1.234),
        ("resnet32x4", 100, 7_433_860, 7.434),
        ("shufflenet_v2", 100, 1_355_528, 1.356),
        ("resnet18", 200, 11_271_432, 11.271),
        ("resnet34", 200, 21_379_592, 21.380),
    ],
)
def test_parameters_are_the_millions_of_the_published_tables(name, n_classes, exactly, millions):
    assert trainable(built(name, n_classes)) == exactly
    assert round(exactly / 1e6, 3) == millions


@pytest.mark.parametrize("n_classes", [2, 100])
@pytest.mark.parametrize("name", [*EXAMPLES, "wrn_22_3", "wrn_28_1", "resnet14x3"])
def test_catalogue_counts_the_parameters_that_the_network_has(name, n_classes):
    assert catalogue.parameters(name, 32, 32, n_classes) == trainable(built(name, n_classes))


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


@pytest.mark.parametrize(
    ("name", "size", "maps", "pooled"),
    [
        ("resnet32x4", 32, [(32, 32), (64, 32), (128, 16), (256, 8)], 256),
        ("resnet14x1", 64, [(8, 64), (16, 64), (32, 32), (64, 16)], 64),
        ("shufflenet_v2", 32, [(24, 32), (116, 16), (232, 8), (464, 4)], 1024),
        ("shufflenet_v2", 64, [(24, 64), (116, 32), (232, 16), (464, 8)], 1024),
        ("resnet18", 64, [(64, 64), (64, 64), (128, 32), (256, 16), (512, 8)], 512),
        ("resnet34", 32, [(64, 32), (64, 32), (128, 16), (256, 8), (512, 4)], 512),
    ],
)
def test_features_have_the_channels_and_sizes_of_their_architecture(name, size, maps, pooled):
    output = built(name, 7).eval()(images(2, size))
    expected = {"stem": (2, maps[0][0], size, size), "pooled": (2, pooled)}
    for number, (channels, side) in enumerate(maps[1:], start=1):
        shape = (2, channels, side, side)
        expected |= {f"stage{number}": shape, f"stage{number}_pre": shape}
    assert {key: tuple(value.shape) for key, value in output.features.items()} == expected
    assert output.logits.shape == (2, 7)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (1, 1)])
@pytest.mark.parametrize("name", ONE_A_FAMILY[1:])
def test_images_may_have_any_size(name, height, width):
    network = built(name, 7)
    for mode in (True, False):
        made = torch.randn(4, 3, height, width, generator=keys.generator(1))
        assert network.train(mode)(made).logits.isfinite().all()
    last = list(network(made).features.values())[-2]  # before `pooled`
    halvings = 2 if name == "resnet8x4" else 3
    assert last.shape[2:] == (-(-height // 2**halvings), -(-width // 2**halvings))


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


def residual_forward(state, x, training):
    """Logits and features of a residual network of basic blocks, without modules."""

    def conv(x, name, norm, stride=1):
        weight = state[f"{name}.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return normalised(x, state, norm, training)

    features = {"stem": conv(x, "conv", "bn").clamp(min=0)}
    x = features["stem"]
    stage = block = 0
    while f"stages.{stage}.0.conv1.weight" in state:
        while f"stages.{stage}.{block}.conv1.weight" in state:
            at, stride = f"stages.{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            inner = conv(x, f"{at}.conv1", f"{at}.bn1", stride).clamp(min=0)
            inner = conv(inner, f"{at}.conv2", f"{at}.bn2")
            projected = f"{at}.shortcut.0.weight" in state
            pre = inner + (
                conv(x, f"{at}.shortcut.0", f"{at}.shortcut.1", stride) if projected else x
            )
            x, block = pre.clamp(min=0), block + 1
        stage, block = stage + 1, 0
        features |= {f"stage{stage}": x, f"stage{stage}_pre": pre}
    features["pooled"] = x.mean(dim=(2, 3))
    return features["pooled"] @ state["fc.weight"].T + state["fc.bias"], features


def shuffled_forward(state, x, training):
    """Logits and features of ShuffleNetV2, without modules."""

    def conv(x, name, index, stride=1):
        weight = state[f"{name}.{index}.weight"]
        groups = x.shape[1] // weight.shape[1]
        padding = weight.shape[-1] // 2
        x = functional.conv2d(x, weight, stride=stride, padding=padding, groups=groups)
        return normalised(x, state, f"{name}.{index + 1}", training)

    def right(x, at, stride):
        x = conv(x, f"{at}.right", 0).clamp(min=0)
        return conv(conv(x, f"{at}.right", 3, stride), f"{at}.right", 5)

    def shuffle(x):  # of two groups
        n, channels, height, width = x.shape
        return x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)

    features = {"stem": conv(x, "stem", 0).clamp(min=0)}
    x = features["stem"]
    for stage, count in enumerate((4, 8, 4)):
        at = f"stages.{stage}.0"
        left = conv(conv(x, f"{at}.left", 0, 2), f"{at}.left", 2)
        x = shuffle(torch.cat([left, right(x, at, 2)], dim=1).clamp(min=0))
        for block in range(1, count):
            half = x.shape[1] // 2
            computed = right(x[:, half:], f"stages.{stage}.{block}", 1)
            pre = torch.cat([x[:, :half], computed], dim=1)
            x = shuffle(torch.cat([x[:, :half], computed.clamp(min=0)], dim=1))
        features |= {f"stage{stage + 1}": x, f"stage{stage + 1}_pre": pre}
    features["pooled"] = conv(x, "last", 0).clamp(min=0).mean(dim=(2, 3))
    return features["pooled"] @ state["fc.weight"].T + state["fc.bias"], features


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "forward"),
    [
        ("resnet8x4", residual_forward),
        ("resnet14x2", residual_forward),
        ("resnet18", residual_forward),
        ("shufflenet_v2", shuffled_forward),
    ],
)
def test_a_network_computes_what_its_plain_forward_pass_does(name, forward, training):
    network = perturbed(name).double().train(training)
    state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    logits, features = forward(state, images(4, 16).double(), training)
    found = network(images(4, 16).double())
    torch.testing.assert_close(found.logits, logits)
    assert {*found.features} == {*features}
    for feature, expected in features.items():
        torch.testing.assert_close(found.features[feature], expected)


@pytest.mark.parametrize("name", ["resnet8x4", "resnet14x1", "resnet18", "shufflenet_v2"])
def test_a_stage_is_its_pre_feature_after_the_relu_and_the_shuffle(name):
    features = perturbed(name).eval()(images(4, 16)).features
    for stage in [key for key in features if f"{key}_pre" in features]:
        pre = features[f"{stage}_pre"]
        assert 0.02 < (pre < 0).float().mean() < 0.9  # no ReLU in place
        after = pre.relu()
        if name == "shufflenet_v2":
            after = functional.channel_shuffle(after, 2)
            kept, _ = pre.chunk(2, dim=1)
            assert kept.ge(0).all()  # an earlier block has activated them
        assert torch.equal(after, features[stage])


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


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_each_batch_norm_sees_a_training_batch_once_and_none_in_eval_mode(name):
    network = built(name).train()
    network(images(4, 8))
    network.eval()(images(4, 8))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {norm.num_batches_tracked.item() for norm in norms} == {1}


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_the_gradient_reaches_every_parameter(name):
    network = built(name).train()
    functional.cross_entropy(network(images(4, 16)).logits, torch.arange(4)).backward()
    assert [key for key, value in network.named_parameters() if not value.grad.any()] == []


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_the_memory_format_changes_nothing(name, training):
    network = perturbed(name).double().train(training)
    expected = network(images(4, 16).double())
    network = perturbed(name).double().train(training).to(memory_format=torch.channels_last)
    last = images(4, 16).double().contiguous(memory_format=torch.channels_last)
    found = network(last)
    torch.testing.assert_close(found.logits, expected.logits)
    for feature, value in expected.features.items():
        torch.testing.assert_close(found.features[feature], value)
        assert value.dim() == 2 or found.features[feature].is_contiguous(
            memory_format=torch.channels_last
        )


# -- initial weights and seeds ------------------------------------------------------------------


def test_the_gradients_of_a_channel_shuffle_are_those_of_autograd_in_maps_of_their_own():
    halves = [images(2, 4, number).to(memory_format=torch.channels_last) for number in (1, 2)]
    left, right = (half.requires_grad_() for half in halves)
    joined = shufflenet_v2.shuffled(left, right)
    plain = torch.stack((left, right), dim=2).flatten(1, 2)
    assert joined.equal(plain) and joined.is_contiguous(memory_format=torch.channels_last)
    upstream = images(2, 4, 3).repeat(1, 2, 1, 1) * torch.arange(6)[:, None, None]
    found = torch.autograd.grad(joined, halves, upstream.to(memory_format=torch.channels_last))
    for gradient, expected in zip(found, torch.autograd.grad(plain, halves, upstream), strict=True):
        assert gradient.equal(expected)
        assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_torch_func_gives_gradients_of_each_image_and_derivatives_in_a_direction(name):
    network = built(name).double().eval()
    values = {name: value.detach() for name, value in network.named_parameters()}
    x = images(2, 3, 1).double()

    def loss(values, image):
        logits, _ = torch.func.functional_call(network, values, (image[None],))
        return logits.square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(values, x)
    along = torch.func.jvp(lambda image: loss(values, image), (x[1],), (x[0],))[1]
    image = x[1].clone().requires_grad_()
    *expected, of_image = torch.autograd.grad(
        loss(dict(network.named_parameters()), image), [*network.parameters(), image]
    )
    for each, gradient in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(each[1], gradient, rtol=1e-6, atol=1e-12)
    assert along.item() == pytest.approx((of_image * x[0]).sum().item(), rel=1e-9)


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


@pytest.mark.parametrize("name", ["resnet32x4", "resnet18"])
def test_residual_networks_draw_normally_with_the_variance_2_by_fan_out(name):
    network = built(name)
    large = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 10**5]
    assert len(large) >= 8
    for layer in [*large, network.stages[2][0].shortcut[0]]:
        out, _, kernel, _ = layer.weight.shape
        expected = math.sqrt(2 / (out * kernel * kernel))
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert layer.weight.abs().max() > 3.5 * expected  # a uniform draw would end at 1.7


def test_shufflenet_v2_draws_uniformly_up_to_the_root_of_1_by_fan_in():
    network = built("shufflenet_v2")
    draws = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(draws) == 1 + 3 * 5 + 13 * 3 + 1 + 1
    for layer in draws:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound
        few = layer.weight.numel() < 10_000
        expected = pytest.approx(bound / math.sqrt(3), rel=0.2 if few else 0.02)
        assert layer.weight.std().item() == expected


@pytest.mark.parametrize("name", ["resnet8x4", "resnet18", "shufflenet_v2"])
def test_the_last_layer_begins_as_torch_makes_it(name):
    network = built(name, 200)
    bound = 1 / math.sqrt(network.fc.in_features)
    for values in (network.fc.weight, network.fc.bias):
        assert values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_batch_norms_begin_as_the_identity(name):
    for layer in built(name).modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all() and layer.bias.eq(0).all()


def test_the_last_bias_of_a_wide_residual_network_begins_as_zero():
    network = built("wrn_10_2")
    assert network.fc.bias.eq(0).all()
    assert network.fc.weight.std() > 0


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_convolutions_have_no_bias(name):
    network = built(name)
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
    "name",
    [
        *("wrn_11_2", "wrn_4_1", "wrn_10_0", "wrn_40", "wrn_40_2_1", "WRN_40_2", "resnet", ""),
        *("resnet9x4", "resnet2x4", "resnet8x0", "resnet8", "resnet50", "resnet18x4"),
        *("shufflenet_v1", "shufflenet_v2_1"),
    ],
)
def test_an_unknown_name_is_an_error_that_tells_the_known_ones(name):
    with pytest.raises(UserError) as error:
        catalogue.find(name)
    assert str(error.value).startswith(f"unknown network '{name}'; known: ")
    assert all(example in str(error.value) for example in EXAMPLES)


def test_an_unknown_name_is_an_error_wherever_it_is_used():
    for use, sizes in ((catalogue.build, (10,)), (catalogue.parameters, (32, 32, 10))):
        with pytest.raises(UserError, match="unknown network 'wrn_11_2'"):
            use("wrn_11_2", *sizes)
