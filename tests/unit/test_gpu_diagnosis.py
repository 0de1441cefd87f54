"""Why torch cannot use a GPU, with simulated messages of torch: none of it was seen on a GPU."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from soteacher.core import gpus
from soteacher.core.errors import UserError
from soteacher.training import cpu_limit, gpu_diagnosis
from soteacher.training.device import chosen

OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 12020). "
    "Please update your GPU driver by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to "
    "install a PyTorch version that has been compiled with your version of the CUDA driver. (...)"
)
MISMATCH = (
    "CUDA initialization: Unexpected error from cudaGetDeviceCount(). Did you run some cuda "
    "functions before calling NumCudaDevices() that might have already set an error? Error 804: "
    "forward compatibility was attempted on non supported HW (Triggered internally at /pytorch/c)"
)
NO_KERNEL = torch.AcceleratorError(
    "CUDA error: no kernel image is available for execution on the d"
)


@pytest.fixture
def machine(monkeypatch):
    """A function that simulates torch on a machine: its GPUs, what it warns of, its first error."""
    gpu_diagnosis.diagnose.cache_clear()
    monkeypatch.delenv(gpus.CHOSEN, raising=False)

    def simulate(exists=True, says=None, error=None, cuda="13.0", given=None):
        def is_available():
            if says:
                warnings.warn(says, stacklevel=1)
            return error is not None or (exists and not says and cuda is not None)

        def ones(*_, device):
            if error is not None:
                raise error
            return torch.zeros(1)

        found = [gpus.Gpu("GPU-aa", "GPU-aa")] if exists else []
        monkeypatch.setattr(gpus, "usable", lambda: found)
        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100-SXM2-32GB")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
        monkeypatch.setattr(torch, "ones", ones)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        if given is not None:
            monkeypatch.setenv(gpus.CHOSEN, given)

    yield simulate
    gpu_diagnosis.diagnose.cache_clear()


UNUSABLE = [
    ({"says": OLD}, r"driver is too old, which supports CUDA up to 12\.2: .* needs CUDA 13\.0: "),
    ({"says": OLD}, r"install NVIDIA driver 580 or newer, or a torch for an older CUDA \(`pip ins"),
    ({"error": RuntimeError(OLD)}, r"driver is too old, which supports CUDA up to 12\.2"),
    ({"says": "CUDA driver version is insufficient for CUDA runtime version"}, "driver is too old"),
    (
        {"error": NO_KERNEL},
        r"no code for the Tesla V100-SXM2-32GB: it is sm_70, .* has sm_75 sm_80",
    ),
    ({"error": NO_KERNEL}, r"use a newer GPU, or install a torch for an older CUDA \(`pip install"),
    ({"cuda": None}, r"is built without CUDA: install a build with CUDA"),
    (
        {"says": MISMATCH},
        r"does not start \(Error 804: forward compatibility was .* HW\): see what",
    ),
    (
        {"error": RuntimeError("CUDA error: busy or unavailable\nmore")},
        r"failed \(CUDA error: busy",
    ),
]


@pytest.mark.parametrize(("simulated", "expected"), UNUSABLE)
def test_a_gpu_that_torch_cannot_use_is_one_line_with_the_remedy(
    machine, caplog, simulated, expected
):
    machine(**simulated)
    with pytest.raises(UserError, match=expected) as refused:
        chosen("cuda")
    assert "or set `device` to auto or cpu" in str(refused.value)
    assert chosen("auto") == "cpu"
    [record] = caplog.records  # not in silence
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("using the CPU, because ")
    with pytest.raises(UserError, match=expected):  # nor for days
        cpu_limit.check_runs({"run": 1e18}, 1, allowed=False)


@pytest.mark.parametrize("given", ["", "-1"])
def test_gpus_that_the_user_hides_are_not_used_and_device_cuda_says_so(machine, caplog, given):
    machine(given=given)
    assert chosen("auto") == "cpu"
    assert not caplog.records
    with pytest.raises(UserError, match=r"CUDA_VISIBLE_DEVICES is set, .* hides all GPUs: unset"):
        chosen("cuda")


def test_a_machine_without_a_gpu_trains_on_the_cpu(machine, caplog):
    machine(exists=False)
    assert chosen("auto") == chosen("cpu") == "cpu"
    assert not caplog.records
    with pytest.raises(UserError, match="torch sees no GPU on this machine: use a machine with a"):
        chosen("cuda")


def test_a_usable_gpu_is_used(machine, caplog):
    machine()
    assert chosen("auto") == chosen("cuda") == "cuda"
    assert chosen("cpu") == "cpu"
    assert not caplog.records
    with pytest.raises(UserError, match="the study has `device: cpu`: set `device` to auto"):
        cpu_limit.check_runs({"run": 1e18}, 1, allowed=False)


def test_a_gpu_without_free_memory_is_a_usable_one(machine):
    """The training says how much memory it lacks, and is tried again."""
    machine(error=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    assert chosen("auto") == "cuda"
