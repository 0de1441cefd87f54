"""Oracles, and students alone, in the store: their artifacts, their students, their measures."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from small_study import STUDY

from soteacher.core import files
from soteacher.core.cursor import Cursor, Stage
from soteacher.data.prepared import Prepared, prepare, stored_data
from soteacher.distillers.kd import KD
from soteacher.results.collect import measure
from soteacher.store.prune import stored
from soteacher.study.expand import expand
from soteacher.study.load import read

KNOWN = {
    "few": {
        "source": "few_digits",
        "augment": {"rotation": 10, "crop_padding": 1, "flip": 0.5},
        "true_labels": {"confusion": 0.4, "split": [0.6, 0.4]},
    }
}
TEACHERS = {"standard": {}, "oracle": {"oracle": True}}
PURE = {"pure": {"method": "kd", "ce": 0.0, "kd": 1.0}, "kd": {}}
ORACLE = "few/true_labels/oracle/seed0"
TABLE = {"teachers": [*TEACHERS], "distillers": [*PURE], "alone": True}
BASELINES = STUDY | {
    "data": KNOWN,
    "teachers": TEACHERS,
    "distillers": PURE,
    "tables": {
        "table1": {"kind": "accuracy", **TABLE},
        "table6": {"kind": "distillers", **TABLE},
        "truth": {"kind": "truth_distance", **TABLE},
        "table3": {"kind": "calibration", "teachers": [*TEACHERS]},
    },
}


@pytest.fixture
def known(lab):
    """The lab with data of known distributions, and the plan of the study above."""
    plan = expand(read(BASELINES))
    spec = plan.data_spec("few")
    prepare(spec, lab.store)
    [folder] = lab.store.glob("data/*")
    lab.data = stored_data(folder)
    return lab, plan


def by_role(plan):
    runs = plan.runs.values()
    return [run for run in runs if not run.teacher], [run for run in runs if run.teacher]


def expected_logits(data: Prepared, split: str) -> np.ndarray:
    """log p*, image by image, in float64; -inf where p* is 0. `confusion` and `split` as above."""
    neighbours = data.manifest["look_alikes"]
    classes = np.load(data.folder / f"{split}_truth.npy").argmax(axis=1)
    rows = np.zeros((len(classes), 10))
    for row, own in zip(rows, classes, strict=True):
        first, second = neighbours[own]
        row[own], row[first], row[second] = 0.6, 0.4 * 0.6, 0.4 * 0.4
    with np.errstate(divide="ignore"):
        return np.log(rows)


def test_the_logits_of_an_oracle_are_the_logarithms_of_the_true_distributions(known):
    lab, plan = known
    lab.run([plan.runs[ORACLE]])
    folder = lab.folder(plan.runs[ORACLE])
    for split, n in (("train", 64), ("test", 50)):
        logits = np.load(folder.artifact(f"{split}_logits.npy"))
        exact = expected_logits(lab.data, split)
        assert logits.shape == (n, 10)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
        possible = np.isfinite(exact)
        assert possible.sum() == 3 * n
        np.testing.assert_allclose(logits[possible], exact[possible], rtol=1e-6)
        for temperature in (1, 4, 96):  # of the impossible classes nothing is left
            powers = np.exp(logits / np.float32(temperature))
            assert (powers[~possible] == 0).all()


def test_an_oracle_is_finished_without_torch_and_without_an_attempt(known):
    """In a process of its own: this one has torch."""
    lab, plan = known
    asked = {ORACLE: {"spec": plan.runs[ORACLE].spec.to_json()}}
    code = f"""
import json, sys
from pathlib import Path
from soteacher.data.prepared import stored_data
from soteacher.training.job import run_job
from soteacher.training.members import JobOptions
how = JobOptions(Path({str(lab.store)!r}), "auto", 1, True, 60.0)
data = stored_data(Path({str(lab.data.folder)!r}))
[entry] = run_job(json.loads(sys.argv[1]), data, {{}}, how)["runs"].values()
print(entry["status"], "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "done False\n"
    assert lab.folder(plan.runs[ORACLE]).record()["attempts"] == []
    assert lab.folder(plan.runs[ORACLE]).finished()


def test_each_image_has_its_own_logits_of_the_oracle_in_every_epoch(known, monkeypatch):
    """Also a cropped, flipped and rotated image."""
    lab, plan = known
    seen = []
    losses = KD.losses

    def noted(term, batch, output, teacher, network):
        seen.append((batch.indices.cpu().numpy(), teacher.logits.cpu().numpy(), teacher.features))
        return losses(term, batch, output, teacher, network)

    monkeypatch.setattr(KD, "losses", noted)
    lab.run([plan.runs[ORACLE]])
    lab.run([plan.runs[f"{ORACLE}/wrn_10_1/pure"]])
    exact = np.maximum(expected_logits(lab.data, "train"), -1e4)
    assert len(seen) == 3 * 2  # epochs, steps
    for indices, logits, features in seen:
        np.testing.assert_allclose(logits, exact[indices], rtol=1e-6)
        assert features == {}
    for first in (0, 2, 4):
        indices = np.concatenate([seen[first][0], seen[first + 1][0]])
        assert sorted(indices) == [*range(64)]


def test_the_first_loss_of_a_student_of_the_oracle_is_the_divergence_from_p_star(
    known, monkeypatch
):
    """T^2 KL(softmax(log p* / T), softmax(s / T)), in float64, of the same logits s."""
    lab, plan = known
    seen = []
    losses = KD.losses

    def noted(term, batch, output, teacher, network):
        named = losses(term, batch, output, teacher, network)
        logits = output.logits.detach().double().cpu().numpy()
        seen.append((batch.indices.cpu().numpy(), logits, {k: v.item() for k, v in named.items()}))
        return named

    monkeypatch.setattr(KD, "losses", noted)
    lab.run([plan.runs[ORACLE]])
    lab.run([plan.runs[f"{ORACLE}/wrn_10_1/pure"]])
    indices, student, named = seen[0]
    truth = np.exp(expected_logits(lab.data, "train"))[indices]
    softened = truth**0.25 / (truth**0.25).sum(axis=1, keepdims=True)
    logs = student / 4 - np.log(np.exp(student / 4).sum(axis=1, keepdims=True))
    at = softened > 0
    divergence = np.where(at, softened * (np.log(np.where(at, softened, 1)) - logs), 0)
    assert named["kd"] == pytest.approx(16 * divergence.sum(axis=1).mean(), rel=1e-5)
    assert named["ce"] == 0


def test_a_killed_student_of_the_oracle_resumes_to_the_same_bits(known, kill):
    lab, plan = known
    whole = lab.copy()
    oracle, student = plan.runs[ORACLE], plan.runs[f"{ORACLE}/wrn_10_1/kd"]
    for one in (lab, whole):
        one.run([oracle])
    expected = whole.run([student])[student.id]["artifacts"]
    with kill(student.id, Cursor(Stage.MAIN, 1, 0)):
        lab.run([student], save_every=0)
    assert not lab.folder(student).finished()
    found = lab.run([student])[student.id]["artifacts"]
    assert found == expected


def test_a_student_alone_has_the_bits_of_a_standard_teacher_of_its_network(known):
    lab, plan = known
    pair = BASELINES["pairs"]["wrn_10_2/wrn_10_1"]
    swapped = BASELINES | {"pairs": {"wrn_10_1/wrn_10_2": pair}}
    teacher = expand(read(swapped)).runs["few/wrn_10_1/standard/seed0"]
    alone = plan.runs["few/wrn_10_1/alone/seed0"]
    entry = lab.run([alone])[alone.id]
    assert lab.run([teacher])[teacher.id]["fingerprint"] == entry["fingerprint"]
    assert len(lab.folder(alone).attempts()) == 1


def test_all_are_measured_and_the_oracle_is_perfect(known):
    lab, plan = known
    teachers, students = by_role(plan)
    entries = lab.run(teachers) | lab.run(students)
    measured = measure(entries, lab.data, lab.store)
    rows = {row["run"]: row for row in measured.runs}
    assert rows.keys() == plan.runs.keys()
    oracle = rows[ORACLE]
    assert oracle["status"] == "done"
    assert oracle["top1"] == oracle["top5"] == 1
    assert oracle["test_distance"] == pytest.approx(0, abs=1e-6)
    assert oracle["train_distance_l1"] == pytest.approx(0, abs=1e-6)
    assert oracle["best_top1"] == "" and oracle["device"] == ""
    assert ORACLE not in {row["run"] for row in measured.epochs}
    labels = np.load(lab.data.folder / "test_labels.npy")
    exact = expected_logits(lab.data, "test")
    own = exact[np.arange(len(labels)), labels]
    assert oracle["nll"] == pytest.approx(-own.mean(), rel=1e-5)
    numbers = [v for row in measured.runs for v in row.values() if isinstance(v, float)]
    assert len(numbers) > 50
    assert np.isfinite(numbers).all()
    for distiller in PURE:
        student = rows[f"{ORACLE}/wrn_10_1/{distiller}"]
        assert student["agreement"] == student["top1"]
    assert rows["few/wrn_10_1/alone/seed0"]["agreement"] == ""


def test_the_commands_know_oracles_and_students_alone(desk, monkeypatch):
    """plan, status, tables, store: before, while and after the runs are trained."""
    study = BASELINES | {"study": "known", "store": str(desk.lab.store)}
    (desk.path / "known.yaml").write_text(yaml.safe_dump(study))
    plan = expand(read(study))
    before = desk.say("plan", "known.yaml")
    assert "student wrn_10_1" in before and "true_labels" not in before
    path = desk.path / "results/known/data/few.json"
    files.write_json(path, prepare(plan.data_spec("few"), desk.lab.store))
    [folder] = desk.lab.store.glob("data/*")
    desk.lab.data = stored_data(folder)
    teachers, students = by_role(plan)
    assert "teachers (3): 3 waiting" in desk.say("status", "known.yaml")
    desk.lab.run(teachers)
    told = json.loads(desk.say("plan", "known.yaml", "--json"))
    assert told["all"]["in_store"] == 3
    assert {rate["network"] for rate in told["rates"]} == {"wrn_10_2", "wrn_10_1"}
    desk.lab.run(students)
    assert json.loads(desk.say("plan", "known.yaml", "--json"))["to_train"]["seconds"] == 0
    tables = desk.say("tables", "known.yaml")
    lines = {line.split("|")[1].strip(): line for line in tables.splitlines() if "|" in line}
    assert "Student alone" in lines and "–" in tables
    assert {run.id for run in stored(desk.lab.store)} == plan.runs.keys()
    assert "teachers (3): 3 done\nstudents (4): 4 done" in desk.say("status", "known.yaml")
    assert desk.say("store", "prune", "known.yaml") == "runs: 0, 0 B\n"
    needed = {"table1": BASELINES["tables"]["table3"] | {"teachers": ["standard"]}}
    (desk.path / "less.yaml").write_text(yaml.safe_dump(study | {"tables": needed}))
    desk.say("store", "prune", "less.yaml", "--yes")
    assert {run.id for run in stored(desk.lab.store)} == {"few/wrn_10_2/standard/seed0"}


def test_a_lost_oracle_is_made_again_with_the_same_bits(known):
    lab, plan = known
    first = lab.run([plan.runs[ORACLE]])[ORACLE]
    (lab.folder(plan.runs[ORACLE]).path / "train_logits.npy").unlink()
    assert lab.run([plan.runs[ORACLE]])[ORACLE] == first
