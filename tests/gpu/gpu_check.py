"""`make gpu-check`: what a GPU makes of this code, in ten minutes, on one page.

It imports neither torch nor soteacher: each measurement is a process, so no error, also none of
CUDA, ends another one. The report is written after each section.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from gpu_page import page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEASURE = HERE / "gpu_measure.py"
PRECISIONS = ("float32", "tf32", "bfloat16")
PROCESSES = (1, 2, 4)
NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "safetensors": "safetensors",
}
"""Modules that a measurement imports, and the names of their packages."""
QUESTION = "import torch as t; print(t.__version__, t.version.cuda, t.cuda.is_available())"
TESTS_NEED = {
    "pytest": "pytest",
    "sklearn": "scikit-learn",
    "pandas": "pandas",
    "PIL": "pillow",
}
"""What the tests import besides."""
TESTS = ROOT / "tests/run"
FIRST = ("every_regularizer", "every_distiller", "loop", "two_stages")
"""Test files that come first, because they run most kernels."""
FILES = ("report.md", "report.json", "tests.log", "errors.log")
SHARE_OF_TESTS = 0.4
"""Largest share of the time that the tests may take."""
SECONDS = {"cpu": 0.1, "cuda": 2.0}
"""Seconds of each measurement of steps, after its start and warm-up."""
STEPS = {"cpu": 2, "cuda": 50}
"""Steps of each method in the measurement of the overhead."""
LONGEST = 150.0
"""Seconds after which a measurement is ended."""
SHORTEST = 10.0
"""A measurement is left out if less than this many seconds are left."""


@dataclass
class Check:
    """The state of a check, and all that goes into its report."""

    device: str
    study: list[Path]
    out: Path
    until: float
    store: Path
    facts: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    overhead: list[dict[str, Any]] = field(default_factory=list)
    together: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What failed, one line each."""
    refused: list[str] = field(default_factory=list)
    """What this version of soteacher or this machine does not do, one line each."""
    left_out: list[str] = field(default_factory=list)
    """What the time did not allow."""

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.until - time.monotonic()

    def measure(self, label: str, requests: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Carry out requests at the same time, each in a process; return the results of each.

        A process that fails adds a line to `wrong`, but keeps the results that it had printed.
        """
        if self.left < SHORTEST:
            self.left_out.append(label)
            return []
        print(f"{self.left:4.0f} s left: {label}", flush=True)
        limit = min(LONGEST, self.left)
        common = {"study": [*map(str, self.study)], "device": self.device}
        common["store"] = str(self.store)
        with tempfile.TemporaryDirectory() as folder:
            logs = [Path(folder) / str(number) for number in range(len(requests))]
            commands = [
                [sys.executable, str(MEASURE), json.dumps(common | request)] for request in requests
            ]
            ended = _run(commands, logs, limit)
            results = []
            for code, log in zip(ended, logs, strict=True):
                results.append(self._results(label, log))
                if code is None and limit < LONGEST:
                    self.left_out.append(f"{label}, ended when the time was up")
                elif code != 0:
                    lines = log.with_suffix(".err").read_text(encoding="utf-8").splitlines()
                    why = next((line for line in reversed(lines) if line.strip()), f"code {code}")
                    why = f"no result after {limit:.0f} s" if code is None else why[:300]
                    self.wrong.append(f"{label}: {why}")
                    _keep(self.out / "errors.log", label, lines)
            return results

    def _results(self, label: str, log: Path) -> list[dict[str, Any]]:
        lines = log.with_suffix(".out").read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines if line.startswith("{")]
        refused = [f"{label}: {result['refused']}" for result in results if "refused" in result]
        self.refused += refused
        return [result for result in results if "refused" not in result]

    def write(self) -> None:
        """Write the report as it is now."""
        here = ("until", "out", "store")  # of this machine alone; the report is to be sent
        report = {name: value for name, value in vars(self).items() if name not in here}
        report["study"] = [path.name for path in self.study]
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, default=str)
        (self.out / "report.json").write_text(text + "\n", encoding="utf-8")
        (self.out / "report.md").write_text(page(report), encoding="utf-8")


def _run(commands: list[list[str]], logs: list[Path], limit: float) -> list[int | None]:
    """Run commands at the same time; return their exit codes, None for those that took too long."""
    until = time.monotonic() + limit
    with _processes() as started:
        for command, log in zip(commands, logs, strict=True):
            with (
                open(log.with_suffix(".out"), "w") as out,
                open(log.with_suffix(".err"), "w") as err,
            ):
                started.append(_start(command, {}, stdout=out, stderr=err))
        codes: list[int | None] = []
        for process in started:
            try:
                codes.append(process.wait(max(0.0, until - time.monotonic())))
            except subprocess.TimeoutExpired:
                codes.append(None)
        return codes


def _start(command: list[str], variables: dict[str, str], **where: Any) -> subprocess.Popen[str]:
    paths = [str(ROOT), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | variables
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, start_new_session=True, **where
    )


@contextmanager
def _processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Give a list of processes, which are ended with their own processes at the end."""
    started: list[subprocess.Popen[str]] = []
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _keep(log: Path, label: str, lines: list[str]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write("\n".join([f"== {label}", *lines]) + "\n\n")


def run_tests(check: Check) -> None:
    """Run the tests of training on the device, the most important files first."""
    missing = lacking(TESTS_NEED)
    if missing:
        check.tests = {"missing": missing}
        return
    files = sorted(TESTS.glob("test_*.py"), key=_importance)
    limit = SHARE_OF_TESTS * check.left
    print(f"{check.left:4.0f} s left: tests, for at most {limit:.0f} s", flush=True)
    check.out.mkdir(parents=True, exist_ok=True)
    log, outcomes = check.out / "tests.log", check.store.with_name(f"{check.store.name}.tests")
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider"]
    variables = {"SOTEACHER_TEST_DEVICE": check.device, "GPU_CHECK_OUTCOMES": str(outcomes)}
    started = time.monotonic()
    with _processes() as processes, log.open("w", encoding="utf-8") as file:
        where = {"stdout": file, "stderr": subprocess.STDOUT}
        process = _start([*command, "-p", "gpu_outcomes", *map(str, files)], variables, **where)
        processes.append(process)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None  # not interrupted, but killed: training catches the signals before
    lines = outcomes.read_text(encoding="utf-8").splitlines() if outcomes.exists() else []
    done = [json.loads(line) for line in lines]
    counts = Counter(test["outcome"] for test in done)
    check.tests = {"counts": dict(sorted(counts.items())), "seconds": time.monotonic() - started}
    if code is None:
        check.left_out.append(f"tests that were not done after {limit:.0f} s")
    failed = [f"test: {test['test']}: {test['why'][:200]}" for test in done if "why" in test]
    check.wrong += failed
    if code not in (None, 0) and not failed:
        check.wrong.append(f"pytest ended with code {code}: see {log}")


def _importance(path: Path) -> tuple[int, str]:
    name = path.stem.removeprefix("test_")
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def measure_steps(check: Check, runs: list[dict[str, Any]], precision: str) -> None:
    """Measure each run in one precision, with deterministic kernels and without."""
    for run in runs:
        request = {"what": "steps", "run": run["id"], "precision": precision}
        request |= {"deterministic": [True, False], "seconds": SECONDS[check.device]}
        label = f"{run['name']}, {precision}"
        for result in chain(*check.measure(label, [request])):
            if "diverged" in result:
                check.wrong.append(f"{label}: losses are not finite: {result['diverged']}")
            check.steps.append({"name": run["name"], "precision": precision} | result)
        if precision_refused(check, precision):
            check.refused[-1] = check.refused[-1].replace(label, precision)
            return
        check.write()


def precision_refused(check: Check, precision: str) -> bool:
    """Whether the last measurement was refused, so that the other runs would be, too."""
    done = any(row["precision"] == precision for row in check.steps)
    return not done and bool(check.refused) and f", {precision}: " in check.refused[-1]


def measure_overhead(check: Check, networks: list[str]) -> None:
    """Measure the teacher methods of the study's table of step times, step by step in turn."""
    for network in networks:
        request = {"what": "overhead", "network": network, "precision": "float32"}
        request["steps"] = STEPS[check.device]
        for result in chain(*check.measure(f"overhead, {network}", [request])):
            check.overhead.append({"network": network} | result)
        check.write()


def measure_together(check: Check, run: dict[str, Any]) -> None:
    """Measure one run in several processes that share the device."""
    for processes in PROCESSES:
        with tempfile.TemporaryDirectory() as meeting:
            request = {"what": "steps", "run": run["id"], "precision": "float32"}
            request |= {"deterministic": [True], "seconds": 2 * SECONDS[check.device]}
            request |= {"meeting": meeting, "processes": processes}
            label = f"{run['name']}, {processes} process{'es' if processes > 1 else ''} at once"
            results = [*chain(*check.measure(label, [request] * processes))]
        if len(results) == processes:
            total = sum(result["images_per_second"] for result in results)
            row = {"name": run["name"], "processes": processes, "images_per_second": total}
            row["peak_mb"] = max(result["peak_mb"] for result in results)
            check.together.append(row)
        check.write()


def run(check: Check) -> None:
    """Do all sections, the most important first; a section that fails does not stop the others."""
    facts = check.measure("machine", [{"what": "machine", "precision": "float32"}])
    check.facts |= facts[0][0] if facts and facts[0] else {}
    with section(check, "tests"):
        run_tests(check)
    request = {"what": "prepared", "precision": "float32"}
    plans = check.measure("generated images", [request])
    if not (plans and plans[0]):
        check.left_out.append("all measurements of steps, which need the generated images")
        return
    [plan] = plans[0]
    with section(check, "steps in float32"):
        measure_steps(check, plan["runs"], PRECISIONS[0])
    with section(check, "overhead"):
        measure_overhead(check, plan["overhead"])
    with section(check, "several processes"):
        measure_together(check, next(run for run in plan["runs"] if run["role"] == "student"))
    for precision in PRECISIONS[1:]:
        with section(check, f"steps in {precision}"):
            measure_steps(check, plan["runs"], precision)


def lacking(modules: dict[str, str]) -> list[str]:
    """Return the packages of those modules that this Python cannot find."""
    return [package for name, package in modules.items() if importlib.util.find_spec(name) is None]


@contextmanager
def section(check: Check, name: str) -> Iterator[None]:
    """Write the report at the end of a section; an unexpected error is a line of the report."""
    try:
        yield
    except Exception as error:
        check.wrong.append(f"{name}: unexpected {error!r}")
        _keep(check.out / "errors.log", name, traceback.format_exc().splitlines())
    check.write()


def unable(device: str) -> str | None:
    """Return why the check cannot run here, in one line, or None."""
    if sys.version_info < (3, 11):  # noqa: UP036, it may be called by any Python
        return f"{sys.executable} is Python {sys.version.split()[0]}: expected 3.11 or newer"
    missing = lacking(NEEDED)
    if missing:
        return (
            f"{sys.executable} has no {', '.join(missing)}: install what is missing or, without a "
            "network, bring the folder `carried` that `make gpu-check-packages` makes (docs/gpu.md)"
        )
    if device == "cpu":
        return None
    answer = subprocess.run([sys.executable, "-c", QUESTION], capture_output=True, text=True)
    if answer.returncode:
        return f"torch cannot be imported: {answer.stderr.strip().splitlines()[-1:]}"
    version, cuda, available = answer.stdout.split()[-3:]
    if available == "True":
        return None
    return (
        f"torch {version} (CUDA {cuda}) sees no GPU: expected an NVIDIA GPU, a driver that is new "
        "enough for this CUDA, and a torch that is built for the GPU; `make gpu-check DEVICE=cpu` "
        "shows what the check does"
    )


def seconds(text: str) -> float:
    """Return a limit of time from the command line; without one, the check would not end."""
    if not SHORTEST <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected {SHORTEST:.0f} seconds or more; got {text}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the check; return 0, 1 if something is wrong, or 2 if it cannot run here."""
    parser = argparse.ArgumentParser("gpu-check", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--seconds", type=seconds, default=600, help="limit of time, 600 by default"
    )
    parser.add_argument(
        "--study",
        type=Path,
        nargs="+",
        default=[ROOT / "config/paper.yaml"],
        help="study file, then override files; its pairs are measured; by default the paper's",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "results/gpu-check",
        help=f"folder of the report: {', '.join(FILES)}",
    )
    options = parser.parse_args(arguments)
    if (reason := unable(options.device)) is not None:
        print(f"gpu-check: error: {reason}", file=sys.stderr)
        return 2
    for name in FILES:
        (options.out / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as store:
        until = time.monotonic() + options.seconds
        study = [path.absolute() for path in options.study]
        check = Check(options.device, study, options.out.absolute(), until, Path(store) / "store")
        check.facts["limit"] = options.seconds
        run(check)
        check.facts["seconds"] = options.seconds - check.left
        check.write()
    print(f"\n{page(vars(check))}\nThe report: {check.out / 'report.md'}, report.json")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # it then ends its processes, too
    sys.exit(main())
