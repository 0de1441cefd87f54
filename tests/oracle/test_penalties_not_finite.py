"""Rows that are not finite, as after an overflow in float16, change no memory."""

import pytest
import torch
from distilling import SAME_SIZE, batch_of, outputs, site_of, started, with_feature
from torch import nn

from soteacher import ConsistencyPenalty, CorrectnessRankingPenalty
from soteacher.core.cursor import Cursor, Stage

N, K, EPOCHS = 6, 3, 4
NOT_FINITE = [float("nan"), float("inf"), -float("inf")]


def logits_of(epoch):
    return torch.randn(N, K, generator=torch.Generator().manual_seed(epoch))


def spoiled(logits, value):
    logits = logits.clone()
    logits[2, 1] = value
    return logits


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_means_are_those_of_the_finite_rows_alone(value, dtype):
    rows = torch.arange(N)
    penalty, without = ConsistencyPenalty(N, K, EPOCHS), ConsistencyPenalty(N, K, EPOCHS)
    first = logits_of(0).to(dtype)
    penalty(spoiled(first, value), rows, 0)
    kept = rows != 2
    without(first[kept], rows[kept], 0)
    assert penalty.mean.equal(without.mean)
    assert penalty.seen.tolist() == without.seen.tolist() == [1, 1, 0, 1, 1, 1]
    for epoch in range(1, EPOCHS):
        here = logits_of(epoch).to(dtype)
        assert penalty(here, rows, epoch).isfinite()
        without(here, rows, epoch)
    assert penalty.mean.equal(without.mean)
    assert penalty.mean[2].isfinite().all()


@pytest.mark.parametrize("value", NOT_FINITE[:2])
def test_the_loss_of_the_step_itself_is_not_finite_so_that_a_scaler_skips_it(value):
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    assert not penalty(spoiled(logits_of(0), value), torch.arange(N), 1).isfinite()


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_prediction_that_is_not_finite_is_never_correct(value):
    logits = spoiled(logits_of(0), value)
    labels = logits.argmax(dim=1)  # all correct, also where the largest is not a number
    penalty = CorrectnessRankingPenalty(N)
    penalty(logits, labels, torch.arange(N), 0)
    assert penalty.correct.tolist() == [1, 1, 0, 1, 1, 1]
    assert penalty(logits_of(1), labels, torch.arange(N), 1).isfinite()


def test_one_overflow_with_a_gradient_scaler_leaves_all_later_losses_finite():
    torch.manual_seed(0)
    network, rows = nn.Linear(4, K), torch.arange(N)
    images, labels = torch.randn(N, 4), torch.arange(N) % K
    penalty, ranking = ConsistencyPenalty(N, K, EPOCHS), CorrectnessRankingPenalty(N)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    losses = []
    for epoch in range(EPOCHS):
        logits = network(images)
        if epoch == 0:
            logits = logits * torch.where(rows == 2, torch.inf, 1.0)[:, None]
        loss = nn.functional.cross_entropy(logits, labels) + penalty(logits, rows, epoch)
        loss = loss + ranking(logits, labels, rows, epoch)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert not torch.tensor(losses[0]).isfinite()
    assert torch.tensor(losses[1:]).isfinite().all()
    assert all(p.isfinite().all() for p in network.parameters())
    assert penalty.seen.tolist() == [4, 4, 3, 4, 4, 4]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_the_memories_of_crd_keep_their_rows_and_the_next_batch_gives_the_constants(value):
    method = started("crd", site_of(SAME_SIZE, labels=(0, 1, 2) * 3), negatives=4, dimensions=4)
    before = {name: kept.clone() for name, kept in method.term.buffers().items()}
    student, teacher = outputs(SAME_SIZE, n=5)
    bad = student.features["pooled"].detach().clone()
    bad[2, 0] = value
    loss = method.losses(batch_of(5), with_feature(student, "pooled", bad), teacher)["crd"]
    after = method.term.buffers()
    assert not loss.isfinite()
    assert after["student_memory"].isfinite().all()
    moved = (after["student_memory"] != before["student_memory"]).any(dim=1)
    assert moved.tolist() == [True, True, False, True, True] + 4 * [False]
    assert after["teacher_memory"][2].ne(before["teacher_memory"][2]).any()
    next_one = batch_of(5, Cursor(Stage.MAIN, 0, 1))
    assert method.losses(next_one, student, teacher)["crd"].isfinite()
    assert method.term.buffers()["constants"].gt(0).all()
