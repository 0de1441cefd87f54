"""The facts about the machine and the versions that every row of the CSV carries."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from soteacher.core.version import VERSION
from soteacher.training import device as devices

OBSERVED = 1.0
"""Seconds for which other programs are observed."""
PACKAGES = ("torchvision", "torchdistill", "numpy", "pillow", "snakemake")


def facts() -> dict[str, Any]:
    """Return name to value: the machine, what else runs on it now, the versions and the date."""
    own = devices.facts("cpu", "float32")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": own["device"],
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "capability": own["cpu_capability"],
        "cpu_settings": " ".join(f"{k}={v}" for k, v in own["cpu_settings"].items()),
        "busy_cores": round(_busy_cores(), 2),
        "threads": 1,
        "soteacher": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onednn": own["versions"].get("onednn"),
        **{name: _version(name) for name in PACKAGES},
    }


def _busy_cores() -> float:
    """Return how many cores other programs, or other virtual machines, use now.

    The load average would still count the installation that `make bench` may do before.
    """
    counters = Path("/proc/stat")
    if not counters.is_file():  # not Linux
        return os.getloadavg()[0]
    times = []
    for _ in range(2):
        first = counters.read_text(encoding="utf-8").splitlines()[0]
        times.append([int(value) for value in first.split()[1:9]])
        time.sleep(OBSERVED)
    spent = [after - before for before, after in zip(*times, strict=True)]
    idle = spent[3] + spent[4]  # idle, and waiting for a disk
    return (os.cpu_count() or 1) * (1 - idle / max(1, sum(spent)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
