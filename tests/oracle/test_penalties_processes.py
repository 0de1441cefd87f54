"""Penalties in several processes: the same losses, memories and weights as in one process."""

import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn

from soteacher import ConsistencyPenalty, CorrectnessRankingPenalty, LipschitzPenalty
from soteacher.core.errors import UserError

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()) or sys.platform != "linux",
    reason="needs torch.distributed with gloo",
)
N, K, EPOCHS, WORLD = 24, 3, 4, 2


def batches(epoch, uneven):
    """The rows of each rank in each step of an epoch; every image once."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
    sizes = [(5, 5), (5, 4), (5, 0)] if uneven else [(4, 4), (4, 4), (4, 4)]
    parts = order.split([size for pair in sizes for size in pair])
    return [parts[i : i + 2] for i in range(0, len(parts), 2)]


def logits_of(epoch, rows):
    everything = torch.randn(N, K, generator=torch.Generator().manual_seed(100 + epoch))
    return (3 * everything[rows]).requires_grad_()


def penalties():
    return nn.ModuleDict(
        {"consistency": ConsistencyPenalty(N, K, EPOCHS), "ranking": CorrectnessRankingPenalty(N)}
    )


def step(parts, epoch, rows):
    """Both losses, and the gradients of the logits of these rows."""
    labels = torch.arange(N) % K
    logits = logits_of(epoch, rows)
    losses = [
        parts["consistency"](logits, rows, epoch),
        parts["ranking"](logits, labels[rows], rows, epoch),
    ]
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in losses]
    return [loss.detach() for loss in losses], gradients


def of_rank(rank, uneven):
    """All losses and gradients of one rank, and its memory."""
    parts = penalties()
    found = []
    for epoch in range(EPOCHS):
        for ranks in batches(epoch, uneven):
            found.append(step(parts, epoch, ranks[rank]))
    return found, parts.state_dict()


def filled_up(rank):
    """As a DistributedSampler fills up the last batch: image 0 is in both ranks."""
    parts = penalties()
    rows = torch.tensor([[0, 1, 2], [3, 4, 0]])[rank]
    return [step(parts, epoch, rows)[0] for epoch in range(2)], parts.state_dict()


def out_of_step(rank):
    """The second rank has one step less in each epoch."""
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    try:
        for epoch in range(2):
            for number in range(2 - rank):
                rows = torch.arange(3) + 3 * rank + 6 * number
                penalty(logits_of(epoch, rows), rows, epoch)
    except UserError as error:
        return str(error)
    return "no error"


def evaluated(rank):
    """Only the first rank uses its penalty, in eval mode: it waits for no other."""
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    rows = torch.arange(3) + 3 * rank
    penalty(logits_of(0, rows), rows, 0)
    before = penalty.mean.clone()
    if rank == 0:
        penalty.eval()(logits_of(1, rows), rows, 1)
    return penalty.mean.equal(before), penalty.seen.tolist()


def trained(rank, world=WORLD):
    """The weights after some epochs with all penalties."""
    torch.manual_seed(0)
    images, labels = torch.randn(N, 6), torch.arange(N) % K
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, K))
    learner = nn.parallel.DistributedDataParallel(network) if world > 1 else network
    optimizer = torch.optim.SGD(learner.parameters(), 0.2, momentum=0.9)
    parts, lipschitz = penalties(), LipschitzPenalty(1e-2)
    for epoch in range(EPOCHS):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
        for batch in order.chunk(3):
            rows = batch.chunk(world)[rank]
            logits = learner(images[rows])
            loss = nn.functional.cross_entropy(logits, labels[rows]) + lipschitz(learner)
            loss = loss + parts["consistency"](logits, rows, epoch)
            loss = loss + parts["ranking"](logits, labels[rows], rows, epoch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.state_dict()


def everything(rank, folder):
    """Run in each process: all that the tests below compare."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    found = {
        "even": of_rank(rank, uneven=False),
        "uneven": of_rank(rank, uneven=True),
        "filled up": filled_up(rank),
        "evaluated": evaluated(rank),
        "trained": trained(rank),
        "out of step": out_of_step(rank),
    }
    torch.save(found, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(everything, (folder,), WORLD)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("uneven", [False, True], ids=["even", "uneven"])
def test_losses_memories_and_gradients_are_those_of_one_process(ranks, uneven):
    found = [rank["uneven" if uneven else "even"] for rank in ranks]
    parts, number = penalties(), 0
    for epoch in range(EPOCHS):
        for rows in batches(epoch, uneven):
            losses, gradients = step(parts, epoch, torch.cat(rows))
            several = [steps[number] for steps, _ in found]
            assert all(here == losses for here, _ in several)  # to the bit, in every rank
            for penalty, gradient in enumerate(gradients):
                # DistributedDataParallel divides the sum of the gradients by the number of ranks
                joined = torch.cat([here[penalty] for _, here in several]) / WORLD
                torch.testing.assert_close(joined, gradient, rtol=1e-6, atol=1e-9)
            number += 1
    assert parts["consistency"].seen.tolist() == N * [EPOCHS]
    for _, memory in found:
        assert memory.keys() == parts.state_dict().keys()
        assert all(memory[name].equal(value) for name, value in parts.state_dict().items())


def test_training_in_two_processes_gives_the_weights_of_one(ranks):
    alone = trained(0, world=1)
    for rank in ranks:
        for name, value in alone.items():
            torch.testing.assert_close(rank["trained"][name], value, rtol=1e-4, atol=1e-6)


def test_an_image_that_fills_up_the_last_batch_of_a_rank_counts_once(ranks):
    parts = penalties()
    losses = [step(parts, epoch, torch.arange(5))[0] for epoch in range(2)]
    for rank in ranks:
        found, memory = rank["filled up"]
        assert found == losses
        assert all(memory[name].equal(value) for name, value in parts.state_dict().items())


def test_in_eval_mode_a_process_waits_for_no_other(ranks):
    assert [rank["evaluated"] for rank in ranks] == [(True, 6 * [1] + (N - 6) * [0])] * WORLD


def test_processes_with_other_numbers_of_steps_are_refused_in_all_of_them(ranks):
    for rank in ranks:
        assert rank["out of step"].startswith(
            "the processes are in different epochs (0, 1, in the order of their ranks): expected"
        )


def test_one_process_alone_joins_nothing():
    assert not dist.is_initialized()
    penalty = ConsistencyPenalty(N, K, EPOCHS)
    rows = torch.arange(4)
    penalty(logits_of(0, rows), rows, 0)
    assert penalty.seen.sum() == 4
