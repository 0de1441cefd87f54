"""Maps of one network brought to the shape of another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from formulas import average_down, batch_normed, convolved, spread

from soteacher.core.errors import UserError
from soteacher.core.random import seeded
from soteacher.models.adapters import regressor, same_size

TEACHER = (5, 4, 4)


def maps(*shape):
    return torch.tensor(np.random.default_rng(0).standard_normal((3, *shape)))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ((2, 4, 4), lambda x, w, b: convolved(x, w, b)),
        ((2, 6, 5), lambda x, w, b: convolved(x, w, b)),
        ((2, 8, 8), lambda x, w, b: convolved(x, w, b, stride=2, padding=1)),
        ((2, 2, 2), lambda x, w, b: spread(x, w, b, stride=2, padding=1)),
    ],
    ids=["same size", "a little larger", "twice as large", "half as large"],
)
def test_a_regressor_gives_the_teacher_s_shape_by_the_stated_convolution(student, expected, relu):
    with seeded(1):
        layers = regressor(student, TEACHER, relu).double()
    conv, norm, *last = layers
    x = maps(*student)
    made = expected(x.numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy())
    made = batch_normed(made, norm)
    found = layers(x).detach().numpy()
    assert found.shape == (3, *TEACHER)
    np.testing.assert_allclose(found, np.maximum(made, 0) if relu else made, atol=1e-12)
    assert len(last) == relu


@pytest.mark.parametrize("size", [(3, 3), (1, 1), (2, 4), (8, 2)])
def test_maps_that_cannot_be_matched_are_refused_in_one_line(size):
    with pytest.raises(UserError, match=r"map of \dx\d pixels the teacher's 4x4") as refused:
        regressor((2, *size), TEACHER, relu=True)
    assert "\n" not in str(refused.value)


def test_the_larger_of_two_maps_is_averaged_down():
    small, large = maps(2, 2, 4), maps(3, 4, 8)
    for pair, larger in (((small, large), 1), ((large, small), 0)):
        found = same_size(*pair)
        assert found[1 - larger] is small
        expected = average_down(large.numpy(), 2, 4)
        np.testing.assert_allclose(found[larger].numpy(), expected, atol=1e-15)


def test_whole_ratios_are_averaged_by_what_has_a_deterministic_gradient_on_cuda():
    found, _ = same_size(maps(3, 4, 8).requires_grad_(), maps(2, 2, 4))
    assert found.grad_fn.name() == "AvgPool2DBackward0"  # AdaptiveAvgPool2D's has none there


def test_maps_of_no_whole_ratio_are_averaged_over_overlapping_parts():
    one, other = torch.arange(5.0).view(1, 1, 1, 5), torch.zeros(1, 1, 1, 3)
    found, _ = same_size(one, other)  # parts 0 to 1, 1 to 3 and 3 to 4
    assert found.flatten().tolist() == [0.5, 2.0, 3.5]


def test_maps_of_one_size_stay_as_they_are():
    one, other = maps(2, 4, 4), maps(3, 4, 4)
    assert same_size(one, other)[0] is one and same_size(one, other)[1] is other
