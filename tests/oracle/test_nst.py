"""NST: the form of its loss for maps with fewer pixels than channels."""

from __future__ import annotations

import pytest
import torch

from soteacher.distillers.nst import channels, discrepancy, kernel

B, STUDENT, TEACHER, SIDE = 3, 31, 23, 2


def maps(n_channels: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(B, n_channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    drawn = drawn.double()
    drawn[0, 1] = 0  # a dead channel, of length 0
    return drawn


def of_channels(student, teacher):
    """The loss by its definition, whose kernels are of pairs of channels."""
    return kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_forms_have_the_same_value_and_gradient(layout):
    teacher, found = maps(TEACHER, 0), []
    for form in (discrepancy, of_channels):
        student = maps(STUDENT, 1).to(memory_format=layout).requires_grad_()
        loss = form(channels(student), channels(teacher))
        found.append((loss.item(), torch.autograd.grad(loss, student)[0]))
    (value, gradient), (by_definition, expected) = found
    assert value == pytest.approx(by_definition, rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-15)
    assert not gradient[0, 1].any()


def test_few_pixels_of_many_channels_take_no_pairs_of_channels():
    kept = []
    student, teacher = maps(STUDENT, 1).requires_grad_(), maps(TEACHER, 0)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        discrepancy(channels(student), channels(teacher))
    assert max(kept) <= B * STUDENT * SIDE**2


def test_equal_maps_have_no_discrepancy():
    both = channels(maps(STUDENT, 1).float())
    assert discrepancy(both, both.clone()).item() == 0
