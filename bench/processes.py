"""The start of processes: imports, a job until its first step, and Snakemake's plan of a study."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.study import HERE
from bench.timing import MOST, Deadline, Failed, LeftOut, Times, command
from soteacher.core import files
from soteacher.core.sealed import write_sealed
from soteacher.data.prepared import prepare
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.study.requests import Request

ROOT = HERE.parent
CORES = 2
"""Number of cores that Snakemake has for a whole study."""
SET_UP = "from soteacher.training.device import set_up; set_up('cpu', 1, 'float32', True)"


def repeated(words: Sequence[str], folder: Path, deadline: Deadline) -> list[Times]:
    """Run a command until the deadline, at least three times, and once before that is not timed."""
    try:
        command(words, folder)
        found: list[Times] = []
        last = 0.0
        while len(found) < MOST and deadline.allows(len(found), last):
            found.append(command(words, folder))
            last = found[-1].wall
    except Failed as error:
        raise LeftOut(f"the command failed: {error}") from None
    return found


def once(words: Sequence[str], folder: Path) -> Times:
    """Run a command that takes minutes, once; its first start of a process is timed, too."""
    try:
        return command(words, folder)
    except Failed as error:
        raise LeftOut(f"the command failed: {error}") from None


def python(code: str) -> list[str]:
    """Return the command that runs a line of Python, with the package's folder in its path."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]


def first_step(folder: Path) -> list[str]:
    """Return the command of the demo's first job, which ends before its first step."""
    plan = expand(load(ROOT / "config/demo.yaml"))
    job = next(iter(plan.jobs["teacher"].values()))
    store, data = folder / "store", folder / f"{job.data}.json"
    if not data.exists():
        write_sealed(data, prepare(plan.data_spec(job.data), store))
    request = Request.of(folder, "runs", job.request).write()
    begin = "import runpy; sys.argv = sys.argv[1:]; runpy.run_module('bench.first_step', None, "
    arguments = ["teach", "--runs", request, "--data", str(data), "--links", str(folder / "runs")]
    arguments += ["--store", str(store), "--out", str(folder / "job.json"), "--device", "cpu"]
    return [*python(f"{begin}'__main__')"), "bench.first_step", *arguments]


def dry_run(folder: Path, seeds: int) -> list[str]:
    """Return the command that plans the paper's study for a number of seeds, and trains nothing."""
    over = folder / f"{seeds}_seeds.yaml"
    files.write(over, f"seeds: {[*range(seeds)]}\n")
    study = (ROOT / "config/paper.yaml", over)
    return snakemake(folder, 1, study, "--dry-run")


def snakemake(folder: Path, cores: int, study: Sequence[Path], *options: str) -> list[str]:
    """Return the command that makes all of a study, its file and override files, in a folder."""
    words = [sys.executable, "-m", "snakemake", *options, "--quiet", "all", "--cores", str(cores)]
    words += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return [*words, "--configfile", *map(str, study)]
