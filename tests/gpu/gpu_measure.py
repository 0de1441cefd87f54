"""One measurement in its own process, because a CUDA error makes the rest of a process useless.

Usage: python tests/gpu/gpu_measure.py '{"what": "machine", ...}'. Each line of the output is a JSON
object: one result, or `{"refused": message}` for what this version of soteacher does not do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import gpu_roofline as roofline
import torch
from gpu_runs import OVERHEAD, plan_of

from soteacher.core.errors import UserError
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared, folder_of, prepare, stored_data
from soteacher.models import catalogue
from soteacher.store.run_folder import RunFolder
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.specs import fingerprint
from soteacher.training import device as devices
from soteacher.training.learner import Diverged, Learner
from soteacher.training.members import JobOptions, Member
from soteacher.training.setup import PassSetup
from soteacher.training.step_timing import enter_epoch, new_learner, time_steps, timed_cursors
from soteacher.training.writers import weights_writer

WARM_UP = {"cpu": 1, "cuda": 10}
"""Untimed first steps: they select kernels and create the momentum."""
ALONE = {"cpu": 1, "cuda": 5}
"""Single steps that show how long the CPU needs to start a step's kernels."""
BLOCKS = 5
"""Series of steps that are timed, each from an idle device to an idle device."""
MEETING = 120
"""Seconds that a process waits for the others that are measured with it."""


def main() -> None:
    """Carry out the request of the command line."""
    request = json.loads(sys.argv[1])
    try:
        for result in MEASUREMENTS[request["what"]](request):
            print(json.dumps(result), flush=True)
    except UserError as error:
        print(json.dumps({"refused": str(error)}), flush=True)


def machine(request: dict[str, Any]) -> Any:
    """Yield the facts about the device, the driver and the versions."""
    device = devices.set_up(request["device"], 1, "float32", True)
    facts = devices.facts(device, "float32")
    wanted = ("device", "device_type", "cpu_capability", "versions")
    found = {key: facts[key] for key in wanted} | {"cores": os.cpu_count(), "soteacher": VERSION}
    found["when"] = time.strftime("%Y-%m-%d %H:%M %z")
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["compute_capability"] = f"{properties.major}.{properties.minor}"
        found["memory_gb"] = round(properties.total_memory / 1e9, 1)
        found["driver"] = _driver()
        found["visible"] = torch.cuda.device_count()
        if (peaks := roofline.peaks_of(found["device"])) is not None:
            found["peaks"] = vars(peaks)
    yield found


def _driver() -> str | None:
    """Return the version of the driver by nvidia-smi; None where there is no nvidia-smi."""
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()[0] if answer.stdout else None


def prepared(request: dict[str, Any]) -> Any:
    """Write the generated images to the check's store; yield the runs of the pairs."""
    plan = _plan(request)
    for name in plan.study.data:
        prepare(plan.data_spec(name), Path(request["store"]))
    overhead = plan.timed.get(OVERHEAD, {"networks": []})
    yield {
        "runs": [
            {"id": run.id, "role": run.role, "name": _name(run)}
            for run in sorted(plan.runs.values(), key=lambda run: run.role, reverse=True)
        ],
        "overhead": [network["network"] for network in overhead["networks"]],
    }


def steps(request: dict[str, Any]) -> Any:
    """Yield the times of a run's steps, once for each of the `deterministic` values.

    A step is the work of the training loop: the batch, the teacher's prediction of it, and the
    learner's step. With `meeting`, the measurement begins when all its processes have warmed up.
    """
    plan = _plan(request)
    run = plan.runs[request["run"]]
    data = _data(plan, run.data, request)
    for deterministic in request["deterministic"]:
        device = devices.set_up(request["device"], 1, run.spec.precision, deterministic)
        devices.reset_peak_memory(device)
        work = _Pass(run, data, device, Path(request["store"]))
        if "meeting" in request:
            _meet(Path(request["meeting"]), request["processes"])
        result = {"deterministic": deterministic, "batch": run.spec.recipe.batch}
        result |= work.timed(request["seconds"])
        flop, n_bytes = roofline.work_of(run.spec, data.outline)
        result |= {"gflop": flop / 1e9, "gb": n_bytes / 1e9}
        peaks = roofline.peaks_of(torch.cuda.get_device_name()) if device == "cuda" else None
        if peaks is not None:
            seconds, bound = roofline.shortest(peaks, run.spec.precision, flop, n_bytes)
            result |= {"roofline_ms": seconds * 1e3, "bound": bound}
            result["share"] = seconds * 1e3 / result["ms"]
        yield result


class _Pass:
    """A run's part of the training loop: `training.loop.run_pass` without saving and testing."""

    def __init__(self, run: Run, data: Prepared, device: str, store: Path) -> None:
        member = _member(run, data, store)
        self._setup = PassSetup([member], data, device, None)
        self._learner: Learner = new_learner(self._setup, member)
        self._device = device
        self._cursors = timed_cursors(run.spec.recipe.epochs, self._setup.stream.steps)
        self._series(WARM_UP[device])

    def _series(self, n: int) -> tuple[float, float]:
        """Do n steps; return the seconds until they were started, and until they were done."""
        teacher = self._setup.teacher
        started = time.perf_counter()
        for cursor in islice(self._cursors, n):
            enter_epoch(self._learner, cursor)
            batch = self._setup.stream.batch(cursor)
            with torch.no_grad():
                output = None if teacher is None else teacher(batch)
            self._learner.step(batch, output)
        begun = time.perf_counter() - started
        devices.synchronise(self._device)
        return begun, time.perf_counter() - started

    def timed(self, seconds: float) -> dict[str, Any]:
        """Return the times in ms: median, quartiles, and of the CPU's part of a lone step."""
        alone = [self._series(1) for _ in range(ALONE[self._device])]
        guess = statistics.median(done for _, done in alone)
        n = max(1, round(seconds / BLOCKS / guess))
        blocks = []
        until = time.perf_counter() + seconds
        while len(blocks) < BLOCKS or time.perf_counter() < until:
            blocks.append(self._series(n)[1] / n * 1e3)
        low, median, high = statistics.quantiles(blocks, n=4)
        result = {"ms": median, "ms_low": low, "ms_high": high, "steps": n * len(blocks)}
        result["images_per_second"] = self._setup.stream.batch_size / statistics.mean(blocks) * 1e3
        result["host_ms"] = statistics.median(begun for begun, _ in alone) * 1e3
        result["peak_mb"] = devices.peak_memory_mb(self._device)
        try:
            self._learner.check_finite(self._setup.stream.steps)
        except Diverged as divergence:
            result["diverged"] = divergence.where["terms"]
        return result


def overhead(request: dict[str, Any]) -> Any:
    """Yield the step times of one network's teacher methods, by the code of the study's table."""
    plan = _plan(request)
    timing = plan.timed[OVERHEAD] | {"steps": request["steps"]}
    timing["networks"] = [n for n in timing["networks"] if n["network"] == request["network"]]
    name = timing["networks"][0]["data"]
    options = JobOptions(Path(request["store"]), request["device"], 1, True, 60.0, allow_cpu=True)
    rows, methods = time_steps(timing, {name: _data(plan, name, request)}, options)
    of_step: dict[int, dict[str, float]] = {}
    for row in rows:
        of_step.setdefault(row["step"], {})[row["method"]] = row["seconds"]
    first = methods[0]["method"]
    for facts in methods:
        method = facts["method"]
        times = [seconds[method] for seconds in of_step.values()]
        more = [seconds[method] / seconds[first] - 1 for seconds in of_step.values()]
        yield {
            "method": method,
            "ms": statistics.median(times) * 1e3,
            "more": statistics.median(more),
            "peak_mb": facts["peak_mb"],
        }


def _plan(request: dict[str, Any]) -> Plan:
    return plan_of([*map(Path, request["study"])], request["device"], request["precision"])


def _data(plan: Plan, name: str, request: dict[str, Any]) -> Prepared:
    found = stored_data(folder_of(plan.data_spec(name), Path(request["store"])))
    if found is None:
        raise UserError("the generated images are missing, because their preparation failed")
    return found


def _member(run: Run, data: Prepared, store: Path) -> Member:
    folder = RunFolder(store, fingerprint(run.spec, data.sha256), run.id)
    if run.teacher is None:
        return Member(run.id, run.spec, folder)
    return Member(run.id, run.spec, folder, _Untrained(run.teacher, data, store))


class _Untrained(RunFolder):
    """The folder of a teacher that is not trained: all its checkpoints are initial weights."""

    def __init__(self, run: Run, data: Prepared, store: Path) -> None:
        super().__init__(store, fingerprint(run.spec, data.sha256), run.id)
        self._network, self._n_classes = run.spec.network.name, data.n_classes

    def artifact(self, name: str) -> Path:
        """Write weights under this name; return the path of the file."""
        self.write(name, weights_writer(catalogue.build(self._network, self._n_classes)))
        return self.path / name


def _name(run: Run) -> str:
    if run.role == "teacher":
        return f"{run.spec.network.name}, teacher"
    assert run.spec.teacher is not None
    [method] = run.spec.terms
    return f"{run.spec.network.name}, {method} from {run.spec.teacher.network.name}"


def _meet(folder: Path, processes: int) -> None:
    """Wait until all processes of a measurement have called this."""
    (folder / str(os.getpid())).touch()
    late = time.monotonic() + MEETING
    while len([*folder.iterdir()]) < processes:
        if time.monotonic() > late:
            raise TimeoutError(f"one of {processes} processes did not begin in {MEETING} s")
        time.sleep(0.01)


MEASUREMENTS = {"machine": machine, "prepared": prepared, "steps": steps, "overhead": overhead}

if __name__ == "__main__":
    main()
