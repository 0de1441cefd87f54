"""What a run's record says about the machine: all that the bits of a CPU's results depend on."""

import json
import os
import subprocess
import sys

import pytest
import torch

from soteacher.training.device import CPU_SETTINGS, facts, libraries

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
