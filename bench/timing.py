"""Paired measurements: two sides in turn, A B B A, in CPU time and in wall-clock time."""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

LEAST = 3
"""Smallest number of pairs, whatever they cost."""
MOST = 40
"""Largest number of pairs."""


class LeftOut(Exception):
    """A row cannot be measured here; the text says why."""


class Side(Protocol):
    """One of the two things that are compared."""

    def enter(self) -> None:
        """Set up what is global in the process; this is not timed."""

    def steps(self, count: int) -> None:
        """Do some steps."""


class Times(NamedTuple):
    """Seconds of the same work by two clocks."""

    cpu: float
    """CPU time of the process, in all of its threads; of a child process, with its children."""
    wall: float


class Pair(NamedTuple):
    """The times of a step of both sides, measured one after the other."""

    ours: Times
    other: Times


@dataclass(frozen=True)
class Deadline:
    """The time that a row may take. It has at least `LEAST` pairs also if they take longer."""

    seconds: float
    started: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline so many seconds from now."""
        return cls(seconds, time.perf_counter())

    def allows(self, done: int, last: float) -> bool:
        """Return whether one more pair fits, if it takes as long as the last one did (s)."""
        left = self.started + self.seconds - time.perf_counter()
        return done < LEAST or (done < MOST and last <= left)


def paired(ours: Side, other: Side, steps: tuple[int, int], deadline: Deadline) -> list[Pair]:
    """Time both sides in turn, until the deadline; the first steps of each side are not timed.

    steps : how many steps of each side one measurement has; the times are those of one step.
    """
    sides = ((ours, steps[0]), (other, steps[1]))
    for side, _ in sides:
        side.enter()
        side.steps(1)
    found: list[Pair] = []
    last = 0.0
    while deadline.allows(len(found), last):
        began = time.perf_counter()
        if len(found) % 2 == 0:
            first, second = (_timed(*side) for side in sides)
            found.append(Pair(first, second))
        else:
            second, first = (_timed(*side) for side in reversed(sides))
            found.append(Pair(first, second))
        last = time.perf_counter() - began
    return found


def _timed(side: Side, steps: int) -> Times:
    side.enter()
    gc.collect()  # no side pays for what the other left
    wall, cpu = time.perf_counter(), time.process_time()
    side.steps(steps)
    return Times((time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps)


class Failed(Exception):
    """A command ended with an error; the text is the end of what it printed."""


def command(words: Sequence[str], folder: Path) -> Times:
    """Run a command in a folder and return its times; raise `Failed` if it fails."""
    with open(folder / "printed.txt", "w+b") as printed:
        began = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            printed.seek(0)
            lines = printed.read().decode(errors="replace").strip().splitlines() or ["nothing"]
            raise Failed(f"exit code {process.returncode}: {lines[-1]}")
    return Times(usage.ru_utime + usage.ru_stime, wall)
