"""The cost of a training step of each teacher method: Section 5.2, "Training overhead"."""

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
"""Untimed first steps of each method: they select kernels and create the momentum."""


def time_steps(
    request: dict[str, Any], data: dict[str, Prepared], options: JobOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time training steps of teacher methods, which train on the same batches in turn.

    The trained networks are discarded; only the data are read from the store.

    Parameters
    ----------
    request : an entry of `Plan.timed`: `steps`, and `networks` with data and runs.
    data : prepared data sets, by their names in the study.

    Returns
    -------
    tuple of two lists
        Rows (network, method, step, seconds, cpu_seconds), one per timed step, in the order of the
        steps; and one row per network and method with the hash of its spec, memory (MB) and device.
        `cpu_seconds` is the CPU time of the thread that trains: it is less than `seconds` if the
        thread had to wait for a core. It is None on a GPU, where this thread waits for others;
        `peak_mb` is None on a CPU, where it cannot be measured.
    """
    steps: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    flop = 0
    for network in request["networks"]:
        if network["data"] not in data:
            raise UserError(unknown("data set", network["data"], data))
        spec = RunSpec.from_json(network["runs"][0]["spec"])
        of_step = step_flop(spec, data[network["data"]].outline)
        flop += len(network["runs"]) * (WARM_UP + request["steps"]) * of_step
    if devices.chosen(options.device) == "cpu":
        check_timing(flop, options.threads, options.allow_cpu, spec.precision)
    for network in request["networks"]:
        step_rows, method_rows = _time_network(
            network, request["steps"], data[network["data"]], options
        )
        head = {"network": network["network"]}
        steps += [head | row for row in step_rows]
        methods += [head | row for row in method_rows]
        log.debug("%s: timed %d steps of each method", network["network"], request["steps"])
    return steps, methods


def _time_network(
    network: dict[str, Any], count: int, data: Prepared, options: JobOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one network; its memory on the device is freed afterwards."""
    data.check()
    runs = {run["method"]: run for run in network["runs"]}
    members = {m: member_of(run["id"], run, data, {}, options) for m, run in runs.items()}
    precision = next(iter(members.values())).spec.precision
    device = devices.set_up(options.device, options.threads, precision, options.deterministic)
    setup = PassSetup([*members.values()], data, device, None)
    if setup.stream.steps < 2:
        raise UserError(
            f"an epoch of {network['network']} on '{network['data']}' has one step, of at most "
            f"{setup.stream.batch_size} images: expected two or more steps, because the last step "
            "is not timed; set a smaller `batch` in the recipe"
        )
    peaks = {method: _peak_mb(setup, member) for method, member in members.items()}
    learners = {method: new_learner(setup, member) for method, member in members.items()}
    facts = devices.facts(device, precision)
    where = {key: facts[key] for key in ("device", "threads", "precision")}
    where["capability"] = facts["cpu_capability"] if device == "cpu" else ""
    where |= {"torch": facts["versions"]["torch"], "soteacher": VERSION}
    steps = [
        {
            "method": method,
            "step": number,
            "seconds": round(seconds, 9),
            "cpu_seconds": round(cpu_seconds, 9) if device == "cpu" else None,
        }
        for number, method, seconds, cpu_seconds in _timed(setup, learners, count)
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
) -> Iterator[tuple[int, str, float, float]]:
    """Yield (number, method, seconds, CPU seconds of this thread) of each step.

    The methods alternate (A B, B A, A B, ...), so that no method is always the first.
    """
    recipe = next(iter(learners.values())).recipe
    cursors = timed_cursors(recipe.epochs, setup.stream.steps)
    for number, cursor in enumerate(islice(cursors, WARM_UP + count), 1 - WARM_UP):
        batch = setup.stream.batch(cursor)
        for method in [*learners] if number % 2 else [*reversed(learners)]:
            enter_epoch(learners[method], cursor)
            devices.synchronise(setup.device)
            started, cpu_started = time.perf_counter(), time.thread_time()
            learners[method].step(batch, None)
            devices.synchronise(setup.device)
            seconds, cpu_seconds = time.perf_counter() - started, time.thread_time() - cpu_started
            if number > 0:
                yield number, method, seconds, cpu_seconds


def _peak_mb(setup: PassSetup, member: Member) -> float | None:
    """Return the peak GPU memory of a step, with only this network and the images on the GPU."""
    if setup.device != "cuda":
        return None
    learner = new_learner(setup, member)
    for cursor in islice(timed_cursors(learner.recipe.epochs, setup.stream.steps), WARM_UP + 1):
        enter_epoch(learner, cursor)
        devices.reset_peak_memory(setup.device)
        learner.step(setup.stream.batch(cursor), None)
    return devices.peak_memory_mb(setup.device)


def new_learner(setup: PassSetup, member: Member) -> Learner:
    """Return a member's learner at the start of its main stage, without its preparation."""
    learner = setup.learner(member, member.spec.loss_terms())
    learner.enter(Cursor(Stage.MAIN, 0, 0))
    return learner


def enter_epoch(learner: Learner, cursor: Cursor) -> None:
    """Move a learner to the start of an epoch; the skipped last step would do it otherwise."""
    if cursor.step == 0:
        learner.enter(cursor)


def timed_cursors(epochs: int, steps: int) -> Iterator[Cursor]:
    """Yield cursors from the second epoch on, endlessly, without the last step of each epoch.

    The first epoch has no consistency term. The last batch of an epoch may be smaller, and its step
    ends the epoch: it tests the network, and may write a checkpoint.
    """
    for epoch in cycle(range(min(1, epochs - 1), epochs)):
        for step in range(steps - 1):
            yield Cursor(Stage.MAIN, epoch, step)
