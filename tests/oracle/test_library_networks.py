"""Networks of torchvision and timm by name: features, counts, random weights, what is refused."""

import importlib.util

import pytest
import torch
import torchvision

from soteacher.core.errors import UserError
from soteacher.models import catalogue
from soteacher.models.measured import measured
from soteacher.models.outside import outside

no_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed"
)


def built(name, n_classes=10, size=(32, 32), seed=0):
    torch.manual_seed(seed)
    return catalogue.build(name, n_classes, size).eval()


def shapes(output):
    return {name: tuple(value.shape[1:]) for name, value in output.features.items()}


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
        ("mobilenet_v2", torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1),
    ],
)
def test_parameters_and_flops_are_those_that_torchvision_states(name, weights):
    facts = measured(outside(f"torchvision/{name}"), 1000, 224, 224)
    assert facts.parameters == weights.meta["num_params"]
    assert facts.flops / 2e9 == pytest.approx(weights.meta["_ops"], rel=0.002)  # 3 decimals


def test_features_of_torchvision_are_the_outputs_of_its_stages():
    wrapped = built("torchvision/resnet18")
    inner, images = wrapped.network, torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        output = wrapped(images)
        value = inner.relu(inner.bn1(inner.conv1(images)))
        assert torch.equal(output.features["stem"], value)
        value = inner.maxpool(value)
        for number in range(1, 5):
            value = getattr(inner, f"layer{number}")(value)
            assert torch.equal(output.features[f"stage{number}"], value)
        pooled = value.mean(dim=(2, 3))
        torch.testing.assert_close(output.features["pooled"], pooled)
        assert torch.equal(output.logits, inner.fc(output.features["pooled"]))
    assert len(output.features) == 6


def test_convolutional_networks_have_one_map_per_size():
    output = built("torchvision/mobilenet_v3_small", size=(64, 64))(torch.zeros(2, 3, 64, 64))
    assert shapes(output) == {
        "stem": (16, 32, 32),
        "stage1": (16, 16, 16),
        "stage2": (24, 8, 8),
        "stage3": (48, 4, 4),
        "stage4": (576, 2, 2),
        "pooled": (1024,),
    }


def test_weights_are_a_function_of_the_seed_alone():
    first, again, other = (built("torchvision/shufflenet_v2_x0_5", seed=s) for s in (0, 0, 1))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.network.conv1[0].weight, other.network.conv1[0].weight)


def test_what_cannot_be_used_is_one_line():
    for name, said in (
        ("resnt18", "torchvision has no network 'resnt18'; .* such as resnet18"),
        ("squeezenet1_1", "it has no linear layer that gives the logits; choose another network"),
        ("vit_b_16", "torchvision's vit_b_16 needs square images"),
    ):
        with pytest.raises(UserError, match=said) as error:
            measured(outside(f"torchvision/{name}"), 10, 32, 48)
        assert str(error.value).startswith(f"the network 'torchvision/{name}' (torchvision ")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"cannot be used for 10 classes and images of 32x32"):
        measured(outside("torchvision/alexnet"), 10, 32, 32)


@no_timm
def test_features_of_timm_are_those_of_its_own_features_only():
    import timm

    wrapped = built("timm/resnet18")
    torch.manual_seed(0)
    maps = timm.create_model("resnet18", features_only=True).eval()
    state = wrapped.network.state_dict()
    maps.load_state_dict({name: state[name] for name in maps.state_dict()})
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output, expected = wrapped(images), maps(images)
        assert torch.equal(output.logits, wrapped.network(images))
    for name, value in zip(("stem", "stage1", "stage2", "stage3", "stage4"), expected, strict=True):
        assert torch.equal(output.features[name], value)


@no_timm
def test_a_vision_transformer_has_pooled_alone_and_is_built_for_the_images():
    name = "timm/vit_tiny_patch16_224"
    facts = measured(outside(name), 10, 32, 48)
    assert facts.features == ("pooled",) and facts.maps == {} and facts.one_image
    network = built(name, size=(32, 48))
    assert network(torch.zeros(2, 3, 32, 48)).features["pooled"].shape == (2, 192)
    assert facts.parameters == sum(p.numel() for p in network.parameters())
    with pytest.raises(UserError, match="timm has no network 'vit_tiny_patch15'"):
        measured(outside("timm/vit_tiny_patch15"), 10, 32, 32)
