"""Which errors a retry can help, and which cost the process its GPU: texts of torch and CUDA."""

from __future__ import annotations

import pytest
import torch

from soteacher.core.errors import GpuLost, OutOfMemory, RunsFailed, UserError
from soteacher.training.failures import is_out_of_memory, loses_gpu, retry_helps

LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("CUDA driver error: unspecified launch failure"),
    RuntimeError("cuFFT error: CUFFT_EXEC_FAILED"),
]
TOO_LARGE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ..."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp"),
    RuntimeError("could not allocate memory"),
    RuntimeError("unable to mmap 800 bytes from file: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    MemoryError(),
]
OTHER = [
    RuntimeError("Expected all tensors to be on the same device"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    ValueError("a mistake in a method"),
    UserError("unknown network"),
]


def said(error):
    return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("error", LOST, ids=str)
def test_a_cuda_error_costs_the_process_its_gpu_and_a_retry_helps(error):
    assert loses_gpu(error) and retry_helps(error) and not is_out_of_memory(said(error))


@pytest.mark.parametrize("error", TOO_LARGE, ids=said)
def test_out_of_memory_costs_no_gpu_and_a_retry_helps(error):
    assert is_out_of_memory(said(error)) and retry_helps(error) and not loses_gpu(error)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_no_retry_helps_other_errors(error):
    assert not loses_gpu(error) and not retry_helps(error) and not is_out_of_memory(said(error))


def test_an_error_is_also_told_by_the_one_that_led_to_it():
    try:
        try:
            raise LOST[0]
        except RuntimeError as error:
            raise UserError("the rehearsal fails") from error
    except UserError as error:
        assert loses_gpu(error)


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (RunsFailed("1 of 2 runs failed"), False),
        (RunsFailed("1 of 2 runs failed", retry=True), True),
        (GpuLost("a CUDA error", retry=True), True),
        (OutOfMemory("12 runs need 9 GB"), True),
        (OSError(116, "Stale file handle"), True),
    ],
)
def test_errors_of_jobs_say_whether_a_retry_helps(error, helps):
    assert retry_helps(error) is helps
