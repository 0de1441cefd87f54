"""Which errors another attempt can help, and which end the process; told from their texts.

A CUDA error other than "out of memory" usually leaves the process's connection to the GPU unusable:
every later operation fails with the same error. None of them was seen on a GPU, only simulated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from soteacher.core.errors import OutOfMemory, RunsFailed, UserError

OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|not enough memory|bad.alloc"
    r"|(?:can't|cannot|could not) allocate memory|_ALLOC(?:ATION)?_FAILED"
    r"|NVML_SUCCESS == r INTERNAL ASSERT",  # torch's allocator, on a GPU without free memory
    re.IGNORECASE,
)
"""Texts of torch, CUDA, its libraries, C++, Linux and Python."""
GPU_IS_LOST = re.compile(
    r"\bAcceleratorError\b|CUDA (?:driver )?error: |device-side assert|illegal memory access"
    r"|CU\w+_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED)"
    r"|CUFFT_(?:EXEC_FAILED|INTERNAL_ERROR)"
)
"""Texts of CUDA and its libraries."""


def is_out_of_memory(text: str) -> bool:
    """Return whether an error says that memory, of the GPU or not, was not enough."""
    return OUT_OF_MEMORY.search(text) is not None


def loses_gpu(error: BaseException) -> bool:
    """Return whether the process cannot use its GPU any more after an error."""
    return any(
        GPU_IS_LOST.search(text) is not None and not is_out_of_memory(text)
        for text in _texts(error)
    )


def retry_helps(error: Exception) -> bool:
    """Return whether the same job can succeed in another process, with one run at a time."""
    if isinstance(error, RunsFailed):
        return error.retry
    if isinstance(error, UserError):
        return isinstance(error, OutOfMemory)
    of_memory = any(is_out_of_memory(text) for text in _texts(error))
    return of_memory or loses_gpu(error) or isinstance(error, OSError)


def _texts(error: BaseException | None) -> Iterator[str]:
    """Yield the texts of an error and of those that led to it."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__
