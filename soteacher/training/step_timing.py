"""What a training step costs by teacher method: Section 5.2 of the paper, "Training overhead"."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError, unknown
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared
from soteacher.study.cost import step_flop
from soteacher.study.specs import RunSpec
from soteacher.training import device as devices
from soteacher.training.cpu_limit import check_timing
from soteacher.training.learner import Learner
from soteacher.training.members import JobOptions, Member, member_of
from soteacher.training.setup import PassSetup

log = logging.getLogger("soteacher")

WARM_UP = 4
"""Steps of each method before those that count: kernels are chosen and the momentum is made."""


def time_steps(
    asked: dict[str, Any], data: dict[str, Prepared], options: JobOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time training steps of teacher methods, which take turns at the same batches.

    Nothing comes of them: the store is neither read nor written, but for the data.

    Parameters
    ----------
    asked : what `Plan.timed` says of a table: `steps`, and `networks` with their data and runs.
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
        of_step = step_flop(
            RunSpec.from_json(network["runs"][0]["spec"]), data[network["data"]].outline
        )
        flop += len(network["runs"]) * (WARM_UP + asked["steps"]) * of_step
    if devices.chosen(options.device) == "cpu":
        check_timing(flop, options.threads, options.allow_cpu)
    for network in asked["networks"]:
        found = _timed_network(network, asked["steps"], data[network["data"]], options)
        head = {"network": network["network"]}
        steps += [head | row for row in found[0]]
        methods += [head | row for row in found[1]]
        log.info("%s: %d steps of each method are timed", network["network"], asked["steps"])
    return steps, methods


def _timed_network(
    network: dict[str, Any], count: int, data: Prepared, options: JobOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of one network; all that it took on the device is free again afterwards."""
    data.check()
    runs = {run["method"]: run for run in network["runs"]}
    members = {m: member_of(run["id"], run, data, {}, options) for m, run in runs.items()}
    precision = next(iter(members.values())).spec.precision
    device = devices.set_up(options.device, options.threads, precision, options.deterministic)
    setup = PassSetup([*members.values()], data, device, None)
    if setup.stream.steps < 2:
        raise UserError(
            f"an epoch of {network['network']} on '{network['data']}' is one step, of at most "
            f"{setup.stream.batch_size} images: expected two or more, since the last is not "
            "timed; set a smaller `batch` in the recipe"
        )
    peaks = {method: _peak_mb(setup, member) for method, member in members.items()}
    learners = {method: _learner(setup, member) for method, member in members.items()}
    facts = devices.facts(device, precision)
    where = {key: facts[key] for key in ("device", "threads", "precision")}
    where |= {"torch": facts["versions"]["torch"], "soteacher": VERSION}
    steps = [
        {"method": method, "step": number, "seconds": round(seconds, 9)}
        for number, method, seconds in _timed(setup, learners, count)
    ]
    methods = [
        {
            "method": method,
            "spec_sha256": member.spec.sha256,
            "kept_mb": learners[method].kept_bytes() / 1e6,
            "peak_mb": peaks[method],
            **where,
        }
        for method, member in members.items()
    ]
    return steps, methods


def _timed(
    setup: PassSetup, learners: dict[str, Learner], count: int
) -> Iterator[tuple[int, str, float]]:
    """(number, method, seconds) of each step: A B, B A, A B, ... so that none is always first."""
    recipe = next(iter(learners.values())).recipe
    moments = _moments(recipe.epochs, setup.stream.steps)
    for number, at in enumerate(islice(moments, WARM_UP + count), 1 - WARM_UP):
        batch = setup.stream.batch(at)
        for method in [*learners] if number % 2 else [*reversed(learners)]:
            _ready(learners[method], at)
            devices.synchronise(setup.device)
            begun = time.perf_counter()
            learners[method].step(batch, None)
            devices.synchronise(setup.device)
            seconds = time.perf_counter() - begun
            if number > 0:
                yield number, method, seconds


def _peak_mb(setup: PassSetup, member: Member) -> float | None:
    """Most memory on the GPU in a step, with this method's network and the images alone there."""
    if setup.device != "cuda":
        return None
    learner = _learner(setup, member)
    for at in islice(_moments(learner.recipe.epochs, setup.stream.steps), WARM_UP + 1):
        _ready(learner, at)
        devices.reset_peak_memory(setup.device)
        learner.step(setup.stream.batch(at), None)
    return devices.peak_memory_mb(setup.device)


def _learner(setup: PassSetup, member: Member) -> Learner:
    learner = setup.learner(member, member.spec.loss_terms())
    learner.enter(Cursor(Stage.MAIN, 0, 0))  # past a preparation, if a term has one
    return learner


def _ready(learner: Learner, at: Cursor) -> None:
    """Let a learner stand at the beginning of an epoch, since no end of one brings it there."""
    if at.step == 0:
        learner.enter(at)


def _moments(epochs: int, steps: int) -> Iterator[Cursor]:
    """Moments from the second epoch on, endlessly, but for the last one of each epoch.

    A first epoch has no consistency term. The last batch of an epoch is short, and the step on it
    ends the epoch: it tests the network, and may write a checkpoint.
    """
    for epoch in cycle(range(min(1, epochs - 1), epochs)):
        for step in range(steps - 1):
            yield Cursor(Stage.MAIN, epoch, step)
