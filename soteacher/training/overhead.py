"""What a training step costs by teacher method: Section 5.2 of the paper, "Training overhead"."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import soteacher
from soteacher.data.prepared import Prepared
from soteacher.errors import UserError, unknown
from soteacher.study.cost import step_flop
from soteacher.study.plan import sha
from soteacher.training import device as devices
from soteacher.training.cpu import check_timing
from soteacher.training.job import How, Member, member_of
from soteacher.training.learner import Learner
from soteacher.training.moment import Moment, Stage
from soteacher.training.specs import terms_of
from soteacher.training.train import Pass

log = logging.getLogger("soteacher")

WARM_UP = 4
"""Steps of each method before those that count: kernels are chosen and the momentum is made."""


def clock(
    asked: dict[str, Any], data: dict[str, Prepared], how: How
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time training steps of teacher methods, which take turns at the same batches.

    Nothing comes of them: the store is neither read nor written, but for the data.

    Parameters
    ----------
    asked : what `Plan.clock` says: `steps`, and `networks` with their data and runs.
    data : prepared data sets, by their names in the study.

    Returns
    -------
    Rows (network, method, step, seconds), one a step that counts, in the order they were taken;
    and a row a network and method: the hash of its spec, memory (MB), and where that was measured.
    `peak_mb` is None but on a GPU, where alone it can be told.
    """
    steps: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    flop = 0
    for network in asked["networks"]:
        if network["data"] not in data:
            raise UserError(unknown("data set", network["data"], data))
        of_step = step_flop(network["runs"][0]["spec"], data[network["data"]].outline)
        flop += len(network["runs"]) * (WARM_UP + asked["steps"]) * of_step
    if devices.chosen(how.device) == "cpu":
        check_timing(flop, how.threads, how.allow_cpu)
    for network in asked["networks"]:
        found = _clocked(network, asked["steps"], data[network["data"]], how)
        head = {"network": network["network"]}
        steps += [head | row for row in found[0]]
        methods += [head | row for row in found[1]]
        log.info("%s: %d steps of each method are timed", network["network"], asked["steps"])
    return steps, methods


def _clocked(
    network: dict[str, Any], count: int, data: Prepared, how: How
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of one network; all that it took on the device is free again afterwards."""
    data.check()
    runs = {run["method"]: run for run in network["runs"]}
    members = {m: member_of(run["id"], run, data, {}, how) for m, run in runs.items()}
    precision = network["runs"][0]["spec"].get("precision", "float32")
    device = devices.set_up(how.device, how.threads, precision, how.deterministic)
    together = Pass([*members.values()], data, how, device, None)
    if together.stream.steps < 2:
        raise UserError(
            f"an epoch of {network['network']} on '{network['data']}' is one step, of at most "
            f"{together.stream.batch_size} images: expected two or more, since the last is not "
            "timed; set a smaller `batch` in the recipe"
        )
    peaks = {method: _peak_mb(together, member) for method, member in members.items()}
    learners = {method: _learner(together, member) for method, member in members.items()}
    facts = devices.facts(device, precision)
    where = {key: facts[key] for key in ("device", "threads", "precision")}
    where |= {"torch": facts["versions"]["torch"], "soteacher": soteacher.__version__}
    steps = [
        {"method": method, "step": number, "seconds": round(seconds, 9)}
        for number, method, seconds in _timed(together, learners, count)
    ]
    methods = [
        {
            "method": method,
            "spec_sha256": sha(member.spec),
            "kept_mb": learners[method].kept_bytes() / 1e6,
            "peak_mb": peaks[method],
            **where,
        }
        for method, member in members.items()
    ]
    return steps, methods


def _timed(
    together: Pass, learners: dict[str, Learner], count: int
) -> Iterator[tuple[int, str, float]]:
    """(number, method, seconds) of each step: A B, B A, A B, ... so that none is always first."""
    recipe = next(iter(learners.values())).recipe
    moments = _moments(recipe.epochs, together.stream.steps)
    for number, at in enumerate(islice(moments, WARM_UP + count), 1 - WARM_UP):
        batch = together.stream.batch(at)
        for method in [*learners] if number % 2 else [*reversed(learners)]:
            _ready(learners[method], at)
            devices.synchronise(together.device)
            begun = time.perf_counter()
            learners[method].step(batch, None)
            devices.synchronise(together.device)
            seconds = time.perf_counter() - begun
            if number > 0:
                yield number, method, seconds


def _peak_mb(together: Pass, member: Member) -> float | None:
    """Most memory on the GPU in a step, with this method's network and the images alone there."""
    if together.device != "cuda":
        return None
    learner = _learner(together, member)
    for at in islice(_moments(learner.recipe.epochs, together.stream.steps), WARM_UP + 1):
        _ready(learner, at)
        devices.reset_peak_memory(together.device)
        learner.step(together.stream.batch(at), None)
    return devices.peak_memory_mb(together.device)


def _learner(together: Pass, member: Member) -> Learner:
    learner = together.learner(member, terms_of(member.spec))
    learner.enter(Moment(Stage.MAIN, 0, 0))  # past a preparation, if a term has one
    return learner


def _ready(learner: Learner, at: Moment) -> None:
    """Let a learner stand at the beginning of an epoch, since no end of one brings it there."""
    if at.step == 0:
        learner.enter(at)


def _moments(epochs: int, steps: int) -> Iterator[Moment]:
    """Moments from the second epoch on, endlessly, but for the last one of each epoch.

    A first epoch has no consistency term. The last batch of an epoch is short, and the step on it
    ends the epoch: it tests the network, and may write a checkpoint.
    """
    for epoch in cycle(range(min(1, epochs - 1), epochs)):
        for step in range(steps - 1):
            yield Moment(Stage.MAIN, epoch, step)
