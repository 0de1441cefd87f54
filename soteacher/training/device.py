"""The device of a job, and all of its settings that change the bits of a result."""

from __future__ import annotations

import gc
import logging
import os
import platform
import re
from pathlib import Path
from typing import Any

from soteacher.core.errors import UserError
from soteacher.training.gpu_diagnosis import diagnose

log = logging.getLogger("soteacher")

CPU_SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TORCH_MKLDNN_MATMUL_MIN_DIM",
)
"""Environment variables that select the CPU's instructions or the rounding of its products."""
BUILD = {
    "blas": r"\bBLAS_INFO=(\w+)",
    "mkl": r"\bMath Kernel Library Version (\d[\w.]*)",
    "onednn": r"\b(?:MKL-DNN|oneDNN) v(\d[\w.]*)",
}
"""Name of a library of the CPU to the pattern of its version in torch's build settings."""


def set_up(device: str, threads: int, precision: str, deterministic: bool) -> str:
    """Set torch up for one process; return the device's name, `cpu` or `cuda`.

    Deterministic kernels, the number of CPU threads and TF32 are set explicitly: by default, torch
    lets cuDNN's convolutions use TF32.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    device = chosen(device)
    torch.set_num_threads(threads)
    # `torch.use_deterministic_algorithms` sets the same, but it imports torch's compiler
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # filling memory only exposes bugs, and costs 5 % of the time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    tf32 = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cudnn.conv.fp32_precision = tf32  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = tf32
    return device


def chosen(device: str) -> str:
    """Return `cpu` or `cuda` for `auto`; raise `UserError` for `cuda` without a usable GPU.

    If the machine has a GPU that torch cannot use, `auto` is the CPU, and the log says why.
    """
    if device == "cpu":
        return device
    diagnosis = diagnose()
    if diagnosis is None:
        return "cuda"
    if device == "cuda":
        raise UserError(
            f"the study has `device: cuda`, but {diagnosis.why}: {diagnosis.remedy}, or set "
            "`device` to auto or cpu"
        )
    if diagnosis.gpu_exists:
        log.warning("using the CPU, because %s: %s", diagnosis.why, diagnosis.remedy)
    return "cpu"


def facts(device: str, precision: str) -> dict[str, Any]:
    """Return the facts about the device and its settings, for a run's record."""
    import torch

    cudnn: Any = torch.backends.cudnn  # the attributes used here are missing from its types
    return {
        "cpu_capability": cpu_capability(),
        "cpu_settings": {name: os.environ[name] for name in CPU_SETTINGS if name in os.environ},
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
            **libraries(torch.__config__.show()),
        },
    }


def cpu_capability() -> str:
    """Return the CPU's vector instructions that torch uses, for example `AVX2`."""
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def libraries(build: str) -> dict[str, str | None]:
    """Return the CPU's libraries and their versions from torch's build settings, None if absent.

    build : the text of `torch.__config__.show()`, which other builds of torch phrase differently.
    """
    found = {name: re.search(pattern, build, re.IGNORECASE) for name, pattern in BUILD.items()}
    return {name: match[1] if match else None for name, match in found.items()}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = (
        info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def synchronise(device: str) -> None:
    """Wait until the device has finished all operations."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def release_memory(device: str) -> None:
    """Give memory that nothing uses back to the device, after a failure."""
    import torch

    gc.collect()  # errors and methods may have left cycles
    if device == "cuda":
        torch.cuda.empty_cache()


def reset_peak_memory(device: str) -> None:
    """Reset the measured peak on the GPU; the peak of a process on the CPU cannot be reset."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb(device: str) -> float:
    """Return the peak memory in MB: of all learners of a pass on the GPU, or of the CPU process."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux counts kB
