"""What `soteacher status` says of runs in every state, each brought about for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from soteacher.cli import status as status_command
from soteacher.cli.format import duration
from soteacher.core import files
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.sealed import write_sealed
from soteacher.data.prepared import ARRAYS, Prepared, folder_of, prepare
from soteacher.store import status
from soteacher.store.run_folder import RunFolder
from soteacher.store.status import State, seconds_left, survey
from soteacher.store.study_data import prepared_of
from soteacher.study.expand import expand
from soteacher.study.load import load, read
from soteacher.study.requests import Request
from soteacher.study.specs import fingerprint
from soteacher.training.learner import Learner

FRAGILE = '''
"""Distillation that fails where there is trouble."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.registry import register

trouble = ""


@register
class Fragile(Distiller):
    """The common losses, or an exception."""

    def build(self, context):
        if trouble == "build":
            raise RuntimeError("there is trouble\\nin two lines")
        return {}

    def method_losses(self, batch, output, teacher, network):
        if trouble == "step" and (batch.cursor.epoch, batch.cursor.step) == (1, 1):
            raise RuntimeError("there is trouble\\nin two lines")
        return {}
'''

WARMED = '''
"""A first stage of two epochs: of the student, or of the teacher alone."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.terms import Preparation


@register
class Warmed(Distiller):
    """Fits the student, or a linear layer on the teacher's features, to nothing much."""

    student: bool = True
    diverges: bool = False
    """In the second step of an epoch."""

    def preparation(self, context, network, modules):
        if self.student and network is None:
            return None
        layer = torch.nn.Linear(*context.teacher_features["pooled"], 1)
        trained = {"network": network} if self.student else {"layer": layer}

        def loss(batch, output, teacher):
            scale = float("inf") if self.diverges and batch.cursor.step == 1 else 1.0
            made = output.logits if self.student else layer(teacher.features["pooled"])
            return {"size": scale * made.square().mean()}

        return Preparation(2, lambda epoch: 0.01, trained, loss, student=self.student)
'''

ROOT = Path(__file__).parents[2]
HOST = socket.gethostname()
SHORT = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}
CALM = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
TWO = {"kd": {}, "cold": {"method": "kd", "temperature": 1.0}}


def of_role(plan, role):
    return [run for run in plan.runs.values() if run.spec.to_json()["role"] == role]


def names(states):
    return {run_id: state.name for run_id, state in states.items()}


@pytest.fixture
def look(monkeypatch):
    """A function that calls another before every training step, and returns what that returned."""
    step = Learner.step

    def looking(ask):
        seen = []

        def looked_at(learner, batch, teacher):
            seen.append((learner.folder.id, batch.cursor, ask()))
            step(learner, batch, teacher)

        monkeypatch.setattr(Learner, "step", looked_at)
        return seen

    return looking


def test_before_anything_is_prepared_all_runs_wait(desk):
    desk.study(prepared=False, distillers=TWO)
    assert desk.say("status", "small.yaml") == "teachers (1): 1 waiting\nstudents (2): 2 waiting\n"


def test_finished_runs_are_known_without_the_study_s_results(desk):
    plan = desk.study()
    desk.lab.run(of_role(plan, "teacher"))
    shutil.rmtree("results")
    assert desk.say("status", "small.yaml") == "teachers (1): 1 done\nstudents (1): 1 waiting\n"
    assert desk.say("tables", "small.yaml").count("none (n = 0 of 1)") == 1
    facts = json.loads(desk.say("plan", "small.yaml", "--json"))
    assert facts["all"]["in_store"] == 1


def test_finished_diverged_blocked_and_waiting_runs_are_told_apart(desk, straying):
    plan = desk.study(
        pairs={
            "wrn_10_2/wrn_10_1": CALM,
            "wrn_10_1/wrn_10_1": CALM,
            "wrn_10_1/wrn_10_2": CALM,
        },
        teachers={"stray": {"straying": {}}},
    )
    desk.lab.run(of_role(plan, "teacher"))
    blocked, done, waiting = of_role(plan, "student")
    desk.lab.run([done])
    assert names(survey(plan)) == {
        blocked.teacher.id: "diverged",
        done.teacher.id: "done",
        blocked.id: "blocked",
        done.id: "done",
        waiting.id: "waiting",
    }
    lines = desk.say("status", "small.yaml").splitlines()
    assert lines[:2] == [
        "teachers (2): 1 done, 1 diverged",
        "students (3): 1 done, 1 blocked, 1 waiting",
    ]
    assert lines[2].startswith("time left: about ") and lines[2].endswith(" s in one process")
    assert lines[3] == ""
    [line] = lines[4:]
    assert line.startswith(f"diverged  {blocked.teacher.id}  in epoch 1, step 2: ce ")
    every = desk.say("status", "small.yaml", "--all").splitlines()[4:]
    assert len(every) == 5
    assert any(x.split() == ["blocked", blocked.id, blocked.teacher.id, "diverged"] for x in every)


def test_a_run_whose_artifact_is_lost_waits_as_it_is_trained_again(desk):
    plan = desk.study()
    [teacher] = of_role(plan, "teacher")
    desk.lab.run([teacher])
    assert survey(plan)[teacher.id].name == "done"
    (desk.lab.folder(teacher).path / "weights.safetensors").unlink()
    assert survey(plan)[teacher.id].name == "waiting"


@pytest.mark.parametrize(("trouble", "attempts"), [("step", 1), ("build", 0)])
def test_a_failed_run_keeps_its_error_until_it_is_begun_again(
    desk, add_part, monkeypatch, trouble, attempts
):
    fragile = add_part("distiller", "fragile", FRAGILE)
    plan = desk.study(distillers={"kd": {}, "fragile": {}})
    desk.lab.run(of_role(plan, "teacher"))
    students = of_role(plan, "student")
    kd, failing = students
    monkeypatch.setattr(fragile, "trouble", trouble)
    with pytest.raises(UserError, match="1 of 2 runs failed"):
        desk.lab.run(students)
    assert survey(plan)[kd.id].name == "done"
    state = survey(plan)[failing.id]
    assert (state.name, state.attempts) == ("failed", attempts)
    assert state.facts["why"] == "RuntimeError: there is trouble in two lines"
    [line] = desk.say("status", "small.yaml").splitlines()[4:]
    assert line.startswith(f"failed    {failing.id}  {state.facts['why']} (attempt {attempts}, 20")
    monkeypatch.setattr(fragile, "trouble", "")
    seen = []
    step = Learner.step

    def seeing(learner, batch, teacher):
        seen.append(desk.lab.folder(failing).failure())
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", seeing)
    desk.lab.run(students)
    assert seen and not any(seen)
    assert survey(plan)[failing.id].name == "done"


def test_a_failed_run_is_told_while_the_others_of_its_job_go_on(desk, add_part, monkeypatch, look):
    fragile = add_part("distiller", "fragile", FRAGILE)
    plan = desk.study(distillers={"kd": {}, "fragile": {}})
    desk.lab.run(of_role(plan, "teacher"))
    kd, failing = of_role(plan, "student")
    monkeypatch.setattr(fragile, "trouble", "step")
    seen = look(lambda: names(survey(plan)))
    with pytest.raises(UserError, match="1 of 2 runs failed"):
        desk.lab.run([kd, failing])
    last = [states for name, at, states in seen if name == kd.id and at.epoch == 2]
    assert {states[failing.id] for states in last} == {"failed"}
    assert {states[kd.id] for states in last} == {"running"}


def test_what_all_of_a_pass_share_fails_for_each_of_them(desk):
    plan = desk.study(distillers=TWO)
    [teacher] = of_role(plan, "teacher")
    desk.lab.run([teacher])
    weights = desk.lab.folder(teacher).path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="2 of 2 runs failed"):
        desk.lab.run(of_role(plan, "student"))
    whys = [state.facts["why"] for state in survey(plan).values() if state.name == "failed"]
    assert len(whys) == 2
    assert all(why.startswith(f"weights.safetensors of {teacher.id} has changed") for why in whys)


def test_a_disk_that_takes_no_note_of_a_failure_hides_nothing(desk, add_part, monkeypatch, caplog):
    fragile = add_part("distiller", "fragile", FRAGILE)
    plan = desk.study(distillers={"fragile": {}, "kd": {}})
    desk.lab.run(of_role(plan, "teacher"))
    monkeypatch.setattr(fragile, "trouble", "step")

    def full(*_):
        raise UserError("cannot write: No space left on device")

    monkeypatch.setattr(RunFolder, "note_failure", full)
    with pytest.raises(UserError, match="1 of 2 runs failed"):
        desk.lab.run(of_role(plan, "student"))
    assert "RuntimeError: there is trouble" in caplog.text
    assert "the failure could not be recorded: cannot write: No space left" in caplog.text
    assert sorted(names(survey(plan)).values()) == ["done", "done", "stopped"]


def test_a_killed_run_is_stopped_at_its_last_state_and_counted_when_resumed(desk, kill):
    plan = desk.study()
    [teacher] = of_role(plan, "teacher")
    with kill(teacher.id, Cursor(Stage.MAIN, 1, 1)):
        desk.lab.run([teacher], save_every=0)
    lines = desk.say("status", "small.yaml").splitlines()
    assert lines == [
        "teachers (1): 1 stopped",
        "students (1): 1 waiting",
        "",
        f"stopped   {teacher.id}  stopped at epoch 2/3, rerun the same command to resume  [{HOST}]",
    ]
    desk.lab.run([teacher])
    assert desk.say("status", "small.yaml").splitlines() == [
        "teachers (1): 1 done",
        "students (1): 1 waiting",
        "attempts that resumed a run: 1, runs resumed: 1",
    ]


def test_where_a_run_was_trained_last_and_how_often_it_was_resumed_is_told(desk, kill, monkeypatch):
    plan = desk.study()
    [teacher] = of_role(plan, "teacher")
    for job, epoch in (("76", 0), ("77", 1), ("78", 2)):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        with kill(teacher.id, Cursor(Stage.MAIN, epoch, 1)):
            desk.lab.run([teacher], save_every=0)
        line = desk.say("status", "small.yaml").splitlines()[-1]
        again = ["", ", resumed once", ", resumed 2 times"][epoch]
        assert line.endswith(f"[{HOST}, Slurm job {job}{again}]")
    monkeypatch.setenv("SLURM_JOB_ID", "79")
    desk.lab.run([teacher])
    line = desk.say("status", "small.yaml", "--all").splitlines()[4]
    assert line.split(maxsplit=2)[2] == f"[{HOST}, Slurm job 79, resumed 3 times]"


def test_the_time_left_of_a_study_is_that_of_its_work_shared_among_its_processes(desk):
    plan = desk.study(distillers=TWO)
    assert seconds_left(plan, survey(plan)) is None  # nothing was ever trained
    [teacher] = of_role(plan, "teacher")
    kd, cold = of_role(plan, "student")
    desk.lab.run([teacher])
    assert seconds_left(plan, survey(plan)) is None  # of students nothing is known
    desk.lab.run([kd])
    states = survey(plan)
    one = seconds_left(plan, states)
    assert f"time left: about {duration(one)} in one process" in desk.say("status", "small.yaml")
    assert one == pytest.approx(desk.lab.record(kd)["seconds"])  # which was trained alone too
    at = {"stage": "main", "epoch": 2, "epochs": 3}
    running = State("running", 1, {"at": at, "process": "process 1 on a"})
    assert seconds_left(plan, states | {cold.id: running}) == pytest.approx(one * 2 / 3)
    both = {
        run.id: State("running", 1, {"at": None, "process": f"process 1 on {run.id}"})
        for run in (kd, cold)
    }
    alone = {
        run_id: State("running", 1, {"at": None, "process": "process 1 on a"}) for run_id in both
    }
    shared = [seconds_left(plan, states | others) for others in (both, alone)]
    assert shared[0] == pytest.approx(shared[1] / 2)
    desk.lab.run([cold])
    assert seconds_left(plan, survey(plan)) == 0
    assert "time left" not in desk.say("status", "small.yaml")


def test_a_run_in_training_tells_its_epoch_its_rate_and_the_time_left(desk, look):
    plan = desk.study(distillers=TWO)
    [teacher] = of_role(plan, "teacher")
    folder = desk.lab.folder(teacher)
    seen = look(
        lambda: (survey(plan)[teacher.id], folder.progress(), desk.say("status", "small.yaml"))
    )
    desk.lab.run([teacher], save_every=0)
    assert len(seen) == 6
    left = [192, 152, 128, 88, 64, 24]  # 3 epochs of 64 images, 40 and 24 a step
    for (_, at, (state, saved, said)), images in zip(seen, left, strict=True):
        assert state.name == "running"
        assert state.facts["at"] == {"stage": "main", "epoch": at.epoch + 1, "epochs": 3}
        assert saved["images_left"] == images
        rate = state.facts["images_per_second"]
        line, *followed = said.splitlines()[3:]
        assert line.startswith(f"running   {teacher.id}  epoch {at.epoch + 1}/3, ")
        command = f"tail -f {folder.path / 'progress.csv'}"
        said_then = [f"epochs of {teacher.id} as they end: {command}"] if at.epoch else []
        assert followed == said_then
        if at.epoch == 0:
            assert rate is None and state.facts["seconds_left"] is None
            assert line.endswith(f"the rate is known after the first epoch  [{HOST}]")
        else:
            assert 0 <= state.facts["seconds_left"] <= images / rate
            assert f" {rate:.0f} images/s, about " in line and line.endswith(f" s left  [{HOST}]")


def test_time_left_shrinks_as_the_state_ages_but_not_while_nothing_trained(desk, look, monkeypatch):
    plan = desk.study()
    [teacher] = of_role(plan, "teacher")
    folder = desk.lab.folder(teacher)
    found, now = {}, float(int(time.time()))  # attempts tell whole seconds
    monkeypatch.setattr(status, "time", SimpleNamespace(time=lambda: now))

    def ask():
        if (folder.progress() or {}).get("cursor") != ["MAIN", 2, 0] or found:
            return
        serial = folder.progress()["serial"]
        [path] = [
            p for p in folder.path.glob("state-?.json") if f'"serial": {serial}' in p.read_text()
        ]
        attempts = folder.path / "attempts.jsonl"
        state, lines = json.loads(path.read_text()), attempts.read_text()
        for name, saved_ago, begun_ago in (
            ("now", 0, 1000),
            ("old state", 10, 1000),
            ("resumed", 1000, 5),
            ("overdue", 1000, 1000),
        ):
            known = {"images_per_second": 1.0, "saved": now - saved_ago}
            write_sealed(path, state | known)
            begun = datetime.fromtimestamp(now - begun_ago).astimezone()
            line = json.loads(lines) | {"started": begun.strftime("%Y-%m-%dT%H:%M:%S%z")}
            attempts.write_text(json.dumps(line) + "\n")
            found[name] = survey(plan)[teacher.id].facts["seconds_left"]

    look(ask)
    desk.lab.run([teacher], save_every=0)
    assert found == {"now": 64, "old state": 54, "resumed": 59, "overdue": 0}


def test_runs_of_a_job_that_are_not_begun_wait_in_it(desk, look):
    plan = desk.study(
        recipes={"short": SHORT, "small": SHORT | {"batch": 64}},
        pairs={
            "wrn_10_2/wrn_10_1": CALM,
            "wrn_10_1/wrn_10_1": CALM | {"teacher_recipe": "small"},
        },
    )
    runs = of_role(plan, "teacher")
    seen = look(lambda: (names(survey(plan)), desk.say("status", "small.yaml", "--all")))
    desk.lab.run(runs)
    (first, _, (states, said)), (last, _, (then, _)) = seen[0], seen[-1]
    assert first != last
    assert (states[first], states[last]) == ("running", "waiting")
    assert (then[first], then[last]) == ("done", "running")
    [line] = [line for line in said.splitlines() if last in line and "wrn_10_1/kd" not in line]
    assert line.split(maxsplit=2)[2] == f"in {files.process()}"


def test_a_first_stage_of_the_student_counts_in_its_time_left(desk, add_part, look):
    add_part("distiller", "warmed", WARMED)
    plan = desk.study(distillers={"warmed": {}})
    desk.lab.run(of_role(plan, "teacher"))
    [student] = of_role(plan, "student")
    folder = desk.lab.folder(student)
    seen = look(lambda: (folder.progress()["images_left"], desk.say("status", "small.yaml")))
    desk.lab.run([student], save_every=0)
    assert [left for _, _, (left, _) in seen] == [320, 280, 256, 216, 192, 152, 128, 88, 64, 24]
    assert "preparation, epoch 2/2, " in seen[2][2][1]
    assert "  epoch 1/3, " in seen[4][2][1]


def test_a_preparation_is_no_run_of_the_study_and_its_students_wait_in_their_job(
    desk, add_part, look
):
    add_part("distiller", "warmed", WARMED)
    plan = desk.study(distillers={"warmed": {"student": False}})
    desk.lab.run(of_role(plan, "teacher"))
    [student] = of_role(plan, "student")
    seen = look(lambda: names(survey(plan)))
    desk.lab.run([student], save_every=0)
    [preparation] = desk.lab.stored("preparation")
    for name, _, states in seen:
        assert states[student.id] == ("waiting" if name == preparation.id else "running")
    assert len(seen) == 10
    assert desk.say("status", "small.yaml") == "teachers (1): 1 done\nstudents (1): 1 done\n"


def test_students_of_a_preparation_that_diverged_are_blocked(desk, add_part):
    add_part("distiller", "warmed", WARMED)
    plan = desk.study(distillers={"kd": {}, "warmed": {"student": False, "diverges": True}})
    desk.lab.run(of_role(plan, "teacher"))
    kd, blocked = of_role(plan, "student")
    desk.lab.run([kd, blocked])
    assert names(survey(plan)) == {kd.teacher.id: "done", kd.id: "done", blocked.id: "blocked"}
    assert "its preparation diverged" in desk.say("status", "small.yaml", "--all")


def test_watching_ends_when_no_run_can_change(desk, monkeypatch):
    plan = desk.study()
    monkeypatch.setattr(status_command, "WATCH_SECONDS", 0.0)
    jobs = [of_role(plan, "teacher"), of_role(plan, "student")]
    monkeypatch.setattr(status.time, "sleep", lambda _: desk.lab.run(jobs.pop(0)))
    said = desk.say("status", "small.yaml", "--watch")
    assert jobs == []
    assert said.split("\n\n") == [
        "teachers (1): 1 waiting\nstudents (1): 1 waiting",
        "teachers (1): 1 done\nstudents (1): 1 waiting",
        "teachers (1): 1 done\nstudents (1): 1 done\n",
    ]


def test_ctrl_c_ends_watching_without_an_error(desk, monkeypatch):
    desk.study()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupted)
    assert desk.say("status", "small.yaml", "--watch").startswith("teachers (1): 1 waiting")


# other processes


REAL = {
    "study": "real",
    "seeds": [0],
    "device": "cpu",
    "store": "store",
    "data": {"digits": {"source": "digits"}},
    "recipes": {"long": {"epochs": 500, "batch": 128, "lr": 0.05, "decay_at": [400]}},
    "pairs": {
        "wrn_10_1/wrn_10_1": {"data": "digits", "teacher_recipe": "long", "student_recipe": "long"}
    },
    "teachers": {"standard": {}},
    "distillers": {"kd": {}},
    "tables": {"one": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd"]}},
}


def test_a_run_of_another_process_runs_until_that_is_killed_and_no_torch_is_imported(desk):
    (desk.path / "real.yaml").write_text(yaml.safe_dump(REAL))
    plan = expand(read(REAL))
    manifest = prepare(plan.data_spec("digits"), desk.path / "store")
    write_sealed(desk.path / "results/real/data/digits.json", manifest)
    [teacher] = of_role(plan, "teacher")
    data = Prepared(desk.path, manifest)
    folder = RunFolder(desk.path / "store", fingerprint(teacher.spec, data.sha256), teacher.id)
    [job] = plan.jobs["teacher"].values()
    places = ["--store", "store", "--links", "links", "--out", "out.json"]
    asked = Request.of(desk.path / "asked", job.name, job.request).write()
    given = ["--runs", asked, "--data", "results/real/data/digits.json", *places]
    trainer = subprocess.Popen(
        [sys.executable, "-m", "soteacher", "teach", *given, "--save-every", "0"],
        stderr=subprocess.DEVNULL,
    )
    code = "import sys; from soteacher.cli import main; main(); assert 'torch' not in sys.modules"

    def told():
        asked = [sys.executable, "-c", code, "status", "real.yaml"]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout

    try:
        end = time.monotonic() + 60
        while (folder.progress() or {"cursor": [0, 0]})["cursor"][1] < 1:
            assert time.monotonic() < end and trainer.poll() is None
            time.sleep(0.05)
        said = told()
        assert said.startswith("teachers (1): 1 running\nstudents (1): 1 waiting\n"), said
        assert "/500, " in said and "images/s, about" in said
        assert f" left  [{HOST}]\n" in said
        assert re.search(r"epochs of \S+ as they end: tail -f \S+progress\.csv\n$", said), said
        assert files.held_by(folder.path) == files.process(trainer.pid)
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    assert "stopped at epoch " in told()
    assert files.held_by(folder.path) is None


def test_asking_who_owns_a_folder_keeps_nobody_from_owning_it(tmp_path):
    """Hundreds of askers at once, and one process after another that takes the lock."""
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            files.held_by(tmp_path)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for wait in [True, False] * 100:
            with files.locked(tmp_path, "it", wait=wait):
                assert files.held_by(tmp_path) == f"process {os.getpid()} on {os.uname().nodename}"
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert files.held_by(tmp_path) is None


def test_who_waited_for_a_folder_that_was_deleted_owns_the_new_one(tmp_path):
    folder, owned, done = tmp_path / "run", threading.Event(), threading.Event()

    def wait():
        with files.locked(folder, "it"):
            owned.set()
            done.wait(10)

    with files.locked(folder, "it"):
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.2)
        assert not owned.is_set()
        (folder / "lock").unlink()
        folder.rmdir()
    try:
        assert owned.wait(10)
        assert files.held_by(folder) == files.process()
        with (
            pytest.raises(UserError, match="it is in use by process"),
            files.locked(folder, "it", wait=False),
        ):
            pass
    finally:
        done.set()
        waiter.join()


def test_the_status_of_the_paper_s_466_runs_is_told_at_once(tmp_path, monkeypatch):
    """Two in three are finished, as records made here tell."""
    monkeypatch.chdir(tmp_path)
    plan = expand(load(ROOT / "config/paper.yaml"))
    store = tmp_path / plan.study.store
    for name, data in plan.study.data.items():
        spec = plan.data_spec(name)
        folder = folder_of(spec, store, data.source.content_key())
        arrays = {name: {"sha256": "", "shape": [1]} for name in ARRAYS}
        manifest = {"spec": spec.to_json(), "arrays": arrays, "mean": [0.5], "std": [0.5]}
        manifest["classes"] = []
        for path in (folder / "manifest.json", f"results/{plan.study.study}/data/{name}.json"):
            write_sealed(tmp_path / path, manifest)
    data = prepared_of(plan)
    device = {"device": "cuda", "device_type": "cuda", "threads": 1, "precision": "tf32"}
    for number, run in enumerate(plan.runs.values()):
        folder = RunFolder(store, fingerprint(run.spec, data[run.data].sha256), run.id)
        folder.path.mkdir(parents=True)
        folder.begin_attempt({})
        if number % 3:
            record = {
                "id": run.id,
                "status": "done",
                "spec": run.spec.to_json(),
                "data_sha256": data[run.data].sha256,
                "seconds": 3600.0,
                "artifacts": {},
                "soteacher": "1",
                "trained_on": device | {"versions": {"torch": "2"}},
            }
            record |= {"fingerprint": folder.fingerprint}
            write_sealed(folder.path / "run.json", record | {"attempts": folder.attempts()})
    seconds = []
    for _ in range(3):
        begun = os.times()
        asked = [sys.executable, "-m", "soteacher", "status", ROOT / "config/paper.yaml"]
        said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        ended = os.times()
        seconds.append(
            ended.children_user
            + ended.children_system
            - begun.children_user
            - begun.children_system
        )
    assert "teachers (87): 58 done, 29 stopped" in said and "time left: about " in said
    assert min(seconds) < 2.5, seconds  # of the process alone: other tests run beside it
