"""What jobs import: a short job would spend most of its time on needless imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from soteacher.cli.entry_point import COMMANDS
from soteacher.training import device

JOB = """
import json, sys
from pathlib import Path
from soteacher.core.files import write_json
from soteacher.data.prepared import open_prepared, prepare
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.training.job import run_job
from soteacher.training.members import JobOptions

plan = expand(read(json.loads(sys.argv[1])))
store = Path(sys.argv[2])
write_json(store / "few.json", prepare(plan.data_spec("few"), store))
data = open_prepared(store / "few.json", store)
entries = {}
for role in ("teacher", "student"):
    for job in plan.jobs[role].values():
        how = JobOptions(store, "cpu", 1, True, 60.0)
        entries |= run_job(job.request, data, entries, how)["runs"]
print(json.dumps([[entry["status"] for entry in entries.values()], sorted(sys.modules)]))
"""
STUDY = {
    "study": "small",
    "seeds": [0],
    "device": "cpu",
    "data": {
        "few": {"source": "generated", "n_train": 20, "n_test": 10, "size": 8, "n_classes": 10}
    },
    "recipes": {"short": {"epochs": 1, "batch": 10, "lr": 0.05, "decay_at": []}},
    "pairs": {
        "wrn_10_2/wrn_10_1": {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
    },
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-3}, "consistency": {}}},
    "distillers": {"kd": {}, "sp": {}, "crd": {"negatives": 4}},
    "tables": {
        "every": {
            "kind": "accuracy",
            "teachers": ["standard", "soteacher"],
            "distillers": ["kd", "sp", "crd"],
        }
    },
}
COMPILER = ("torch._dynamo", "torch._inductor", "sympy")
LIBRARIES = ("torchvision", "sklearn", "scipy", "pandas", "matplotlib")


def test_training_imports_neither_torch_s_compiler_nor_what_reports_need(tmp_path):
    command = [sys.executable, "-c", JOB, json.dumps(STUDY), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    statuses, modules = json.loads(done.stdout)
    assert statuses == ["done"] * 8
    assert [name for name in (*COMPILER, *LIBRARIES) if name in modules] == []


def test_measuring_imports_no_large_library_but_numpy():
    code = "import json, sys, soteacher.cli.measure, soteacher.results.collect\n"
    code += "print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert "numpy" in modules
    assert [name for name in ("torch", *LIBRARIES) if name in modules] == []


def test_reports_import_nothing_that_checks_studies():
    code = (
        "import json, sys, soteacher.report.tables, soteacher.report.figures, soteacher.report.page"
    )
    code += "\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert "pandas" in modules
    assert [
        name for name in ("torch", "pydantic", "soteacher.study.specs") if name in modules
    ] == []


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_algorithms_are_as_torch_s_usual_function_sets_them(deterministic):
    before = torch.get_deterministic_debug_mode()
    try:
        torch.use_deterministic_algorithms(deterministic)
        expected = torch.get_deterministic_debug_mode()
        torch.use_deterministic_algorithms(not deterministic)
        device.set_up("cpu", 1, "float32", deterministic)
        assert torch.get_deterministic_debug_mode() == expected
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize("command", ["table", "figure", "page", "measure", "teach"])
def test_a_command_imports_no_other_command_and_not_what_checks_studies(command):
    code = (
        "import json, sys\nfrom soteacher.cli import main\n"
        f"try:\n    main([{command!r}, '--help'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: soteacher {command} ")
    modules = json.loads(done.stderr)
    assert f"soteacher.cli.{command}" in modules
    others = [f"soteacher.cli.{name}" for name in (*COMMANDS, "table", "page") if name != command]
    unneeded = ("pydantic", "numpy", "soteacher.study.specs", *LIBRARIES, *others)
    assert [name for name in unneeded if name in modules] == []
