"""What a distiller knows in a loop that is not a study's: what was given, and nothing made up.

A study always knows its number of images, its labels and so on. In your own loop, most methods need
none of it. A method that uses what was not given ends with a message that says what to give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor
from soteacher.core.errors import UserError, short
from soteacher.models.output import Output
from soteacher.penalties.checks import at_least_float32, check_tensor, check_whole
from soteacher.terms import FeatureShapes, RunContext

LABELS = "the labels of the training images: create it with labels=..., (N,), in the set's order"
SHAPES = (
    "the features of both networks: create it with one output of each, as in "
    "loss(student(images), teacher(images))"
)
MISSING = {
    "n_images": LABELS,
    "labels": LABELS,
    "n_classes": "the number of classes: create it with n_classes=...",
    "epochs": "the number of epochs: create it with epochs=...",
    "student_features": SHAPES,
    "teacher_features": SHAPES,
}
"""Field of a context to what a user must give."""


class LoopContext(RunContext):
    """A context with fields that may be None; a method that reads such a field raises an error."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if value is None and name in MISSING:
            raise UserError(f"this method needs {MISSING[name]}")
        return value


class LoopBatch(Batch):
    """A batch without images, and perhaps without indices; reading them raises an error."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if value is None and name == "indices":
            raise UserError(
                "this method needs the rows of the batch's images in the training set: pass "
                "indices=..., int64, (B,)"
            )
        if value is None and name == "images":
            raise UserError("this method uses the images, which a loss module does not get")
        return value


class NoNetwork:
    """Stands for the student's network, which a loss module does not get."""

    def __getattribute__(self, name: str) -> Any:
        raise UserError("this method uses the student's network, which a loss module does not get")


def shapes_of(given: Any, whose: str) -> FeatureShapes | None:
    """Return feature name to shape without the batch dimension; None if there are no features.

    given : an output, or a mapping of feature names to such shapes, or None.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {name: _shape(name, shape, whose) for name, shape in given.items()}
    features = output_of(given, whose).features
    return {name: tuple(value.shape[1:]) for name, value in features.items()} or None


def _shape(name: str, given: Any, whose: str) -> tuple[int, ...]:
    whole = isinstance(given, Iterable) and not isinstance(given, Tensor | str)
    sizes = tuple(given) if whole else ()
    if not sizes or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        got = f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else short(repr(given))
        raise UserError(
            f"expected the shape of the {whose}'s feature '{name}' without the batch, such as "
            f"(32, 16, 16); got {got}: give shapes, or a whole output (logits, features)"
        )
    return tuple(int(size) for size in sizes)


def output_of(given: Any, whose: str) -> Output:
    """Return the logits and features of a network in float32 or more.

    given : logits, (B, K), or a pair of logits and a mapping of feature names to tensors.
    Raises `UserError` for anything else.
    """
    if isinstance(given, Tensor):
        given = (given, {})
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)):
        raise UserError(
            f"expected the {whose}'s output as logits (B, K), or as a pair of logits and a mapping "
            f"of feature names to tensors; got an object of type {type(given).__name__}"
        )
    logits, features = given
    check_tensor(f"the {whose}'s logits (B, K)", logits)
    for name, value in features.items():
        check_tensor(f"the {whose}'s feature '{name}'", value)
    if logits.ndim != 2 or not logits.is_floating_point():
        raise UserError(
            f"expected the {whose}'s logits as floating-point numbers (B, K); got {logits.dtype}, "
            f"{tuple(logits.shape)}"
        )
    promoted = {name: at_least_float32(value) for name, value in features.items()}
    return Output(at_least_float32(logits), promoted)


def checked_outputs(
    student: Any,
    teacher: Any,
    labels: Tensor,
    turns: int,
    shapes: tuple[FeatureShapes | None, FeatureShapes | None],
) -> tuple[Output | None, Output]:
    """Return both outputs in float32 or more; raise `UserError` unless they fit each other.

    student : None for a first stage that depends on the teacher alone.
    shapes : the features that the loss was created for, of student and teacher.
    """
    target = output_of(teacher, "teacher")
    check_labels(labels, len(target.logits), turns)
    check_range("labels", labels, target.logits.shape[1], "classes")
    check_features(target, shapes[1], "teacher")
    if student is None:
        return None, target
    output = output_of(student, "student")
    check_features(output, shapes[0], "student")
    if output.logits.shape != target.logits.shape:
        raise UserError(
            f"the student's logits are {tuple(output.logits.shape)}, the teacher's are "
            f"{tuple(target.logits.shape)}: expected the same images and classes"
        )
    for whose, one in (("student", output), ("teacher", target)):
        for name, value in {"logits": one.logits, **one.features}.items():
            if value.dtype != output.logits.dtype:
                raise UserError(
                    f"the {whose}'s {name} are {value.dtype}, the student's logits are "
                    f"{output.logits.dtype}; expected one type: convert them with .to()"
                )
    return output, target


def batch_of(labels: Tensor, indices: Tensor | None, cursor: Cursor) -> LoopBatch:
    """Return the batch of a step; raise `UserError` unless the indices are one row per label."""
    nothing: Any = None
    if indices is None:
        return LoopBatch(nothing, labels.long(), nothing, cursor)
    check_tensor("indices (B,)", indices)
    check_whole("indices", indices)
    if indices.shape != labels.shape:
        raise UserError(
            f"expected indices (B,), one per label; got {tuple(indices.shape)} and labels "
            f"{tuple(labels.shape)}"
        )
    return LoopBatch(nothing, labels.long(), indices.long(), cursor)


def check_place(logits: Tensor, parameters: list[nn.Parameter], memory: list[Tensor]) -> None:
    """Raise `UserError` unless a loss has the device of the logits, and its layers their dtype."""
    for value in [*parameters, *memory]:
        if value.device != logits.device:
            raise UserError(
                f"the loss is on {value.device}, the outputs are on {logits.device}: move the "
                "loss once with loss.to(device), before you create its optimizer"
            )
    for value in parameters:
        if value.dtype != logits.dtype:
            raise UserError(
                f"the loss has layers of {value.dtype}, the outputs are {logits.dtype}: keep the "
                "loss in float32, or convert it with loss.double() for outputs of float64"
            )


def lacking(error: KeyError, method: str, student: Output, teacher: Output) -> Exception:
    """Return the error for a user if a feature is what was not found, otherwise the same error."""
    for whose, output in (("student", student), ("teacher", teacher)):
        if error.args and error.args[0] not in output.features:
            return UserError(
                f"{method} needs the {whose}'s feature '{error.args[0]}'; it got "
                f"{', '.join(output.features) or 'logits alone'}"
            )
    return error


def check_labels(labels: Tensor, rows: int, turns: int) -> None:
    """Raise `UserError` unless labels are classes, one for each upright image of the rows."""
    check_tensor("labels (B,)", labels)
    check_whole("labels", labels)
    if labels.ndim != 1 or not len(labels) or rows != turns * len(labels):
        views = f"{turns} views of each image, all upright ones first: " if turns > 1 else ""
        raise UserError(
            f"expected {views}logits ({'' if turns == 1 else f'{turns} * '}B, K) and labels (B,) "
            f"with B of 1 or more; got {rows} rows of logits and labels {tuple(labels.shape)}"
        )


def check_range(what: str, values: Tensor, number: int, of: str) -> None:
    """Raise `UserError` unless whole numbers are in 0 to number - 1.

    Only on a CPU: on a GPU, a step would wait for the answer.
    """
    if values.device.type == "cpu" and len(values):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= number:
            raise UserError(
                f"expected {what} from 0 to {number - 1}, for {number} {of}; got {low} to {high}"
            )


def check_features(output: Output, shapes: FeatureShapes | None, whose: str) -> None:
    """Raise `UserError` unless an output has the features that the loss was created for."""
    for name, shape in (shapes or {}).items():
        value = output.features.get(name)
        found = "no such feature" if value is None else str(tuple(value.shape[1:]))
        if value is None or tuple(value.shape[1:]) != shape:
            raise UserError(
                f"the loss was created for the {whose}'s feature '{name}' of shape {shape}, "
                f"without the batch; got {found}: create a loss for each network and image size"
            )
        if len(value) != len(output.logits):
            raise UserError(
                f"the {whose}'s feature '{name}' has {len(value)} rows, its logits have "
                f"{len(output.logits)}; expected as many"
            )
