"""`make gpu-check`, on a CPU: the code that measures a GPU, with a small study."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from pathlib import Path

import gpu_check
import pytest
import yaml
from gpu_check import Check
from gpu_page import page
from gpu_roofline import Peaks, peaks_of, shortest, work_of
from gpu_runs import PAIRS, plan_of

ROOT = Path(__file__).parents[2]
SMALL = {
    "study": "small",
    "seeds": [0, 1],
    "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1}}},
    "recipes": {"short": {"epochs": 2, "batch": 16, "lr": 0.05, "decay_at": [1]}},
    "pairs": {
        "wrn_10_1/wrn_10_1": {
            "data": "digits",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
    },
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}}},
    "distillers": {"kd": {}, "at": {}},
    "tables": {
        "cost": {
            "kind": "overhead",
            "networks": ["wrn_10_1"],
            "teachers": ["standard", "soteacher"],
            "steps": 9,
        }
    },
}


@pytest.fixture
def small(tmp_path):
    """The file of a small study."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def check(tmp_path, small):
    """A check with time enough, of which nothing is measured yet."""
    return Check("cpu", [small], tmp_path / "out", time.monotonic() + 60, tmp_path / "store")


@pytest.fixture
def tests(tmp_path, monkeypatch):
    """A function (name, code) that adds a file to the tests that a check runs."""
    folder = tmp_path / "tests"
    folder.mkdir()
    monkeypatch.setattr(gpu_check, "TESTS", folder)
    return lambda name, code: (folder / f"test_{name}.py").write_text(code, encoding="utf-8")


@pytest.fixture
def measuring(tmp_path, monkeypatch):
    """A function (code) that replaces the program of a measurement."""
    program = tmp_path / "program.py"
    monkeypatch.setattr(gpu_check, "MEASURE", program)
    return lambda code: program.write_text(code, encoding="utf-8")


def test_the_papers_networks_are_measured_at_its_sizes():
    plan = plan_of([ROOT / "config/paper.yaml"], "cuda", "tf32")
    found = {}
    for run in plan.runs.values():
        outline = plan.study.data[run.data].source.outline()
        found[run.spec.network.name, *run.spec.terms] = (
            *(run.spec.recipe.batch, outline.height, outline.n_classes, run.spec.precision),
        )
    cifar, tiny = (64, 32, 100, "tf32"), (128, 64, 200, "tf32")
    assert found == {
        ("wrn_40_2",): cifar,
        ("resnet32x4",): cifar,
        ("resnet34",): tiny,
        ("wrn_40_1", "kd"): cifar,
        ("wrn_16_2", "kd"): cifar,
        ("shufflenet_v2", "kd"): cifar,
        ("resnet18", "kd"): tiny,
    }
    timed = plan.timed["overhead"]["networks"]
    assert [network["network"] for network in timed] == ["wrn_40_2", "resnet32x4", "resnet34"]


@pytest.mark.slow
def test_a_whole_check_measures_everything(small, tests, tmp_path, monkeypatch, capsys):
    tests("device", "import os\ndef test_it(): assert os.environ['SOTEACHER_TEST_DEVICE'] == 'cpu'")
    monkeypatch.setattr(gpu_check, "PROCESSES", (1, 2))
    monkeypatch.setattr(gpu_check, "LONGEST", 500.0)
    out = tmp_path / "out"
    given = ["--device", "cpu", "--seconds", "3000", "--study", str(small), "--out", str(out)]
    assert gpu_check.main(given) == 0, capsys.readouterr()
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["wrong"], report["left_out"]) == ([], [])
    assert report["tests"]["counts"] == {"passed": 1}
    measured = {(r["name"], r["precision"], r["deterministic"]) for r in report["steps"]}
    runs = ("wrn_10_1, teacher", "wrn_10_1, kd from wrn_10_1")
    refused = {line.partition(":")[0] for line in report["refused"]}
    precisions = [name for name in gpu_check.PRECISIONS if name not in refused]
    assert precisions[:2] == ["float32", "tf32"]
    assert measured == {(r, p, d) for r in runs for p in precisions for d in (True, False)}
    for row in report["steps"]:
        assert row["host_ms"] > 0 and 0 < row["ms_low"] <= row["ms"] <= row["ms_high"]
        assert row["batch"] == 2 and row["images_per_second"] > 0 and row["peak_mb"] > 100
    assert [row["method"] for row in report["overhead"]] == ["standard", "soteacher"]
    assert [row["processes"] for row in report["together"]] == [1, 2]
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text.startswith("**This report is not of a GPU.**")
    assert "\n\n**Nothing failed**.\n\n" in text
    assert text in capsys.readouterr().out


def test_a_failed_measurement_is_a_line_and_keeps_what_was_measured(check, measuring):
    measuring("import sys\nprint('{\"ms\": 1}', flush=True)\nsys.exit('CUDA error: sticky')")
    assert check.measure("step", [{}, {}]) == [[{"ms": 1}], [{"ms": 1}]]
    assert check.wrong == ["step: CUDA error: sticky"] * 2
    measuring('print(\'{"refused": "no such precision"}\')')
    assert check.measure("other", [{}]) == [[]]
    assert len(check.wrong) == 2 and check.refused == ["other: no such precision"]


def test_a_measurement_ends_when_the_time_is_up_with_its_processes(
    check, measuring, tmp_path, monkeypatch
):
    alive = tmp_path / "alive"
    late = f"import time, pathlib; time.sleep(6); pathlib.Path({str(alive)!r}).touch()"
    start = f"subprocess.Popen([sys.executable, '-c', {late!r}])"
    measuring(f"import subprocess, sys, time\n{start}\ntime.sleep(60)")
    check.until = time.monotonic() + 1
    assert check.measure("late", [{}]) == [] and check.left_out == ["late"]
    monkeypatch.setattr(gpu_check, "SHORTEST", 0.0)
    check.until = time.monotonic() + 3
    assert check.measure("long", [{}]) == [[]]
    assert check.left_out[1:] == ["long, ended when the time was up"] and check.wrong == []
    time.sleep(6)
    assert not alive.exists()


def test_a_section_that_fails_does_not_stop_the_others(check, tests, monkeypatch):
    tests("none", "def test_it(): pass")

    def measure(label, requests):
        if "overhead" in label:
            raise RuntimeError("broken")
        asked.append(label)
        plan = {"runs": [{"id": "a", "role": "student", "name": "A"}], "overhead": ["net"]}
        return [[plan] if label == "generated images" else []] * len(requests)

    asked: list[str] = []
    monkeypatch.setattr(check, "measure", measure)
    gpu_check.run(check)
    assert check.wrong == ["overhead: unexpected RuntimeError('broken')"]
    assert "A, bfloat16" in asked and "A, 4 processes at once" in asked
    assert "RuntimeError: broken" in (check.out / "errors.log").read_text(encoding="utf-8")


def test_a_failed_test_is_said_first(check, tests):
    tests("good", "def test_good(): pass\ndef test_also(): pass")
    tests("bad", "def test_bad(): assert 1 == 2")
    gpu_check.run_tests(check)
    assert check.tests["counts"] == {"failed": 1, "passed": 2}
    [failure] = check.wrong
    assert "test_bad.py::test_bad: " in failure
    check.device = "cuda"
    assert page(vars(check)).startswith("**Something is wrong: 1 failures.**")


def test_tests_that_take_too_long_are_ended_and_said(check, tests):
    """A failure counts also if pytest is killed, and a test that is ended is no failure."""
    code = """
        import signal, time

        def test_a(): pass

        def test_b(): 1 / 0

        def test_c():
            caught = []
            signal.signal(signal.SIGINT, lambda *_: caught.append(True))  # as in training
            while not caught:
                time.sleep(0.1)
            raise AssertionError
    """
    tests("loop", textwrap.dedent(code))
    check.until = time.monotonic() + 60
    gpu_check.run_tests(check)
    assert check.tests["counts"] == {"passed": 1, "failed": 1}
    [line] = check.left_out
    assert line.startswith("tests that were not done")
    [failure] = check.wrong
    assert "test_loop.py::test_b: ZeroDivisionError" in failure
    assert "ZeroDivisionError" in (check.out / "tests.log").read_text(encoding="utf-8")


def test_tests_are_not_run_without_their_packages(check, monkeypatch):
    monkeypatch.setattr(gpu_check, "TESTS_NEED", {"no_such_module": "pytest"})
    gpu_check.run_tests(check)
    check.device = "cuda"
    assert page(vars(check)).startswith("**The tests were not run.** Not run: missing pytest.")


def test_what_is_missing_is_named_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "NEEDED", {"json": "json", "no_such": "pydantic"})
    assert gpu_check.main(["--device", "cpu"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{sys.executable} has no pydantic: " in line and "make gpu-check-packages" in line


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "9"])
def test_a_time_without_end_or_too_short_is_refused(text, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(["--device", "cpu", f"--seconds={text}"])
    assert ended.value.code == 2
    assert f"expected 10 seconds or more; got {text}" in capsys.readouterr().err


def test_no_gpu_is_said_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_check.main(["--out", str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu-check: error: torch ") and "sees no GPU" in line
    assert not (tmp_path / "out").exists()


def test_the_roofline_is_the_larger_of_two_times():
    peaks = Peaks(float32=50, tf32=400, bfloat16=800, memory=2)
    assert shortest(peaks, "float32", 1e12, 2e10) == (pytest.approx(0.02), "arithmetic")
    assert shortest(peaks, "tf32", 1e12, 2e10) == (pytest.approx(0.01), "memory")


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("NVIDIA H100 80GB HBM3", 3.35),
        ("NVIDIA H100 PCIe", 2.0),
        ("NVIDIA H100 NVL", 3.9),
        ("NVIDIA H200", 4.8),
        ("NVIDIA A100-SXM4-40GB", 1.555),
        ("NVIDIA A100-SXM4-80GB", 2.04),
        ("NVIDIA A100 80GB PCIe", 1.94),
        ("NVIDIA GeForce RTX 4090", 1.01),
        ("NVIDIA L40S", 0.864),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_peaks_belong_to_the_name_of_a_gpu(name, memory):
    peaks = peaks_of(name)
    assert (peaks and peaks.memory) == memory


def test_a_student_s_step_includes_its_teacher_s_prediction(small):
    plan = plan_of([small], "cpu", "float32")
    outline = plan.study.data["digits"].source.outline()
    work = {run.role: work_of(run.spec, outline) for run in plan.runs_of(PAIRS)}
    (flop, n_bytes), (own_flop, own_bytes) = work["student"], work["teacher"]
    assert flop == pytest.approx(own_flop * 4 / 3)
    assert n_bytes == pytest.approx(own_bytes * (17.3 + 7.1) / 17.3)
