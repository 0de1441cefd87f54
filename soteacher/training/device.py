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
from soteacher.core.precisions import BFLOAT16, FLOAT32, TF32
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
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Flags in /proc/cpuinfo of CPUs with instructions for bfloat16; one of them is enough."""


def set_up(device: str, threads: int, precision: str, deterministic: bool) -> str:
    """Set torch up for one process; return the device's name, `cpu` or `cuda`.

    Deterministic kernels, the number of CPU threads and TF32 are set explicitly: by default, torch
    lets cuDNN's convolutions use TF32. Raises `UserError` if the device has no bfloat16
    instructions, but the precision is bfloat16.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    device = chosen(device)
    if precision == BFLOAT16:
        _check_bfloat16(device)
    if precision == TF32 and not has_tf32(device):
        log.info("only GPUs have TF32, NVIDIA's from Ampere on: this job computes in float32")
    torch.set_num_threads(threads)
    # `torch.use_deterministic_algorithms` sets the same, but it imports torch's compiler
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # filling memory only exposes bugs, and costs 5 % of the time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    _set_tf32(precision == TF32)
    return device


def _set_tf32(used: bool) -> None:
    """Let CUDA's products and cuDNN use TF32, or forbid it.

    After the new setters alone, the old getters raise an error, and torch.compile reads them
    (pytorch issue 166387). After the old setters alone, the new getters of cuDNN say "none" in
    place of "ieee". After both, in this order, all getters agree.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = used
    torch.backends.cudnn.allow_tf32 = used
    cudnn: Any = torch.backends.cudnn  # the attributes used here are missing from its types
    for part in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn):
        part.fp32_precision = "tf32" if used else "ieee"


def has_tf32(device: str) -> bool:
    """Return whether `precision: tf32` has an effect on a device, `cpu` or `cuda`."""
    import torch

    return device == "cuda" and torch.cuda.is_tf32_supported()


def _check_bfloat16(device: str) -> None:
    """Raise `UserError` if the device has no instructions for bfloat16, only an emulation."""
    import torch

    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return
        name = torch.cuda.get_device_name()
        lack = f"GPU ({name}) only emulates it; NVIDIA's GPUs have it from Ampere on"
    else:
        if not {*_cpu_info("flags").split()}.isdisjoint(BFLOAT16_FLAGS):
            return
        lack = (
            f"CPU ({_cpu()}) has no instructions for it ({' or '.join(BFLOAT16_FLAGS)}), without "
            "which training is about ten times as slow as in float32"
        )
    raise UserError(
        f"the study has `precision: bfloat16`, but this {lack}; use `--config precision=float32`, "
        "or another machine"
    )


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
    """Return the facts about the device and its settings, for a run's record.

    precision : that of the spec. The record has the precision of the computation, which is float32
    for `tf32` on a device without TF32.
    """
    import torch

    cudnn: Any = torch.backends.cudnn  # the attributes used here are missing from its types
    tf32 = has_tf32(device)
    return {
        "cpu_capability": cpu_capability(),
        "cpu_settings": {name: os.environ[name] for name in CPU_SETTINGS if name in os.environ},
        "device": torch.cuda.get_device_name() if device == "cuda" else _cpu(),
        "device_type": device,
        "threads": torch.get_num_threads(),
        "precision": FLOAT32 if precision == TF32 and not tf32 else precision,
        "tf32": {
            "convolutions": tf32 and cudnn.conv.fp32_precision == "tf32",
            "products": tf32 and torch.backends.cuda.matmul.fp32_precision == "tf32",
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
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(name: str) -> str:
    """Return what Linux tells about the first CPU under this name, or an empty text."""
    info = Path("/proc/cpuinfo")
    lines = (
        info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    )
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


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
