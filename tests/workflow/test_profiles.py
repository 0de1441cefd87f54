"""The profiles for other machines: what they set is there, and their studies are read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.study.schema import Head

ROOT = Path(__file__).parents[2]
PROFILES = {path.parent.name: path for path in (ROOT / "profiles").glob("*/profile.yaml")}


def said(name):
    return yaml.safe_load(PROFILES[name].read_text())


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_sets_is_a_key_of_studies_or_a_rule(name):
    values = said(name)
    rules = set()
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        rules |= set(re.findall(r"^rule (\w+):", path.read_text(), flags=re.MULTILINE))
    assert set(values.get("set-resources", {})) <= rules
    for setting in values.get("config", []):
        assert setting.partition("=")[0] in Head.model_fields, setting
    assert values["rerun-incomplete"] and values["nolock"] and values["keep-going"]


def test_jobs_of_the_gpu_profile_share_gpus_and_wait_for_a_slot(tmp_path):
    asked = ["--workflow-profile", str(PROFILES["local-gpu"]), "--directory", str(tmp_path)]
    asked += ["--configfile", str(ROOT / "config/demo.yaml"), "--printshellcmds"]
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "4", *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    training = re.findall(r"python \S+ (?:teach|distill) .*", done.stdout)
    n_jobs = sum(len(jobs) for jobs in expand(load(ROOT / "config/demo.yaml")).jobs.values())
    assert len(training) == n_jobs > 20
    assert all("--device cuda" in line and "--jobs-per-gpu 2" in line for line in training)
    assert all("--attempt 1 " in line for line in training)
    assert done.stdout.count("gpu=1") >= n_jobs


@pytest.mark.parametrize("cores", [2, 5])
def test_the_timing_of_steps_takes_all_cores_and_trains_with_the_study_s_threads(tmp_path, cores):
    asked = ["--directory", str(tmp_path), "--configfile", str(ROOT / "config/demo.yaml")]
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", str(cores), *asked]
    command += ["--printshellcmds", "overhead"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [timing] = re.findall(r"^rule time_steps:.*?^$", done.stdout, re.DOTALL | re.MULTILINE)
    assert re.search(rf"^ +threads: {cores}$", timing, re.MULTILINE)
    assert " --threads 1 " in timing


@pytest.mark.parametrize(
    ("local", "cores", "expected"), [(True, 8, 8), (False, 8, 2), (False, None, 2)]
)
def test_in_a_cluster_the_timing_asks_for_the_cores_of_a_training_job(local, cores, expected):
    """The workflow's function is called with a pretended Snakemake: a real one needs a cluster."""
    rules = (ROOT / "workflow/rules/common.smk").read_text(encoding="utf-8")
    [function] = re.findall(r"^def whole_machine\(.*?\n\n\n", rules, re.DOTALL | re.MULTILINE)
    settings = SimpleNamespace(cores=cores)
    known = {
        "workflow": SimpleNamespace(local_exec=local, resource_settings=settings),
        "STUDY": SimpleNamespace(threads=2),
    }
    exec(function, known)
    assert known["whole_machine"](None) == expected


ONE = "echo 'GPU 0: NVIDIA H100 (UUID: GPU-aa)'"


@pytest.mark.parametrize(
    ("says", "given", "device", "counted"),
    [
        (ONE, None, "auto", True),
        (ONE, "", "auto", False),
        ("echo No devices were found", None, "auto", False),
        ("exit 1", None, "cuda", True),
    ],
)
def test_a_job_counts_as_one_of_a_gpu_if_it_may_use_one(tmp_path, says, given, device, counted):
    """So Snakemake does not start a training process for each core on a single GPU."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\n{says}\n")
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    environment |= {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    asked = ["--config", f"device={device}"]
    asked += ["--configfile", str(ROOT / "config/demo.yaml"), "--directory", str(tmp_path)]
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "4", *asked]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert ("gpu=1" in done.stdout) is counted
    calls = tmp_path / "calls"
    times = len(calls.read_text().split()) if calls.exists() else 0
    assert times == (device == "auto" and given != "")


def test_only_what_trains_or_times_goes_to_a_cluster():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^(?=rule )", path.read_text(), flags=re.MULTILINE)[1:]:
            name = re.match(r"rule (\w+)", rule)[1]
            head = rule.partition("shell:")[0]
            assert ("localrule: True" in head) is (
                name not in ("teach", "distill", "time_steps")
            ), name
