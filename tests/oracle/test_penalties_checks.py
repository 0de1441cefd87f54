"""Penalties refuse what does not fit in one clear line, and print their settings."""

import numpy as np
import pytest
import torch
from torch import nn

from soteacher import ConsistencyPenalty, CorrectnessRankingPenalty, L1Penalty, LipschitzPenalty
from soteacher.core.errors import UserError

N, K, EPOCHS = 10, 3, 4
LABELS = torch.zeros(3, dtype=torch.int64)
ROWS = torch.tensor([1, 2, 3])


def consistency(logits=None, indices=ROWS, epoch=0):
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    try:
        return penalty(torch.zeros(3, K) if logits is None else logits, indices, epoch)
    finally:
        assert not penalty.seen[4:].any() or indices is not ROWS


def ranking(logits=None, indices=ROWS, epoch=0, labels=LABELS):
    penalty = CorrectnessRankingPenalty(N)
    return penalty(torch.zeros(3, K) if logits is None else logits, labels, indices, epoch)


INDICES = {
    "a negative index": (torch.tensor([1, -1, 3]), r"indices from 0 to 9, .*10 training.*got -1$"),
    "an index too large": (torch.tensor([1, 10, 3]), r"indices from 0 to 9, .*got 10$"),
    "a repeat": (torch.tensor([3, 1, 3]), r"different images in a batch; got the index 3 2 times"),
    "a list": ([1, 2, 3], r"indices \(B,\) as a tensor; got an object of type list"),
    "an array": (np.arange(3), r"as a tensor; got an object of type ndarray.*torch\.as_tensor"),
    "floats": (torch.tensor([1.0, 2.0, 3.0]), r"indices of whole numbers .*got torch\.float32"),
    "a mask": (torch.ones(3, dtype=torch.bool), r"indices of whole numbers .*got torch\.bool"),
    "another device": (ROWS.to("meta"), r"penalty is on cpu, the indices are on meta: move the"),
    "a sparse tensor": (ROWS.to_sparse(), r"indices \(B,\) as a dense tensor; .*to_dense\(\)$"),
    "a column": (ROWS[:, None], r"expected logits \(B, K\) and indices \(B,\)"),
}


@pytest.mark.parametrize("called", [consistency, ranking])
@pytest.mark.parametrize(("indices", "text"), INDICES.values(), ids=INDICES)
def test_indices_that_are_no_rows_are_refused(called, indices, text):
    with pytest.raises(UserError, match=text) as caught:
        called(indices=indices)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]
)
def test_whole_numbers_of_any_type_are_rows(dtype):
    assert consistency(indices=ROWS.to(dtype), epoch=1).item() == 0
    penalty = CorrectnessRankingPenalty(N)
    penalty(torch.eye(3), torch.arange(3).to(dtype), ROWS.to(dtype), np.int64(1))
    assert penalty.correct.tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("called", [consistency, ranking])
def test_logits_and_epochs_that_are_none_are_refused(called):
    with pytest.raises(UserError, match=r"expected logits \(B, K\) as a tensor; got an object of"):
        called([[0.0] * K] * 3)
    with pytest.raises(UserError, match="batch of at least one image; got 0 rows"):
        called(torch.zeros(0, K), indices=ROWS[:0]) if called is consistency else called(
            torch.zeros(0, K), indices=ROWS[:0], labels=LABELS[:0]
        )
    for logits in (torch.zeros(3, K).long(), torch.zeros(3, K) > 0, torch.zeros(3, K).cfloat()):
        with pytest.raises(UserError, match="expected logits of floating-point numbers; got"):
            called(logits)
    for epoch in (1.0, "1", None, True, torch.tensor(1.5), torch.tensor([1, 2])):
        with pytest.raises(UserError, match="expected the epoch as a whole number"):
            called(epoch=epoch)
    with pytest.raises(UserError, match="epoch -1"):
        called(epoch=-1)


def test_labels_that_are_none_are_refused():
    with pytest.raises(UserError, match=r"expected labels \(B,\) as a tensor; got an object of"):
        ranking(labels=[0, 0, 0])
    with pytest.raises(UserError, match=r"expected labels of whole numbers .*got torch\.float32"):
        ranking(labels=LABELS.float())
    with pytest.raises(UserError, match="the labels are on meta: move the labels in each step"):
        ranking(labels=LABELS.to("meta"))


@pytest.mark.parametrize("label", [-1, -100, K])
def test_labels_that_are_no_classes_of_the_logits_are_refused(label):
    penalty = CorrectnessRankingPenalty(N)
    with pytest.raises(UserError, match=f"expected labels from 0 to {K - 1}, .*; got {label}$"):
        penalty(torch.zeros(3, K), torch.tensor([0, label, 1]), ROWS, 0)
    assert not penalty.correct.any()


@pytest.mark.parametrize("weight", ["1", None, True, torch.tensor(1.0)])
def test_a_weight_that_is_no_number_is_refused(weight):
    for make in (
        lambda: LipschitzPenalty(weight),
        lambda: L1Penalty(weight),
        lambda: ConsistencyPenalty(N, K, EPOCHS, weight),
        lambda: CorrectnessRankingPenalty(N, weight),
    ):
        with pytest.raises(UserError, match="expected a weight of 0 or more; got"):
            make()


@pytest.mark.parametrize("size", [2.0, "2", None, True])
def test_a_size_that_is_no_whole_number_is_refused(size):
    with pytest.raises(UserError, match="expected a whole number of images; got"):
        CorrectnessRankingPenalty(size)
    for sizes in ((size, K, EPOCHS), (N, size, EPOCHS), (N, K, size)):
        with pytest.raises(UserError, match="expected a whole number of"):
            ConsistencyPenalty(*sizes)


@pytest.mark.parametrize("penalty", [LipschitzPenalty(), L1Penalty()])
def test_a_penalty_of_weights_takes_a_network_alone(penalty):
    for given in (torch.zeros(3), [torch.zeros(3)], nn.Linear(2, 2).parameters()):
        with pytest.raises(UserError, match=r"expected the network, an nn\.Module; got an object"):
            penalty(given)
    lazy = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(UserError, match=r"parameter '2\.weight' is not initialised: pass one"):
        penalty(lazy)
    lazy(torch.zeros(2, 3, 4, 4))
    assert penalty(lazy).isfinite()


def test_a_penalty_prints_its_settings():
    assert repr(ConsistencyPenalty(N, K, EPOCHS, 0.5, "cosine", "paper")) == (
        "ConsistencyPenalty(n_images=10, n_classes=3, epochs=4, weight=0.5, ramp='cosine', "
        "mode='paper')"
    )
    assert repr(CorrectnessRankingPenalty(N)) == (
        "CorrectnessRankingPenalty(n_images=10, weight=1.0)"
    )
    assert (
        repr(LipschitzPenalty(norm="induced")) == "LipschitzPenalty(weight=1e-05, norm='induced')"
    )
    assert repr(L1Penalty(2, "all")) == "L1Penalty(weight=2, parameters='all')"
