"""Networks of timm and torchvision, with the features that distillers compare.

The weights are always random. A network computes its logits as in its library; its features are
taken on the way, by hooks.
"""

from __future__ import annotations

import copy
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from soteacher.core.errors import UserError
from soteacher.models.output import Features, Output

PROBE = 256
"""Height and width of the image that shows where a network of torchvision shrinks its maps."""
STEM = 4
"""Maps that are larger than a quarter of the image's height and width belong to the stem."""


class WithFeatures(nn.Module):
    """A network of a library that returns its logits and features.

    Features: the last map of each size, `stem` and `stage1`, `stage2`, ..., and `pooled`, the input
    of the last linear layer. A network of tokens has `pooled` alone.
    """

    def __init__(self, network: nn.Module, stages: dict[str, str], classifier: nn.Linear) -> None:
        """Hook a network; `stages` are names of features to names of its modules."""
        super().__init__()
        self.network = network
        self._features: Features = {}
        for feature, module in stages.items():
            network.get_submodule(module).register_forward_hook(partial(self._keep_map, feature))
        classifier.register_forward_pre_hook(self._keep_pooled)

    def forward(self, images: Tensor) -> Output:
        """Classify images (B, 3, H, W)."""
        self._features = {}
        logits = self.network(images)
        features, self._features = self._features, {}
        return Output(logits, features)

    def _keep_map(self, name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._features[name] = output

    def _keep_pooled(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features["pooled"] = inputs[0]


def build(library: str, model: str, n_classes: int, height: int, width: int) -> WithFeatures:
    """Build a network of `timm` or `torchvision` for images of this size, with random weights.

    Raises `UserError` if the library has no such network, or if its features cannot be taken.
    """
    size = (height, width)
    made = (_timm if library == "timm" else _torchvision)(model, n_classes, size)
    probe = copy.deepcopy(made.network).to("meta").eval()
    classifier, n_pooled = _classifier(probe, size, n_classes)
    stages = _stages(probe, size if made.of_one_size else (PROBE, PROBE), made.places, n_pooled)
    linear = made.network.get_submodule(classifier)
    assert isinstance(linear, nn.Linear)
    return WithFeatures(made.network, stages, linear)


class _Made(NamedTuple):
    network: nn.Module
    places: list[str]
    """Names of the modules whose outputs may be maps, in order."""
    of_one_size: bool
    """Whether it takes only images of the size that it was built for."""


def _timm(model: str, n_classes: int, size: tuple[int, int]) -> _Made:
    """Return a network of timm; `feature_info` is timm's own list of its maps."""
    import timm

    if not timm.is_model(model):
        raise _unknown("timm", model, timm.list_models())
    create = partial(timm.create_model, model, pretrained=False, num_classes=n_classes)
    with torch.random.fork_rng(devices=[]):
        first = create()
    of_one_size = getattr(getattr(first, "patch_embed", None), "img_size", None) is not None
    network = create(img_size=size) if of_one_size else create()
    infos = getattr(network, "feature_info", None) or []
    infos = infos if isinstance(infos, list) else infos.info
    return _Made(network, [info["module"] for info in infos if info.get("module")], of_one_size)


def _torchvision(model: str, n_classes: int, size: tuple[int, int]) -> _Made:
    """Return a network of torchvision; its maps are outputs of its blocks."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        raise _unknown("torchvision", model, known)
    create = partial(torchvision.models.get_model, model, weights=None, num_classes=n_classes)
    with torch.random.fork_rng(devices=[]):
        first = create()
    settings: dict[str, Any] = {}
    if getattr(first, "aux_logits", False):
        settings["aux_logits"] = False
    if of_one_size := hasattr(first, "image_size"):
        settings["image_size"] = size[0]
        if size[0] != size[1]:
            raise UserError(f"torchvision's {model} needs square images, not {size[0]}x{size[1]}")
    network = create(**settings)
    places: list[str] = []
    for name, child in network.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d):  # after it come single pixels
            break
        if isinstance(child, torchvision.ops.Permute):  # before it, channels are the last dimension
            places.clear()
        elif isinstance(child, nn.Sequential):
            places += [f"{name}.{part}" for part, _ in child.named_children()]
        else:
            places.append(name)
    return _Made(network, places, of_one_size)


def _unknown(library: str, model: str, known: list[str]) -> UserError:
    near = get_close_matches(model, known, n=3) or [known[0], "..."]
    return UserError(
        f"{library} has no network '{model}'; expected one of its image classifiers, such as "
        f"{', '.join(near)}"
    )


@torch.no_grad()
def _outputs(probe: nn.Module, places: list[str], size: tuple[int, int]) -> dict[str, Any]:
    """Return name of module to its output for an image of zeros, in the order of the calls."""
    outputs: dict[str, Any] = {}

    def keep(name: str, module: nn.Module, inputs: object, output: object) -> None:
        outputs[name] = output

    hooks = [
        probe.get_submodule(place).register_forward_hook(partial(keep, place)) for place in places
    ]
    probe(torch.zeros(1, 3, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return outputs


def _classifier(probe: nn.Module, size: tuple[int, int], n_classes: int) -> tuple[str, int]:
    """Return the last linear layer that gives the logits, and the number of its inputs."""
    linear = [name for name, layer in probe.named_modules() if isinstance(layer, nn.Linear)]
    outputs = _outputs(probe, linear, size)
    found = [name for name, output in outputs.items() if output.shape == (1, n_classes)]
    if not found:
        raise UserError("it has no linear layer that gives the logits")
    layer = probe.get_submodule(found[-1])
    assert isinstance(layer, nn.Linear)
    return found[-1], layer.in_features


def _stages(
    probe: nn.Module, size: tuple[int, int], places: list[str], n_pooled: int
) -> dict[str, str]:
    """Return feature name to the module that gives it: the last map of each height.

    Networks of tokens, and those with channels as the last dimension, have no maps.
    """
    outputs = _outputs(probe, places, size)
    shapes = {name: o.shape for name, o in outputs.items() if isinstance(o, Tensor)}
    if any(len(shape) == 3 for shape in shapes.values()):
        return {}
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    if maps:
        *_, (_, channels, _, last) = maps.values()
        if last == n_pooled != channels:
            return {}
    last_of = {shape[2]: name for name, shape in maps.items()}
    in_stem = [height for height in last_of if STEM * height > size[0]]
    stages = [height for height in last_of if height not in in_stem]
    named = {"stem": last_of[in_stem[-1]]} if in_stem else {}
    return named | {f"stage{n}": last_of[height] for n, height in enumerate(stages, start=1)}
