"""Methods from files of the user's, through Snakemake: trained, moved, changed, and gone."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import TINY, Workplace

NEAR = '''"""A layer that copies the teacher's pooled features is trained first, then matched."""

from __future__ import annotations

from soteacher.methods import FeatureDistiller, Preparation, Table5, Weight, register, torch


@register
class Near(FeatureDistiller):
    """Mean squared error of pooled features, the teacher's through a layer trained first."""

    weight: Weight = Table5(standard=2.0, soteacher=1.0)

    def preparation(self, context, network, modules):
        [size] = context.teacher_features["pooled"]
        layer = torch.nn.Linear(size, size)

        def loss(batch, output, teacher):
            wanted = teacher.features["pooled"]
            return {"copy": (layer(wanted) - wanted).square().mean()}

        return Preparation(1, lambda epoch: 0.01, {"layer": layer}, loss, student=False)

    def feature_loss(self, batch, student, teacher):
        wanted = self._prepared["layer"](teacher["pooled"])
        return (student["pooled"] - wanted).square().mean()
'''
FLAT = '''"""Flat predictions."""

from soteacher.methods import Regularizer, register


@register
class Flat(Regularizer):
    """The mean square of the logits."""

    def losses(self, batch, output, teacher, network):
        return {"flat": 0.01 * output.logits.square().mean()}
'''
FEW = {"source": "generated", "n_train": 48, "n_test": 16, "size": 8, "n_classes": 4}
STUDY = copy.deepcopy(TINY) | {
    "methods": ["mine/near.py", "mine/flat.py"],
    "data": {"digits": FEW},
    "recipes": {"short": {"epochs": 2, "batch": 24, "lr": 0.05, "decay_at": [1]}},
    "teachers": {"standard": {}, "flat": {"flat": {}}},
    "distillers": {"near": {}},
    "tables": {
        "table1": {"kind": "accuracy", "teachers": ["flat"], "distillers": ["near"]},
        "overhead": {"kind": "overhead", "teachers": ["standard", "flat"], "steps": 2},
    },
}
TEACHER = "digits/wrn_10_1/flat/seed0"
STUDENT = f"{TEACHER}/wrn_10_1/near"


class Apart(Workplace):
    """Each command has a process of its own, as a process keeps the method files it has loaded."""

    def _give(self, arguments: tuple[str, ...], code: int) -> tuple[str, str]:
        command = [sys.executable, "-m", "soteacher", *arguments]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert code != 2 or "Traceback" not in done.stderr
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Workplace:
    """The study after one run of everything: not to be changed."""
    place = Apart(tmp_path_factory.mktemp("done"))
    (place.path / "mine").mkdir()
    (place.path / "mine/near.py").write_text(NEAR)
    (place.path / "mine/flat.py").write_text(FLAT)
    place.write(STUDY)
    place.snakemake()
    return place


@pytest.fixture
def place(done, tmp_path) -> Workplace:
    shutil.copytree(done.path, tmp_path / "copy", symlinks=True)
    return Apart(tmp_path / "copy")


def ids(place):
    """How many finished runs of each id the store has."""
    found = [name.split()[0] for name in place.trained()]
    return {name: found.count(name) for name in found}


def test_file_methods_are_trained_timed_and_shown(done):
    assert ids(done) == {TEACHER: 1, f"{TEACHER}/preparation/near": 1, STUDENT: 1}
    records = (json.loads(p.read_text()) for p in done.path.glob("results/store/runs/*/run.json"))
    terms = {record["id"]: record["spec"]["terms"] for record in records}
    assert all("code_sha256" in term for named in terms.values() for term in named.values())
    table = (done.path / "results/tiny/tables/table1.md").read_text()
    assert "distiller near (not in the paper)" in table
    assert (done.path / "results/tiny/tables/overhead.md").is_file()
    said = done.soteacher("verify", "results/tiny", "--study", "study.yaml")
    assert "all results agree with the records" in said


def test_a_file_that_moved_reruns_nothing(place):
    (place.path / "mine").rename(place.path / "else where")
    place.write(STUDY | {"methods": ["else where/near.py", "else where/flat.py"]})
    assert "Nothing to be done" in place.snakemake("--dry-run").stdout
    # and a job that does run is told the place, in quotes
    place.snakemake("--until", "distill", "--forcerun", "distill")


def test_a_changed_file_trains_the_runs_that_use_it_again_and_no_others(place):
    (place.path / "mine/near.py").write_text(NEAR + "\n# another content\n")
    place.snakemake()
    assert ids(place) == {TEACHER: 1, f"{TEACHER}/preparation/near": 2, STUDENT: 2}


def test_a_job_refuses_a_file_that_changed_after_the_plan(place):
    shutil.rmtree(place.path / "results/store/runs")
    [request] = place.path.glob("results/tiny/asked/teachers-*.json")
    place.snakemake("--until", "prepare")
    (place.path / "mine/flat.py").write_text(FLAT + "\n# another content\n")
    files = ("--runs", str(request), "--data", "results/tiny/data/digits.json")
    job = ("teach", *files, "--store", "results/store", "--links", "links", "--out", "out.json")
    said = place.soteacher(*job, "--methods", "mine/flat.py", code=2)
    assert "mine/flat.py now has sha256" in said and "restore the file" in said
    said = place.soteacher(*job, code=2)
    assert "list the file under `methods` in the study" in said


def test_the_store_is_listed_pruned_and_forgotten_without_the_files(place):
    shutil.rmtree(place.path / "mine")
    shutil.rmtree(place.path / "results/tiny")  # nothing links to the runs
    other = STUDY | {"study": "other", "methods": [], "teachers": {"standard": {}}}
    table = {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd"]}
    other |= {"distillers": {"kd": {}}, "tables": {"table1": table}}
    (place.path / "other.yaml").write_text(yaml.safe_dump(other))
    place.soteacher("store", "list")
    before = place.trained()
    printed = place.printed("store", "prune", "other.yaml", "--yes")
    lines = [line for line in printed.splitlines() if "is not available" in line]
    assert len(lines) == 3 and place.trained() == before
    assert all(re.search(r"soteacher forget [0-9a-f]{12} --store", line) for line in lines)
    place.soteacher("forget", f"{TEACHER}/preparation/near", "--yes")
    assert ids(place) == {TEACHER: 1}  # the student needs its preparation, and goes with it


def test_pruning_with_the_study_takes_the_runs_of_an_earlier_content(place):
    (place.path / "mine/near.py").write_text(NEAR + "\n# another content\n")
    shutil.rmtree(place.path / "results/tiny/students")
    place.soteacher("store", "prune", "study.yaml", "--yes")
    assert ids(place) == {TEACHER: 1}


def test_what_is_wrong_with_a_file_is_one_line_of_snakemake_s(place):
    (place.path / "mine/near.py").write_text("x = (")
    said = place.snakemake("--dry-run", code=2).stderr
    assert "config.methods: mine/near.py, line 1: '(' was never closed; correct the file" in said
    assert "Traceback" not in said
