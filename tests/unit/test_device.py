"""What a run's record says about the machine: all that the bits of a CPU's results depend on."""

import json
import os
import subprocess
import sys

import pytest
import torch

from soteacher.core.errors import UserError
from soteacher.training import device
from soteacher.training.device import CPU_SETTINGS, facts, libraries, set_up

OF_INTEL = """PyTorch built with:
  - GCC 13.3
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64
  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa71049cd69a3df32adcccb623b12cd7baa22)
  - CPU capability usage: AVX2
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, LAPACK_INFO=mkl, USE_MKL=ON
"""
EARLIER = """PyTorch built with:
  - Intel(R) Math Kernel Library Version 2020.0.4 Product Build 20200917 for Intel(R) 64
  - Intel(R) MKL-DNN v2.7.3 (Git Hash 6dbeffbae1f23cbbeae17adb7b5b13f1f37c080e)
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release
"""
OF_ARM = """PyTorch built with:
  - OpenMP 201511 (a.k.a. OpenMP 4.5)
  - Build settings: BLAS_INFO=open, BUILD_TYPE=Release, LAPACK_INFO=open, USE_MKL=OFF
"""


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (OF_INTEL, {"blas": "mkl", "mkl": "2024.2", "onednn": "3.12.0"}),
        (EARLIER, {"blas": "mkl", "mkl": "2020.0.4", "onednn": "2.7.3"}),
        (
            EARLIER.replace("MKL-DNN", "oneDNN"),
            {"blas": "mkl", "mkl": "2020.0.4", "onednn": "2.7.3"},
        ),
        (OF_ARM, {"blas": "open", "mkl": None, "onednn": None}),
        ("", {"blas": None, "mkl": None, "onednn": None}),
    ],
)
def test_the_libraries_are_those_of_torch_s_build(build, expected):
    assert libraries(build) == expected


def test_a_record_has_the_instructions_in_use_and_the_libraries():
    found = facts("cpu", "float32")
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert libraries(torch.__config__.show()).items() <= found["versions"].items()
    json.dumps(found)


@pytest.mark.parametrize("name", CPU_SETTINGS)
def test_a_record_has_the_settings_that_select_instructions(name, monkeypatch):
    for other in CPU_SETTINGS:
        monkeypatch.delenv(other, raising=False)
    assert facts("cpu", "float32")["cpu_settings"] == {}
    monkeypatch.setenv(name, "a value")
    assert facts("cpu", "float32")["cpu_settings"] == {name: "a value"}


def test_the_record_of_other_instructions_differs():
    code = "import json; from soteacher.training.device import facts\n"
    code += "print(json.dumps(facts('cpu', 'float32')))"
    found = []
    for setting in ({}, {"ATEN_CPU_CAPABILITY": "default"}):
        here = {k: v for k, v in os.environ.items() if k not in CPU_SETTINGS} | setting
        done = subprocess.run(
            [sys.executable, "-c", code], env=here, check=True, capture_output=True, text=True
        )
        found.append(json.loads(done.stdout))
    usual, default = found
    assert default["cpu_capability"] == "DEFAULT"
    assert default["cpu_settings"] == {"ATEN_CPU_CAPABILITY": "default"}
    assert usual["cpu_settings"] == {}


# precision

GETTERS = {
    "cuda.matmul.allow_tf32": (False, True),
    "cudnn.allow_tf32": (False, True),
    "cuda.matmul.fp32_precision": ("ieee", "tf32"),
    "cudnn.conv.fp32_precision": ("ieee", "tf32"),
    "cudnn.rnn.fp32_precision": ("ieee", "tf32"),
    # those of the CPU and of all devices together keep torch's defaults
    "fp32_precision": ("none", "none"),
    "cudnn.fp32_precision": ("none", "none"),
    "mkldnn.fp32_precision": ("none", "none"),
    "mkldnn.matmul.fp32_precision": ("none", "none"),
    "mkldnn.conv.fp32_precision": ("none", "none"),
    "mkldnn.rnn.fp32_precision": ("none", "none"),
}
"""Getter of torch.backends, old or new, to what it says without and with TF32."""
READ = """
import json, operator, sys, torch
from soteacher.training import device
device._check_bfloat16 = lambda chosen: None
getters, precisions = json.loads(sys.argv[1])
for precision in precisions:
    device.set_up("cpu", 1, precision, True)
    found = {name: operator.attrgetter(name)(torch.backends) for name in getters}
    print(json.dumps(found | {"": torch.get_float32_matmul_precision()}))
"""


@pytest.mark.parametrize(
    "precisions",
    [("float32", "tf32", "float32", "bfloat16"), ("tf32", "bfloat16", "tf32"), ("bfloat16",)],
    ids=", then ".join,
)
def test_every_getter_of_torch_old_or_new_agrees_on_tf32(precisions):
    """torch.compile reads the old ones, which raise after some uses of the new setters."""
    asked = json.dumps([[*GETTERS], precisions])
    done = subprocess.run(
        [sys.executable, "-c", READ, asked], check=True, capture_output=True, text=True
    )
    for precision, line in zip(precisions, done.stdout.splitlines(), strict=True):
        rounded = precision == "tf32"
        expected = {name: values[rounded] for name, values in GETTERS.items()}
        assert json.loads(line) == expected | {"": "high" if rounded else "highest"}


@pytest.fixture
def as_before():
    """TF32, threads and determinism, which `set_up` sets for the process, are put back."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    device._set_tf32(False)


@pytest.fixture
def gpu(monkeypatch):
    """A function that lets torch report a GPU, with TF32 and bfloat16 or without."""

    def pretend(ampere):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: ampere)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: ampere or including_emulation,
        )

    return pretend


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_on_a_cpu_tf32_is_float32_in_the_record_and_is_said_so(precision, as_before, caplog):
    caplog.set_level("INFO")
    assert set_up("cpu", 1, precision, True) == "cpu"
    found = facts("cpu", precision)
    assert found["precision"] == "float32"
    assert found["tf32"] == {"convolutions": False, "products": False}
    assert ("this job computes in float32" in caplog.text) is (precision == "tf32")


@pytest.mark.parametrize(
    ("precision", "ampere", "recorded"),
    [
        ("float32", True, "float32"),
        ("tf32", True, "tf32"),
        ("bfloat16", True, "bfloat16"),
        ("tf32", False, "float32"),
    ],
)
def test_the_record_of_a_gpu_has_tf32_only_where_it_is(precision, ampere, recorded, gpu, as_before):
    gpu(ampere)
    assert set_up("cuda", 1, precision, True) == "cuda"
    found = facts("cuda", precision)
    assert found["precision"] == recorded
    assert found["tf32"] == dict.fromkeys(("convolutions", "products"), recorded == "tf32")


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu avx2 avx512f avx512_bf16", True),
        ("fpu avx2 amx_bf16 amx_tile amx_int8", True),
        ("fpu avx2 avx512f avx512_vnni amx_tile amx_int8", False),
        ("fpu avx2", False),
        ("", False),
    ],
)
def test_bfloat16_needs_a_cpu_with_its_instructions(flags, has, monkeypatch, as_before):
    known = {"flags": flags, "model name": "A CPU"}
    monkeypatch.setattr(device, "_cpu_info", known.get)
    if has:
        assert set_up("cpu", 1, "bfloat16", True) == "cpu"
        return
    with pytest.raises(UserError) as caught:
        set_up("cpu", 1, "bfloat16", True)
    assert str(caught.value) == (
        "the study has `precision: bfloat16`, but this CPU (A CPU) has no instructions for it "
        "(avx512_bf16 or amx_bf16), without which training is about ten times as slow as in "
        "float32; use `--config precision=float32`, or another machine"
    )


def test_bfloat16_is_refused_on_a_gpu_that_emulates_it(gpu, as_before):
    gpu(ampere=False)
    with pytest.raises(UserError) as caught:
        set_up("cuda", 1, "bfloat16", True)
    assert str(caught.value) == (
        "the study has `precision: bfloat16`, but this GPU (A GPU) only emulates it; NVIDIA's GPUs "
        "have it from Ampere on; use `--config precision=float32`, or another machine"
    )


def test_this_cpu_is_asked_for_its_flags_by_linux():
    flags = device._cpu_info("flags").split()
    assert "fpu" in flags and device._cpu_info("model name") and not device._cpu_info("nothing")
