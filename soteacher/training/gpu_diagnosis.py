"""Why torch cannot use a GPU, in one line with the remedy.

Only simulated messages of torch were tried. That CUDA 13 needs driver 580 or newer, and which
wheels have code for which GPUs, comes from documentation.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

from soteacher.core import gpus
from soteacher.core.errors import short
from soteacher.training.failures import is_out_of_memory

DRIVERS = {"13": "580", "12": "525", "11": "450"}
"""First number of CUDA's version to the oldest version of NVIDIA's driver that it works with."""
OLDER_CUDA = "pip install 'torch<2.15' --index-url https://download.pytorch.org/whl/cu126"
"""The last wheels for CUDA 12: they have code for older GPUs, and need driver 525 or newer."""


@dataclass(frozen=True)
class Diagnosis:
    """Why torch cannot use a GPU, and what to do."""

    why: str
    remedy: str
    gpu_exists: bool = True
    """Whether this machine has a GPU that is not hidden on purpose."""


@cache
def diagnose() -> Diagnosis | None:
    """Return why torch cannot use a GPU in this process, or None if it can.

    The answer is kept, because torch gives its reason only once.
    """
    import torch

    if gpus.are_hidden():
        return Diagnosis(
            f"{gpus.CHOSEN} is set, without the number or UUID of a GPU, which hides all GPUs",
            f"unset {gpus.CHOSEN} or name a GPU in it",
            gpu_exists=False,
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not torch.cuda.is_available():
            return _without_device(torch, " ".join(str(warning.message) for warning in caught))
        try:
            torch.ones(1, device="cuda").add(1).item()  # only a kernel shows whether there is code
        except Exception as error:
            return _of_error(torch, error)
    return None


def _without_device(torch: Any, said: str) -> Diagnosis:
    """Return why CUDA has no device; `said` is what torch warned of."""
    if re.search(r"driver on your system is too old|driver version is insufficient", said):
        return _old_driver(torch, said)
    if not gpus.usable():
        return Diagnosis(
            "torch sees no GPU on this machine", "use a machine with a GPU", gpu_exists=False
        )
    if torch.version.cuda is None:
        return Diagnosis(
            f"this torch ({torch.__version__}) is built without CUDA",
            "install a build with CUDA, for example with `pip install --force-reinstall torch`",
        )
    error = re.search(r"Error \d+: [^(\n]+", said)
    reason = f" ({short(error[0].strip() if error else said)})" if said else ""
    return Diagnosis(
        f"this machine has a GPU, but CUDA does not start{reason}",
        "see what `nvidia-smi` says, and reboot if the driver was updated",
    )


def _of_error(torch: Any, error: Exception) -> Diagnosis | None:
    """Return why the first operation on the GPU failed."""
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(text):  # other processes use the GPU; training will say what it lacks
        return None
    if "driver version is insufficient" in text or "too old" in text:
        return _old_driver(torch, text)
    if "no kernel image" in text:
        major, minor = torch.cuda.get_device_capability()
        architectures = " ".join(torch.cuda.get_arch_list())
        return Diagnosis(
            f"this torch ({torch.__version__}) has no code for the {torch.cuda.get_device_name()}: "
            f"it is sm_{major}{minor}, and torch has {architectures}",
            f"use a newer GPU, or install a torch for an older CUDA (`{OLDER_CUDA}`)",
        )
    return Diagnosis(
        f"the first operation on the GPU failed ({short(str(error).partition(chr(10))[0])})",
        "see in `nvidia-smi` whether another process has the GPU for itself",
    )


def _old_driver(torch: Any, said: str) -> Diagnosis:
    cuda = torch.version.cuda or "?"
    oldest = DRIVERS.get(cuda.partition(".")[0])
    found = re.search(r"found version (\d+?)0(\d)0", said)
    until = f", which supports CUDA up to {found[1]}.{found[2]}" if found else ""
    newer = f"NVIDIA driver {oldest} or newer" if oldest else "a newer NVIDIA driver"
    return Diagnosis(
        f"the NVIDIA driver is too old{until}: this torch ({torch.__version__}) needs CUDA {cuda}",
        f"install {newer}, or a torch for an older CUDA (`{OLDER_CUDA}`)",
    )
