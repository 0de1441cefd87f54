"""What lies between the maps of two networks that have other sizes."""

from __future__ import annotations

from torch import Tensor, nn

from soteacher.core.errors import UserError


def regressor(student: tuple[int, ...], teacher: tuple[int, ...], relu: bool) -> nn.Sequential:
    """A convolution and a batch norm, that give the student's map the teacher's shape.

    RepDistiller's: a 3x3 convolution of stride 2 where the student's map is twice as large, a 4x4
    transposed one of stride 2 where it is half as large, else one without padding whose kernel
    takes away what the student's map has more.

    student, teacher : (C, H, W).   relu : whether a ReLU comes last.
    Raises `UserError` where the student's map is smaller than the teacher's, and not half of it.
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
            f"{wanted[0]}x{wanted[1]}: expected one half as large, as large, or larger"
        )
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([nn.ReLU()] if relu else []))


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W) of other sizes, the larger one averaged down to the smaller one's."""
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return _averaged(student, height, width), _averaged(teacher, height, width)


def _averaged(maps: Tensor, height: int, width: int) -> Tensor:
    if maps.shape[2:] == (height, width):
        return maps
    down, across = maps.shape[2] // height, maps.shape[3] // width
    if maps.shape[2:] == (down * height, across * width):
        # the same as below, whose backward pass torch refuses on CUDA in deterministic mode
        return nn.functional.avg_pool2d(maps, (down, across))
    return nn.functional.adaptive_avg_pool2d(maps, (height, width))
