"""The memory that this process can use."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

GB = 1e9


def available() -> int:
    """Return the bytes that this process can still use.

    They are the least of what the machine has left, what the control groups of this process have
    left (batch systems and containers set their limits), and the limit of `ulimit -v`.
    """
    left = [_of_machine(), *_of_groups()]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left.append(limit - _number(Path("/proc/self/statm"), 0) * resource.getpagesize())
    return max(0, min(left))


def _of_machine() -> int:
    """Return the available memory, or all memory on a system that does not tell what is available.

    Memory that holds files counts as available: the system gives it back when it is needed.
    """
    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()


def _of_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """Yield what is left of the limit of each control group that this process is in."""
    for line in own.read_text(encoding="utf-8").splitlines() if own.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if controllers == "":  # version 2
            top, limit, usage = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, usage = (
                root / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            if (most := _number(folder / limit)) and (used := _number(folder / usage)):
                yield most - used + _held_files(folder / "memory.stat")
            if folder == top:
                break


def _held_files(path: Path) -> int:
    """Return the bytes of a group's memory that hold files, which it gives back when needed."""
    try:
        facts = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return 0
    prefix = "total_" if "total_inactive_file" in facts else ""  # of version 1, with subgroups
    return sum(int(facts.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))


def _number(path: Path, column: int = 0) -> int:
    """Return a number in a file of one line; 0 if there is none, for example no limit."""
    try:
        return int(path.read_text(encoding="utf-8").split()[column])
    except (OSError, ValueError, IndexError):
        return 0
