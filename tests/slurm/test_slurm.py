"""A small study on a real Slurm, through profiles/slurm.

One workflow in which each of three training jobs is taken down in another way while it trains (a
time limit, somebody's scancel, a preemption), and a second one with a job that cannot be done.
`make test-slurm` runs them under a hard limit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, install

from soteacher.data.prepared import open_prepared
from soteacher.store.run_folder import RunFolder
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.specs import fingerprint

ROOT = Path(__file__).parents[2]
PAIR = "wrn_10_1/wrn_10_1"
STUDY = {
    "study": "small",
    "seeds": [0],
    "device": "cpu",
    "runs_per_job": 1,
    "save_every": 600,  # what is saved at other times than the end of an epoch, a signal saved
    "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1}}},
    "recipes": {
        "long": {"epochs": 100, "batch": 64, "lr": 0.05, "decay_at": [75]},
        "short": {"epochs": 50, "batch": 64, "lr": 0.05, "decay_at": [40]},  # to be preempted in
    },
    "pairs": {PAIR: {"data": "digits", "teacher_recipe": "long", "student_recipe": "short"}},
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}}},
    "distillers": {"kd": {}},
    "tables": {
        "table1": {"kind": "accuracy", "teachers": ["standard", "soteacher"], "distillers": ["kd"]},
        "table3": {"kind": "calibration", "teachers": ["standard", "soteacher"]},
    },
}
RUNS = {
    "limit": "digits/wrn_10_1/standard/seed0",
    "cancel": "digits/wrn_10_1/soteacher/seed0",
    "preempt": "digits/wrn_10_1/standard/seed0/wrn_10_1/kd",
}
"""What of the study is taken down in which way."""


class Workflow:
    """A study in a folder of its own, and Snakemake called there as users call it."""

    def __init__(self, folder: Path, study: dict, environment: dict[str, str]) -> None:
        self.folder, self.study = folder, study
        folder.mkdir()
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        binaries = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self.environment = environment | {"PATH": binaries, "PYTHONPATH": str(ROOT)}

    def begin(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d"]
        command += [str(self.folder), "--configfile", str(self.folder / "study.yaml"), *options]
        with open(self.folder / "said.log", "ab") as out:
            return subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def said(self) -> str:
        return (self.folder / "said.log").read_text()

    def logs(self) -> str:
        """What the jobs have logged so far, read where Snakemake runs."""
        paths = (self.folder / "results/small/logs").rglob("*.log")
        return "\n".join(path.read_text() for path in paths)

    def soteacher(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "soteacher", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_folder(self, run_id: str) -> RunFolder | None:
        path = self.folder / "results/small/data/digits.json"
        if not path.is_file():
            return None
        run = expand(read(self.study)).runs[run_id]
        store = self.folder / "results/store"
        return RunFolder(store, fingerprint(run.spec, open_prepared(path, store).sha256), run_id)

    def manifests(self) -> dict[str, dict]:
        paths = (self.folder / "results/small/runs").rglob("*.json")
        return {k: v for path in paths for k, v in json.loads(path.read_text())["runs"].items()}


ON_SLURM = (
    *("--workflow-profile", str(ROOT / "profiles/slurm")),
    *("--config", "device=cpu", "runs_per_job=1"),
    *("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "7"),
    *("--set-resources", "teach:gpu=1", "distill:gpu=1", "distill:slurm_partition=scavenge"),
)
"""The profile, as it is, but for what this small cluster and its patience want otherwise."""


def ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait for Snakemake; where it does not end, kill all of it and fail."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def until(ready, what: str, seconds: float, process: subprocess.Popen[bytes]):
    """What `ready` returns once it is true; fails where that takes too long, or Snakemake ended."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        assert process.poll() is None, f"{what}: Snakemake ended before"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    install()
    with Cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture(scope="module")
def failing(cluster, tmp_path_factory):
    """A study with a job that cannot be done, begun beside the other one."""
    study = STUDY | {
        "recipes": {
            name: recipe | {"epochs": 2, "decay_at": [1]}
            for name, recipe in (STUDY["recipes"].items())
        },
        "teachers": {"standard": {}},
        "distillers": {"crd": {"negatives": 100_000}},
        "tables": {"table1": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["crd"]}},
    }
    work = Workflow(tmp_path_factory.mktemp("failing") / "small", study, cluster.environment)
    process = work.begin(*ON_SLURM, "--retries", "1")
    yield work, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The study without Slurm, begun beside the others."""
    work = Workflow(tmp_path_factory.mktemp("local") / "small", STUDY, dict(os.environ))
    process = work.begin("--cores", "1", "--workflow-profile", str(ROOT / "profiles/default"))
    yield work, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def small(cluster, failing, local, tmp_path_factory):
    """The study, after each job of it was taken down once while it trained."""
    work = Workflow(tmp_path_factory.mktemp("work") / "small", STUDY, cluster.environment)
    process = work.begin(*ON_SLURM)

    def training(run_id: str, epoch: int):
        """The number of the Slurm job that trains a run, once its log tells of that epoch."""
        if f"{run_id}: main epoch {epoch}/" in work.logs():
            return work.run_folder(run_id).attempts()[-1]["slurm_job"]
        return None

    def logged(run_id: str) -> int:
        """The last epoch of a run that its log tells of."""
        return max(map(int, re.findall(rf"{run_id}: main epoch (\d+)/", work.logs())))

    def taken_down(run_id: str, *command: str) -> tuple[str, int]:
        job = until(lambda: training(run_id, 3), f"{run_id} trains", 180, process)
        facts = cluster.run("scontrol", "show", "job", job)
        assert "TresPerJob=gres:gpu:1" in facts, facts
        cluster.run(*(part.format(job=job) for part in command))
        return job, logged(run_id)

    try:
        jobs = {
            "limit": taken_down(
                RUNS["limit"],
                *("scontrol", "update", "JobId={job}", "EndTime=now+1second"),
            ),
            "cancel": taken_down(RUNS["cancel"], "scancel", "{job}"),
        }
        student = RUNS["preempt"]
        job = until(lambda: training(student, 1), f"{student} trains", 300, process)
        jobs["preempt"] = job, logged(student)
        urgent = ["sbatch", "-p", "urgent", "--gpus=2", "-o", "/dev/null", "--wrap", "sleep 3"]
        cluster.run(*urgent)
        assert ended(process, 300) == 0, work.said()[-5000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return work, jobs


def epochs_of(folder: RunFolder) -> list[list]:
    """Where each attempt began."""
    return [attempt["from"] for attempt in folder.attempts()]


def test_all_tables_are_made_and_every_run_is_the_local_one_s_bit_for_bit(small, local):
    work, _ = small
    for name in ("table1", "table3"):
        assert (work.folder / f"results/small/tables/{name}.md").is_file()
    without, process = local
    assert ended(process, 300) == 0, without.said()[-5000:]
    assert without.manifests() == work.manifests()
    assert len(without.manifests()) == 4


@pytest.mark.parametrize("how", RUNS)
def test_a_job_taken_down_goes_on_from_where_it_was(small, how):
    work, jobs = small
    folder = work.run_folder(RUNS[how])
    attempts = folder.attempts()
    assert len(attempts) >= 2
    first, second = epochs_of(folder)[:2]
    assert first == ["MAIN", 0, 0]
    job, epoch = jobs[how]
    assert second[0] == "MAIN" and second[1] >= epoch > 0  # the signal saved what no clock did
    assert attempts[0]["slurm_job"] == job
    # a job that is preempted is queued again by Slurm, the others are new ones of Snakemake's
    assert (attempts[1]["slurm_job"] == job) is (how == "preempt")
    with open(folder.artifact("history.csv")) as file:
        assert len(file.readlines()) == 1 + (50 if how == "preempt" else 100)


def test_status_says_how_often_runs_were_resumed_and_where_they_ran(small):
    work, jobs = small
    text = work.soteacher("status", "study.yaml", "--all")
    assert "teachers (2): 2 done" in text and "students (2): 2 done" in text
    for how, (job, _) in jobs.items():
        [line] = [line for line in text.splitlines() if f"  {RUNS[how]}  " in line]
        host, last, again = re.search(r"\[(.+), Slurm job (\d+), resumed (.+)\]$", line).groups()
        assert host == socket.gethostname() and again
        assert (last == job) is (how == "preempt")


def test_a_job_that_cannot_be_done_is_tried_again_and_reported_with_its_log(small, failing):
    work, process = failing
    assert ended(process, 240) == 1
    said = work.said()
    assert said.count("100000 images of other classes") >= 1, said[-3000:]
    assert "Trying to restart job" in said
    assert not (work.folder / "results/small/tables/table1.md").exists()
