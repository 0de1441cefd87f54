"""Saved states of a learner: they hold everything that an exact resume needs."""

from __future__ import annotations

import torch
from torch import Tensor

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.training.learner import Learner


def save(learner: Learner) -> None:
    """Save the state in the store; a state that is not finite does not replace the last good one.

    The time of a save depends on the clock, but the record of a divergence must not: a loss that is
    not finite raises `Diverged`, while weights that are not finite are detected by the next loss.
    """
    learner.check_finite(learner.cursor.step)
    if not learner.finite_weights():
        return
    tensors = {f"parts.{name}": value.detach() for name, value in learner.values().items()}
    for index, parameter in enumerate(learner.parameters()):
        momentum = learner.optimizer.momenta.get(parameter)
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum
    for name, value in learner.buffers().items():
        tensors[f"buffer.{name}"] = value
    tensors |= {f"losses.{name}": value for name, value in learner.epoch_losses.items()}
    tensors["correct"] = learner.n_correct
    cursor = learner.cursor
    info = {
        "cursor": [cursor.stage.name, cursor.epoch, cursor.step],
        "history": learner.history,
        "seconds": learner.seconds,
        "images_per_second": learner.images_per_second,
        "epochs": learner.epochs(cursor.stage),
        "images_left": _images_left(learner),
        "checkpoints": learner.checkpoints,
    }
    learner.folder.save_state(tensors, info)


def resume(learner: Learner) -> None:
    """Resume from the last saved state; if there is none, save the initial state."""
    state = learner.folder.load_state()
    if state is None:
        save(learner)
        return
    tensors, info = state
    stage, epoch, step = info["cursor"]
    learner.history, learner.seconds = info["history"], info["seconds"]
    learner.images_per_second = info["images_per_second"]
    learner.checkpoints = info["checkpoints"]
    if Stage[stage] != learner.cursor.stage:
        learner.enter(Cursor(Stage[stage], 0, 0))
    learner.enter(Cursor(Stage[stage], epoch, step))
    _check_shapes(learner, tensors)
    with torch.no_grad():
        for name, value in learner.values().items():
            value.copy_(tensors[f"parts.{name}"])
        for index, parameter in enumerate(learner.parameters()):
            if f"momentum.{index}" in tensors:
                # empty_like keeps the parameter's strides, which fused SGD requires
                momentum = torch.empty_like(parameter).copy_(tensors[f"momentum.{index}"])
                learner.optimizer.momenta[parameter] = momentum
        for name, value in learner.buffers().items():
            value.copy_(tensors[f"buffer.{name}"])
        learner.n_correct.copy_(tensors["correct"])
    for name, value in tensors.items():
        if name.startswith("losses."):
            losses = value.to(learner.stream.device)
            learner.epoch_losses[name.removeprefix("losses.")] = losses


def _check_shapes(learner: Learner, tensors: dict[str, Tensor]) -> None:
    """Refuse a state without a tensor of the learner, or with one of another shape or type."""
    expected = {f"parts.{name}": value for name, value in learner.values().items()}
    expected |= {f"buffer.{name}": value for name, value in learner.buffers().items()}
    expected["correct"] = learner.n_correct
    momenta = {f"momentum.{i}": value for i, value in enumerate(learner.parameters())}
    expected |= {name: value for name, value in momenta.items() if name in tensors}
    known = {f"{name} {_shape(value)}" for name, value in tensors.items()}
    missing = [
        text for name, value in expected.items() if (text := f"{name} {_shape(value)}") not in known
    ]
    if missing:
        folder = learner.folder
        raise UserError(
            f"the saved state of {folder.id} in {folder.path} is from another version of "
            f"soteacher: it lacks {', '.join(sorted(missing)[:3])}; delete the run with "
            f"`soteacher forget {folder.path.name[:12]}` to train it from the start"
        )


def _shape(value: Tensor) -> str:
    return f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")


def _images_left(learner: Learner) -> int:
    """Return the number of images from the cursor to the end of all stages."""
    cursor = learner.cursor
    epochs = sum(learner.epochs(stage) for stage in Stage if stage >= cursor.stage) - cursor.epoch
    return epochs * learner.stream.n_images - cursor.step * learner.stream.batch_size
