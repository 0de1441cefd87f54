"""State dicts from files: what they hold, and which of a network's tensors each of theirs is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from soteacher.core import files
from soteacher.core.errors import UserError, short
from soteacher.core.lazy import torch
from soteacher.models import catalogue

if TYPE_CHECKING:
    from torch import Tensor, nn

INSIDE = ("state_dict", "model", "net", "model_state_dict")
"""Keys under which training scripts save a state dict together with other values."""
WRAPPED = "network."
"""What the names of a network of timm or torchvision have before the library's own names."""
COUNTS = "num_batches_tracked"
"""Batch norms of old files lack it; in eval mode it has no effect."""
SAVE = "load it where it was written, and save model.state_dict() with torch.save"
"""What to do about a file that is no state dict."""
NO_WEIGHTS = {
    b"version https://git-lfs": "it is a pointer of Git LFS; fetch the file with `git lfs pull`",
    b"<": "it is text that begins with '<', such as a web page; download the file itself",
}
"""Beginnings of files that are often there in place of the weights, and what to say of them."""
MOST_NAMED = 3
"""Number of tensors of each side that a message names."""

Tensors = dict[str, "Tensor"]


class Given(NamedTuple):
    """The network of a file, on the CPU."""

    network: nn.Module
    renamed: dict[str, str]
    """Our names to the file's, where they differ."""
    by_order: bool
    """Whether tensors were matched by their order, because the file has other names."""


def network_of(path: Path, name: str, n_classes: int, size: tuple[int, int]) -> Given:
    """Return the network of a file, and how its tensors were matched.

    name : of a network.   size : height and width of the images.   Raises `UserError` as
    `read_state_dict` and `fitted` do, if a weight is not finite, and if the tensors of a
    `.safetensors` file have other names than ours and than those of the network's library.
    """
    network = catalogue.build(name, n_classes, size)
    given = read_state_dict(path)
    wanted, offered = _names(network.state_dict()), _names(given)
    by_order = _same_names(wanted, offered) is None
    if path.suffix == ".safetensors" and by_order:
        raise UserError(
            f"{path} has other names of tensors than {name}, and a .safetensors file sorts its "
            "tensors by name, so that they cannot be matched by their order: load the network "
            "where it was trained, and save model.state_dict() with torch.save"
        )
    fitted_name = f"{name} with {n_classes} classes"
    tensors, theirs = fitted(given, network, fitted_name)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"the state dict of {path} does not fit {fitted_name}: {short(files.reason(error))}; "
            "choose the network and the data set that it was trained for"
        ) from None
    for key, value in network.state_dict().items():  # float64 can be finite, and float32 not
        if not torch.isfinite(value).all():
            raise UserError(
                f"{path} has weights that are not finite in {_dtype(value)}, the first in "
                f"{theirs.get(key, key)}; expected a network that was trained without diverging: "
                "choose another file"
            )
    return Given(network, {ours: key for ours, key in theirs.items() if ours != key}, by_order)


def read_state_dict(path: Path) -> Tensors:
    """Return the tensors of a `.safetensors` file, or of one that `torch.save` wrote, on the CPU.

    A file of `torch.save` is read with `weights_only=True`, so that no code in it is run. If the
    tensors are under one of the keys `INSIDE`, these are taken. Raises `UserError` otherwise.
    """
    if not files.is_file(path, "the state dict"):
        raise UserError(f"there is no file {path}; expected a state dict, .pth or .safetensors")
    from safetensors.torch import load_file

    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {files.reason(error)}; expected a state dict that is complete "
            "and that this user may read: check its permissions, or copy the file again"
        ) from None
    except Exception:  # bytes of any other format can raise anything
        raise UserError(_unreadable(path)) from None
    if isinstance(found, Mapping):
        inner = next((found[key] for key in INSIDE if isinstance(found.get(key), Mapping)), found)
        tensors = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
        if tensors and len(tensors) == len(inner):
            return tensors
    raise UserError(
        f"{path} holds no state dict: expected names with tensors alone, or these under one of the "
        f"keys {', '.join(INSIDE)}; save model.state_dict() with torch.save"
    )


def _unreadable(path: Path) -> str:
    """Return the message for a file that cannot be unpickled.

    It leaves out torch's own text, which suggests to run the code in the file.
    """
    with path.open("rb") as file:
        start = file.read(100).lstrip()
    why = next((text for begin, text in NO_WEIGHTS.items() if start.startswith(begin)), "")
    return f"{path} is no state dict that can be read as weights alone: " + (
        why or f"it is damaged, or it holds other things than tensors; {SAVE}"
    )


def fitted(given: Tensors, network: nn.Module, name: str) -> tuple[Tensors, dict[str, str]]:
    """Return the given tensors under the network's names, and its names to the given ones.

    Equal names are matched, also those of a library's own network, and also if all given ones have
    one prefix more, such as `module.`. If any name differs, all tensors are matched by their order:
    each must have the last part of its name (`weight`, `running_mean`, ...) and its shape as the
    network's.
    Counts of batches, which some files lack, are not matched by order; missing ones are 0.

    Raises `UserError` that names what does not fit; `name` is the network's name in it.
    """
    for key, value in given.items():
        _check_plain(key, value)
    wanted = {key: value for key, value in network.state_dict().items() if not _counts(key)}
    offered = {key: value for key, value in given.items() if not _counts(key)}
    theirs = _same_names([*wanted], [*offered])
    if theirs is None:
        theirs = dict(zip(wanted, offered, strict=False))
    ours_kinds = [_kind(key, value) for key, value in wanted.items()]
    their_kinds = [_kind(theirs[key], offered[theirs[key]]) for key in theirs]
    if ours_kinds != their_kinds or len(offered) != len(wanted):
        raise UserError(_differences(wanted, offered, name))
    tensors = {key: offered[theirs[key]] for key in wanted}
    for key, value in network.state_dict().items():
        if _counts(key):
            tensors[key] = given.get(key, torch.zeros_like(value))
        _check_type(theirs.get(key, key), tensors[key], value)
    return tensors, theirs


def _names(tensors: Iterable[str]) -> list[str]:
    return [key for key in tensors if not _counts(key)]


def _same_names(wanted: list[str], offered: list[str]) -> dict[str, str] | None:
    """Return the network's names to the given ones; None if these are other names.

    The names of a network of timm or torchvision are also given without `WRAPPED`. All given names
    may have one prefix more: `module.` of DataParallel, `_orig_mod.` of a compiled network, ...
    """
    for before in ("", WRAPPED):
        ours = {key.removeprefix(before): key for key in wanted}
        # a prefix of all names does not change which of them is the first
        prefix = min(offered, default="").removesuffix(min(ours, default=""))
        if {prefix + name for name in ours} == {*offered}:
            return {key: prefix + name for name, key in ours.items()}
    return None


def _check_plain(key: str, value: Tensor) -> None:
    """Raise `UserError` unless a tensor has its values, dense and as they are, on the CPU."""
    if value.is_nested or value.layout != torch.strided:
        kind = "sparse or nested"
    elif value.is_quantized:
        kind = "quantized"
    elif value.device.type != "cpu":
        kind = f"without values here (device {value.device.type})"
    else:
        return
    raise UserError(
        f"the tensor {key} of the state dict is {kind}; expected a dense tensor of plain numbers: "
        "convert it where it was written, and save the state dict again"
    )


def _check_type(key: str, value: Tensor, ours: Tensor) -> None:
    """Raise `UserError` unless a tensor can be copied to ours without another meaning."""
    if ours.is_floating_point():
        fits = value.is_floating_point() and value.element_size() > 1  # one byte needs a scale
        expected = "float32, float16, bfloat16 or float64"
    else:
        fits, expected = not value.is_complex(), "real numbers"
    if not fits or value.shape != ours.shape:
        raise UserError(
            f"the tensor {key} of the state dict is {_dtype(value)} of shape {tuple(value.shape)}; "
            f"expected {expected} of shape {tuple(ours.shape)}: convert it where it was written, "
            "and save the state dict again"
        )


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _counts(key: str) -> bool:
    return key.rpartition(".")[2] == COUNTS


def _kind(key: str, value: Tensor) -> tuple[str, tuple[int, ...]]:
    """Return what must be equal for two tensors to be the same: last part of the name, shape."""
    return key.rpartition(".")[2], tuple(value.shape)


def _differences(wanted: Tensors, offered: Tensors, name: str) -> str:
    """Return one line with the first tensors that one side has and the other side lacks."""
    ours, theirs = (
        [(key, *_kind(key, value)) for key, value in side.items()] for side in (wanted, offered)
    )
    matcher = SequenceMatcher(None, [row[1:] for row in ours], [row[1:] for row in theirs], False)
    missing: list[str] = []
    extra: list[str] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            missing += [f"{key} {shape}" for key, _, shape in ours[i1:i2]]
            extra += [f"{key} {shape}" for key, _, shape in theirs[j1:j2]]
    parts = [
        f"{len(found)} {what} ({', '.join(found[:MOST_NAMED])}"
        f"{', ...' if len(found) > MOST_NAMED else ''})"
        for found, what in ((missing, "of the network lack a tensor"), (extra, "fit nothing"))
        if found
    ]
    return (
        f"the state dict does not fit {name}: of {len(wanted)} tensors of the network and "
        f"{len(offered)} of the file, {' and '.join(parts)}; expected the same layers in the same "
        "order: choose the network and the data set that it was trained for"
    )
