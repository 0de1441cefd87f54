"""The device a job trains on, and everything about it that the bits of a result depend on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from soteacher.core.errors import UserError


def set_up(device: str, threads: int, precision: str, deterministic: bool) -> str:
    """Set torch up for one process; return the device's name, `cpu` or `cuda`.

    Deterministic kernels, the number of CPU threads and TF32 are set and not left to defaults:
    torch lets cuDNN's convolutions use TF32 unless told otherwise.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    device = chosen(device)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # it guards against bugs, and costs 5 % here
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    tf32 = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cudnn.conv.fp32_precision = tf32  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = tf32
    return device


def chosen(device: str) -> str:
    """`cpu` or `cuda`, where a study may say `auto`; `UserError` if it asks for a GPU in vain."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("the study says device: cuda, but torch sees no GPU here; say auto or cpu")
    return device


def facts(device: str, precision: str) -> dict[str, Any]:
    """What a run's record says of where it was trained."""
    import torch

    cudnn: Any = torch.backends.cudnn  # its types lack what is asked of it here
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _cpu(),
        "device_type": device,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "tf32": {
            "convolutions": cudnn.conv.fp32_precision == "tf32",
            "products": torch.backends.cuda.matmul.fp32_precision == "tf32",
        },
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "memory_format": "channels_last",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda if device == "cuda" else None,
            "cudnn": cudnn.version() if device == "cuda" else None,
        },
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew, on the GPU; a process's own peak on the CPU cannot be reset."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb(device: str) -> float:
    """Most memory held by all learners of a pass on the GPU, or by the process on the CPU; MB."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux counts kB
