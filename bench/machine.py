"""The facts about the machine and the versions that every row of the CSV carries."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from soteacher.core.version import VERSION
from soteacher.training import device as devices

PACKAGES = ("torchvision", "torchdistill", "numpy", "pillow", "snakemake")


def facts() -> dict[str, Any]:
    """Return name to value: the machine, its load now, the versions and the date."""
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
        "load": round(os.getloadavg()[0], 2),
        "threads": 1,
        "soteacher": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onednn": own["versions"].get("onednn"),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
