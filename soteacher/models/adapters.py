"""Adapters between the feature maps of two networks, which may differ in size."""

from __future__ import annotations

from torch import Tensor, nn

from soteacher.core.errors import UserError


def regressor(student: tuple[int, ...], teacher: tuple[int, ...], relu: bool) -> nn.Sequential:
    """Return a convolution and a batch norm that give the student's map the teacher's shape.

    As in RepDistiller: a 3x3 convolution of stride 2 if the student's map is twice as large; a 4x4
    transposed convolution of stride 2 if it is half as large; otherwise a convolution without
    padding, with a kernel as large as the difference in size requires.

    student, teacher : (C, H, W).   relu : whether a ReLU comes last.
    Raises `UserError` if the student's map is smaller than the teacher's, but not half as large.
    """
    (into, height, width), (out, *wanted) = student, teacher
    conv: nn.Module
    if [height, width] == [2 * size for size in wanted]:
        conv = nn.Conv2d(into, out, 3, stride=2, padding=1)
    elif [2 * height, 2 * width] == wanted:
        conv = nn.ConvTranspose2d(into, out, 4, stride=2, padding=1)
    elif height >= wanted[0] and width >= wanted[1]:
        conv = nn.Conv2d(into, out, (1 + height - wanted[0], 1 + width - wanted[1]))
    else:
        raise UserError(
            f"cannot give the student's map of {height}x{width} pixels the teacher's "
            f"{wanted[0]}x{wanted[1]}: expected a student's map that is half as large, as large, "
            "or larger"
        )
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([nn.ReLU()] if relu else []))


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps (B, C, H, W) in one size: the larger is averaged down to the smaller."""
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return _averaged(student, height, width), _averaged(teacher, height, width)


def _averaged(maps: Tensor, height: int, width: int) -> Tensor:
    if maps.shape[2:] == (height, width):
        return maps
    down, across = maps.shape[2] // height, maps.shape[3] // width
    if maps.shape[2:] == (down * height, across * width):
        # the same result as below, where torch has no deterministic backward pass on CUDA
        return nn.functional.avg_pool2d(maps, (down, across))
    return nn.functional.adaptive_avg_pool2d(maps, (height, width))
