"""The library's face: penalties in a loop of one's own, on any network, under autocast, saved."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import soteacher
from soteacher import ConsistencyPenalty, CorrectnessRankingPenalty, L1Penalty, LipschitzPenalty
from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.models.output import Output
from soteacher.penalties.l1 import l1_sum
from soteacher.penalties.lipschitz import lipschitz_sum
from soteacher.regularizers.consistency import Consistency
from soteacher.regularizers.crl import CRL
from soteacher.terms import RunContext

N, K, EPOCHS = 10, 3, 4


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(K)
    )


def recurrent():
    made = nn.Module()
    made.body, made.head = nn.GRU(5, 6, batch_first=True), nn.Linear(6, K)
    return made


def steps(drop_last=False):
    """(epoch, indices, labels, logits): each image once an epoch, or one fewer."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (N,), generator=generator)
    for epoch in range(EPOCHS):
        order = torch.randperm(N, generator=generator)
        for part in order[: N - drop_last].split(3):
            yield epoch, part, labels[part], 2 * torch.randn(len(part), K, generator=generator)


def test_they_are_what_the_package_offers():
    assert {*soteacher.__all__} == {
        "ConsistencyPenalty",
        "CorrectnessRankingPenalty",
        "L1Penalty",
        "LipschitzPenalty",
        "load",
    }
    assert {*soteacher.__all__} < {*dir(soteacher)}
    with pytest.raises(AttributeError, match="no attribute 'ConsistencyPenality'"):
        soteacher.ConsistencyPenality  # noqa: B018


def test_importing_the_package_imports_no_torch():
    code = "import soteacher, sys; assert 'torch' not in sys.modules; soteacher.L1Penalty"
    code += "; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_in_a_loop_the_losses_are_those_of_a_study_s_terms():
    context = RunContext(N, K, EPOCHS, "cpu", None, None, 0, "teacher", None)
    pairs = [
        (Consistency(weight=2.0, ramp="cosine"), ConsistencyPenalty(N, K, EPOCHS, 2.0, "cosine")),
        (CRL(weight=3.0), CorrectnessRankingPenalty(N, 3.0)),
    ]
    for term, penalty in pairs:
        term.start(context)
        for epoch, indices, labels, logits in steps():
            batch = Batch(logits, labels, indices, Cursor(Stage.MAIN, epoch, 0))
            theirs = term.losses(batch, Output(logits, {}), None, None)
            given = (logits, labels, indices) if "CRL" in str(type(term)) else (logits, indices)
            ours = penalty(*given, epoch)
            assert ours.item() == sum(loss.item() for loss in theirs.values())
            assert theirs or (epoch == 0 and ours.item() == 0)


@pytest.mark.filterwarnings("ignore:the Lipschitz sum counts")
@pytest.mark.parametrize("make", [convolutional, recurrent])
def test_the_penalties_of_weights_take_any_network(make):
    network = make()
    if make is convolutional:
        network(torch.zeros(2, 3, 5, 5))
    for penalty, sum_of in ((LipschitzPenalty(0.5), lipschitz_sum), (L1Penalty(0.5), l1_sum)):
        loss = penalty(network)
        assert loss.item() == pytest.approx(0.5 * sum_of(network).item())
        loss.backward()
        assert all(p.grad is not None for p in network.parameters() if p.ndim == 4)


def test_a_norm_or_a_choice_that_is_none_is_refused():
    with pytest.raises(UserError, match="unknown norm 'entry_wise'"):
        LipschitzPenalty(norm="entry_wise")
    with pytest.raises(UserError, match="unknown choice of parameters 'weight'"):
        L1Penalty(parameters="weight")
    with pytest.raises(UserError, match="unknown ramp 'linar'"):
        ConsistencyPenalty(N, K, EPOCHS, ramp="linar")
    with pytest.raises(UserError, match="unknown mode 'offical'"):
        ConsistencyPenalty(N, K, EPOCHS, mode="offical")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_and_of_half_networks_losses_are_whole_float32(dtype):
    network = convolutional()
    x = torch.randn(4, 3, 5, 5)
    network(x)
    consistency, ranking = ConsistencyPenalty(N, K, EPOCHS), CorrectnessRankingPenalty(N)
    labels, indices = torch.zeros(4, dtype=torch.int64), torch.arange(4)
    ranking.correct[:4] = torch.arange(4)
    with torch.autocast("cpu", dtype):
        for epoch in range(3):
            logits = network(x)
            losses = [LipschitzPenalty()(network), L1Penalty()(network)]
            losses += [consistency(logits, indices, epoch), ranking(logits, labels, indices, epoch)]
        assert logits.dtype == dtype
        assert {loss.dtype for loss in losses} == {torch.float32}
        assert all(loss.item() > 0 for loss in losses[:2])
        sum(losses).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert consistency.mean.dtype == torch.float32
    half = nn.Linear(400, 400).to(dtype)
    with torch.no_grad():
        half.weight.fill_(1.0)  # 160,000 in all: beyond float16's range
    assert L1Penalty(1.0)(half).item() == 160_000
    assert LipschitzPenalty(1.0)(nn.Conv2d(400, 400, 1, bias=False).to(dtype)).isfinite()


def test_double_precision_stays_double():
    network = nn.Linear(3, 2).double()
    assert LipschitzPenalty()(network).dtype == torch.float64
    logits = torch.randn(2, K, dtype=torch.float64, requires_grad=True)
    penalty = ConsistencyPenalty(N, K, EPOCHS).double()
    penalty(logits, torch.arange(2), 0)
    assert penalty(logits, torch.arange(2), 1).dtype == torch.float64


@pytest.mark.parametrize("done", [2, 5, 9])
def test_a_saved_penalty_goes_on_identically(done, tmp_path):
    every = [*steps()]
    whole = nn.ModuleList([ConsistencyPenalty(N, K, EPOCHS), CorrectnessRankingPenalty(N)])

    def take(penalties, epoch, indices, labels, logits):
        return [
            penalties[0](logits, indices, epoch).item(),
            penalties[1](logits, labels, indices, epoch).item(),
        ]

    for step in every[:done]:
        take(whole, *step)
    torch.save(whole.state_dict(), tmp_path / "penalties.pt")
    fresh = nn.ModuleList([ConsistencyPenalty(N, K, EPOCHS), CorrectnessRankingPenalty(N)])
    fresh.load_state_dict(torch.load(tmp_path / "penalties.pt", weights_only=True))
    copied = copy.deepcopy(whole)
    for step in every[done:]:
        assert take(whole, *step) == take(fresh, *step) == take(copied, *step)


def test_a_loader_that_drops_its_last_batch_leaves_means_of_what_was_seen():
    penalty = ConsistencyPenalty(N, K, EPOCHS, mode="paper")
    past = {}
    for epoch, indices, _, logits in steps(drop_last=True):
        shares = logits.softmax(dim=1)
        expected = [
            (share - sum(past[i]) / len(past[i])).square().sum()
            for i, share in zip(indices.tolist(), shares, strict=True)
            if i in past
        ]
        loss = penalty(logits, indices, epoch).item()
        assert loss == pytest.approx(
            float(sum(expected)) / len(indices) * epoch / EPOCHS, rel=1e-5, abs=1e-9
        )
        for i, share in zip(indices.tolist(), shares, strict=True):
            past.setdefault(i, []).append(share)
    assert {penalty.seen[i].item() for i in past} != {EPOCHS}  # some were left out now and then
    for i, shares in past.items():
        torch.testing.assert_close(penalty.mean[i], sum(shares) / len(shares))


def test_what_does_not_fit_is_refused_in_one_line():
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    with pytest.raises(UserError, match=r"expected logits of 3 classes.*got 4"):
        penalty(torch.zeros(2, 4), torch.arange(2), 0)
    with pytest.raises(UserError, match=r"expected logits \(B, K\) and indices \(B,\)"):
        penalty(torch.zeros(2, K), torch.arange(3), 0)
    with pytest.raises(UserError, match="move the penalty once"):
        penalty(torch.zeros(2, K, device="meta"), torch.arange(2), 0)
    with pytest.raises(UserError, match="epoch 4 of 4: expected 0 to 3, because epochs"):
        penalty(torch.zeros(2, K), torch.arange(2), EPOCHS)
    assert not penalty.seen.any()
    ranking = CorrectnessRankingPenalty(N)
    logits, rows = torch.zeros(4, K), torch.arange(4)
    for labels in (torch.zeros(1), torch.zeros(4, 1), torch.zeros(4, K)):
        with pytest.raises(UserError, match=r"expected labels \(B,\)"):
            ranking(logits, labels, rows, 0)
    with pytest.raises(UserError, match="epoch -1: expected 0 or more"):
        ranking(logits, torch.zeros(4), rows, -1)
    assert not ranking.correct.any()


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    for make in (
        lambda: LipschitzPenalty(weight),
        lambda: L1Penalty(weight),
        lambda: ConsistencyPenalty(N, K, EPOCHS, weight),
        lambda: CorrectnessRankingPenalty(N, weight),
    ):
        with pytest.raises(UserError, match="expected a weight of 0 or more; got"):
            make()


@pytest.mark.parametrize("sizes", [(0, K, EPOCHS), (N, 0, EPOCHS), (N, K, 0)])
def test_a_penalty_of_nothing_is_refused(sizes):
    with pytest.raises(UserError, match="expected at least one of"):
        ConsistencyPenalty(*sizes)


def test_an_image_that_a_loader_repeats_in_an_epoch_is_correct_in_that_epoch_once():
    ranking, rows = CorrectnessRankingPenalty(N), torch.arange(K)
    for epoch in range(2):
        for part in (rows, rows[:1]):
            ranking(torch.eye(K)[part], part, part, epoch)
        assert ranking.correct.tolist() == K * [epoch + 1] + (N - K) * [0]


def test_after_eval_a_penalty_remembers_nothing_new():
    penalties = nn.ModuleList([ConsistencyPenalty(N, K, EPOCHS), CorrectnessRankingPenalty(N)])
    consistency, ranking = penalties
    logits, labels, rows = torch.randn(4, K), torch.zeros(4, dtype=torch.int64), torch.arange(4)
    logits[:, 0] = 9

    def both():
        return consistency(-logits, rows, 1).item(), ranking(logits, labels, rows, 1).item()

    consistency(logits, rows, 0), ranking(logits, labels, rows, 0)
    before = {name: value.clone() for name, value in penalties.state_dict().items()}
    penalties.eval()
    assert both() == both()
    assert all(value.equal(before[name]) for name, value in penalties.state_dict().items())
    penalties.train()
    both()
    assert not any(value.equal(before[name]) for name, value in penalties.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_losses_are_those_of_a_cpu():
    for make in (lambda: ConsistencyPenalty(N, K, EPOCHS), lambda: CorrectnessRankingPenalty(N)):
        here, there = make(), make().cuda()
        for epoch, indices, labels, logits in steps():
            given = [logits, indices] if "mean" in here.state_dict() else [logits, labels, indices]
            moved = [value.cuda() for value in given]
            torch.testing.assert_close(here(*given, epoch), there(*moved, epoch).cpu())
