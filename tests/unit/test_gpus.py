"""The GPUs that a process may use, with simulated answers of nvidia-smi and a made-up /proc."""

from __future__ import annotations

import shlex

import pytest

from soteacher.core import gpus
from soteacher.core.gpus import Gpu

A, B, C = (f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abc")
M, N = (f"MIG-{letter * 8}-1111-2222-3333-444444444444" for letter in "de")
TWO = f"""GPU 0: NVIDIA H100 80GB HBM3 (UUID: {A})
GPU 1: NVIDIA H100 80GB HBM3 (UUID: {B})
"""
MIXED = f"""GPU 0: NVIDIA GeForce RTX 4090 (UUID: {A})
GPU 1: Tesla V100-SXM2-32GB (UUID: {B})
"""
WITH_MIG = f"""GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A})
  MIG 1g.5gb      Device  0: (UUID: {M})
  MIG 1c.3g.20gb  Device  1: (UUID: {N})
GPU 1: NVIDIA A100-SXM4-40GB (UUID: {B})
"""
INFORMATION = (
    "Model: \t\t NVIDIA H100\nIRQ:   \t\t 42\nGPU UUID: \t {uuid}\nGPU Excluded:\t {out}\n"
)


def named(*uuids):
    return [Gpu(uuid, uuid) for uuid in uuids]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that simulates a machine: nvidia-smi's answer, the driver's files, variables."""
    for name in (gpus.CHOSEN, "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "proc")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # without this machine's own nvidia-smi

    def simulate(says=None, code=0, driver=(), given=None, order=None):
        if says is not None:
            tool = tmp_path / "bin/nvidia-smi"
            tool.parent.mkdir()
            answer = f"printf %s {shlex.quote(says)}"
            tool.write_text(f'#!/bin/sh\ntest "$*" = -L || exit 9\n{answer}\nexit {code}\n')
            tool.chmod(0o755)
        for number, (uuid, out) in enumerate(driver):
            folder = tmp_path / f"proc/gpus/0000:0{number}:00.0"
            folder.mkdir(parents=True)
            (folder / "information").write_text(INFORMATION.format(uuid=uuid, out=out))
        for name, value in ((gpus.CHOSEN, given), ("CUDA_DEVICE_ORDER", order)):
            if value is not None:
                monkeypatch.setenv(name, value)
        return gpus.usable()

    return simulate


def test_all_gpus_of_the_machine_are_found_by_their_uuids(machine):
    assert machine(TWO) == named(A, B)


def test_instances_of_a_gpu_are_found_in_place_of_the_gpu(machine):
    assert machine(WITH_MIG) == named(M, N, B)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("No devices were found\n", 0),
        ("No devices found.\n", 6),
        ("", 0),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9),
        ("Failed to initialize NVML: Driver/library version mismatch\n", 18),
        ("Failed to initialize NVML: Unknown Error\n", 0),
    ],
)
def test_other_words_of_nvidia_smi_are_no_gpu(machine, says, code):
    assert machine(says, code) == []


def test_warnings_of_nvidia_smi_are_no_gpu_and_hide_none(machine):
    warning = "WARNING: infoROM is corrupted at gpu 0000:01:00.0\n"
    assert machine(f"{warning}{TWO}{warning}") == named(A, B)


@pytest.mark.parametrize("code", [14, 15])  # an infoROM is damaged, or one GPU of several is lost
def test_gpus_that_nvidia_smi_lists_are_used_also_if_it_ends_with_an_error(machine, code):
    lost = "Unable to determine the device handle for GPU2: 0000:03:00.0: GPU is lost.\n"
    assert machine(TWO + lost, code, driver=[(A, "No"), (B, "No"), (C, "No")]) == named(A, B)


def test_where_nvidia_smi_says_that_there_is_no_device_the_driver_s_gpus_are_not_used(machine):
    """A scheduler may have hidden them."""
    assert machine("No devices were found\n", driver=[(A, "No")]) == []


@pytest.mark.parametrize("says", [None, "Failed to initialize NVML: Unknown Error\n"])
def test_without_an_answer_of_nvidia_smi_the_driver_s_files_tell_the_gpus(machine, says):
    assert machine(says, 18, driver=[(A, "No"), (B, "Yes"), (C, "No")]) == named(A, C)


def test_a_gpu_without_a_uuid_is_counted_and_named_by_its_number(machine):
    unused = "GPU-????????-????-????-????-????????????"
    assert machine(driver=[(unused, "No"), (B, "No")]) == [Gpu("0", None), Gpu("1", None)]


def test_a_machine_without_a_driver_has_no_gpu(machine):
    assert machine() == []


@pytest.mark.parametrize("given", ["", " ", "-1", "NoDevFiles", "none", "-1,0", ",0"])
def test_a_value_without_gpus_hides_them_all(machine, given):
    assert machine(TWO, given=given) == []
    assert gpus.are_hidden()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0", [Gpu("0", A)]),
        ("1,0", [Gpu("1", B), Gpu("0", A)]),
        (" 1 , 0 ", [Gpu("1", B), Gpu("0", A)]),
        ("1,-1,0", [Gpu("1", B)]),
        ("1,7,0", [Gpu("1", B)]),  # CUDA ignores what follows an unknown number
        ("7", []),
        ("01,1", [Gpu("1", B)]),
        (f"{B},0", [*named(B), Gpu("0", A)]),
        (f"{B},1", named(B)),
        (B[:10], named(B)),
        ("GPU-unknown", named("GPU-unknown")),
    ],
)
def test_a_given_list_is_the_gpus_and_is_translated_to_uuids(machine, given, expected):
    assert machine(TWO, given=given) == expected
    assert not gpus.are_hidden()


def test_of_a_given_gpu_with_instances_the_instances_are_used(machine):
    assert machine(WITH_MIG, given=f"{N},0,1") == [*named(N, M), Gpu("1", B)]


def test_a_given_instance_is_used_alone(machine):
    assert machine(WITH_MIG, given=N) == named(N)


def test_an_instance_by_its_older_name_is_kept(machine):
    old = f"MIG-{A}/7/0"
    assert machine(WITH_MIG, given=old) == named(old)


@pytest.mark.parametrize(
    ("order", "uuids"),
    [(None, (None, None)), ("FASTEST_FIRST", (None, None)), ("PCI_BUS_ID", (A, B))],
)
def test_numbers_are_not_translated_where_cuda_may_number_otherwise(machine, order, uuids):
    """CUDA's first GPU is the fastest one, unless its numbers are in the order of the bus."""
    assert machine(MIXED, given="0,1", order=order) == [Gpu("0", uuids[0]), Gpu("1", uuids[1])]


def test_without_nvidia_smi_given_numbers_keep_their_names(machine):
    """/proc can show GPUs that a scheduler's job may not use, so its numbers are others."""
    assert machine(driver=[(A, "No"), (B, "No")], given="1") == [Gpu("1", None)]


def test_where_nvidia_smi_sees_no_gpu_a_given_number_is_none(machine):
    assert machine("No devices were found\n", given="0") == []


@pytest.mark.parametrize("name", gpus.SCHEDULERS)
def test_a_scheduler_s_job_is_known(name, monkeypatch):
    for other in gpus.SCHEDULERS:
        monkeypatch.delenv(other, raising=False)
    assert gpus.scheduler_job() is None
    monkeypatch.setenv(name, "7")
    assert gpus.scheduler_job() == "7"
