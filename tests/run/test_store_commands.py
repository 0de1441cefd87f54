"""`soteacher forget`, `store list`, `store prune`: what leaves the store, and what never does."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from soteacher.core import files
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.sealed import write_sealed
from soteacher.store import prune as tending
from soteacher.study.specs import fingerprint_of
from soteacher.training.job import publish

SQUEEZED = '''
"""A first stage on the teacher alone."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.terms import Preparation


@register
class Squeezed(Distiller):
    """Fits a linear layer to the teacher's features; the student learns the common losses."""

    def preparation(self, context, network, modules):
        layer = torch.nn.Linear(*context.teacher_features["pooled"], 1)

        def loss(batch, output, teacher):
            return {"size": layer(teacher.features["pooled"]).square().mean()}

        return Preparation(1, lambda epoch: 0.01, {"layer": layer}, loss, student=False)
'''

TEACHERS = {"standard": {}, "no_cr": {"lipschitz": {"weight": 1e-4}}}
YES = ("--store", "store", "--yes")


class Killed(BaseException):
    """Ends a deletion at once, as a kill does."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A copy of the store of the first test of this file, for the others."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture
def all_trained(desk, add_part, kept):
    """Two teachers, a preparation of each, and two students of each; teachers come first."""
    add_part("distiller", "squeezed", SQUEEZED)
    if kept.exists():
        shutil.copytree(kept, desk.lab.store, symlinks=True, dirs_exist_ok=True)
    plan = desk.study(teachers=TEACHERS, distillers={"kd": {}, "squeezed": {}})
    runs = [*plan.runs.values()]
    train(desk, plan)  # if they are in the store, this publishes them
    if not kept.exists():
        shutil.copytree(desk.lab.store, kept, symlinks=True)
    return sorted(runs, key=lambda run: (run.teacher is not None, run.id))


def train(desk, plan):
    for job in plan.jobs_of(plan.runs.values())[::-1]:
        desk.lab.run(job.runs)


def held(lab):
    """Ids of what the store holds."""
    return {run.id for run in tending.stored(lab.store)}


def whole(folder):
    """Every file of a folder: its path, bytes and time."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def files_of(lab):
    return whole(lab.store / "runs")


def family(teacher):
    """Whatever depends on a teacher, and itself."""
    return {
        teacher.id,
        *(
            f"{teacher.id}/{rest}"
            for rest in ("wrn_10_1/kd", "wrn_10_1/squeezed", "preparation/squeezed")
        ),
    }


def test_the_list_has_a_line_a_run_and_their_sum(desk, all_trained, kill):
    plan = desk.study(seeds=[1])
    [fresh] = [run for run in plan.runs.values() if not run.teacher]
    with kill(fresh.id, Cursor(Stage.MAIN, 1, 0)):
        desk.lab.run([fresh], save_every=0)
    *lines, total = desk.say("store", "list", "--store", "store").splitlines()
    told = {line.split()[0]: line.split() for line in lines}
    assert told.keys() == held(desk.lab)
    assert len(told) == len(lines) == 9
    run = all_trained[0]
    run_id, role, state, _size, _unit, fingerprint, _day, _time = told[run.id]
    assert (run_id, role, state) == (run.id, "teacher", "done")
    assert fingerprint == desk.lab.folder(run).fingerprint[:12]
    assert told[f"{run.id}/preparation/squeezed"][1] == "preparation"
    assert told[fresh.id][1:3] == ["teacher", "stopped"] and len(told[fresh.id]) == 6
    size = sum(
        path.stat().st_size for path in desk.lab.store.rglob("runs/*/**/*") if path.is_file()
    )
    assert total == f"runs: 9, {size / 1e6:.3g} MB"


def test_forgetting_a_run_lists_what_goes_and_deletes_it_only_when_told_to(desk, all_trained):
    forgotten, kept = all_trained[:2]
    before = files_of(desk.lab)
    said = desk.say("forget", forgotten.id, "--store", "store")
    assert {line.split()[0] for line in said.splitlines()[:4]} == family(forgotten)
    assert said.splitlines()[4].startswith("runs: 4, ")
    assert said.endswith("nothing was deleted; add --yes to delete all of this\n")
    assert files_of(desk.lab) == before
    said = desk.say("forget", forgotten.id, *YES)
    assert said.endswith(f"deleted; {files.AGAIN}\n")
    assert held(desk.lab) == family(kept)
    assert files_of(desk.lab).items() < before.items()
    assert len([*desk.lab.store.glob("runs/*")]) == 4


def test_what_was_forgotten_is_trained_again_to_the_same_bits(desk, all_trained):
    entries = dict(desk.lab.entries)
    plan = desk.study(teachers=TEACHERS, distillers={"kd": {}, "squeezed": {}})
    desk.say("forget", *(run.id for run in all_trained[:2]), *YES)
    assert held(desk.lab) == set()
    train(desk, plan)
    assert desk.lab.entries == entries


def test_forgetting_a_student_leaves_its_teacher_and_preparation(desk, all_trained):
    [student] = (run for run in all_trained if run.id.endswith("no_cr/seed0/wrn_10_1/squeezed"))
    before = held(desk.lab)
    desk.say("forget", student.id, *YES)
    assert before - held(desk.lab) == {student.id}


def test_forgetting_a_preparation_takes_only_its_own_students(desk, all_trained):
    teacher = all_trained[0]
    before = held(desk.lab)
    desk.say("forget", f"{teacher.id}/preparation/squeezed", *YES)
    assert before - held(desk.lab) == {
        f"{teacher.id}/preparation/squeezed",
        f"{teacher.id}/wrn_10_1/squeezed",
    }


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_a_fingerprint_s_beginning_stands_for_its_run(desk, all_trained, digits):
    student = all_trained[-1]
    before = held(desk.lab)
    desk.say("forget", desk.lab.folder(student).fingerprint[:digits], *YES)
    assert before - held(desk.lab) == {student.id}


def test_an_id_stands_for_all_its_fingerprints(desk):
    recipe = {"batch": 40, "lr": 0.05, "decay_at": []}
    for epochs in (1, 2):
        train(desk, desk.study(recipes={"short": recipe | {"epochs": epochs}}))
    assert len(tending.stored(desk.lab.store)) == 4
    desk.say("forget", "few/wrn_10_2/standard/seed0", *YES)
    assert tending.stored(desk.lab.store) == []


def test_an_unknown_run_is_refused_with_the_nearest_id(desk, all_trained, caplog):
    said = desk.refused("forget", "few/wrn_10_2/standrd/seed0", *YES, caplog=caplog)
    assert said == (
        "the store has no run 'few/wrn_10_2/standrd/seed0'; expected an id, or at least 8 digits "
        "of a fingerprint, as `soteacher store list` shows them; "
        "did you mean 'few/wrn_10_2/standard/seed0'?"
    )
    few = desk.lab.folder(all_trained[0]).fingerprint[:7]
    assert f"no run '{few}'" in desk.refused("forget", few, *YES, caplog=caplog)
    assert len(held(desk.lab)) == 8


def test_if_one_of_the_runs_is_in_training_nothing_is_deleted(desk, all_trained, caplog):
    before = files_of(desk.lab)
    student = all_trained[-1]
    with desk.lab.folder(student).lock():
        said = desk.refused("forget", student.teacher.id, *YES, caplog=caplog)
        assert said == (
            f"{student.id} is in use by {files.process()}: stop that process, or wait until "
            "it ends; nothing was deleted"
        )
    lock = desk.lab.folder(student).path / "lock"
    assert {k: v for k, v in files_of(desk.lab).items() if k != lock}.items() <= before.items()
    assert files_of(desk.lab).keys() == before.keys()


def test_a_deletion_killed_anywhere_leaves_no_run_that_seems_finished(
    desk, all_trained, monkeypatch
):
    """Killed before its first file is deleted, its second, ... until there are no more."""
    entries, teacher = dict(desk.lab.entries), all_trained[0]
    complete = desk.path / "complete"
    shutil.copytree(desk.lab.store, complete)
    unlink, remove = os.unlink, os.rmdir
    names = {run.path.name for run in tending.stored(complete)}
    plan = desk.study(teachers=TEACHERS, distillers={"kd": {}, "squeezed": {}})
    survived = []
    for kills in range(1000):
        shutil.rmtree(desk.lab.store)
        shutil.copytree(complete, desk.lab.store)
        left = kills

        def last(act, *given, **named):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return act(*given, **named)

        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", partial(last, unlink))
            patched.setattr(os, "rmdir", partial(last, remove))
            try:
                desk.say("forget", teacher.id, *YES)
                break
            except Killed:
                pass
        there = {run.path.name: run for run in tending.stored(desk.lab.store)}
        for name, run in there.items():
            if run.state.name == "done":  # then it is, and whatever it needs is there too
                before = {path.name for path in whole(complete / "runs" / name)}
                assert {path.name for path in whole(run.path)} == before
                assert run.needs & names <= there.keys()
        survived.append(sum(run.state.name == "done" for run in there.values()))
        if kills == 12:
            train(desk, plan)
            assert desk.lab.entries == entries
        elif kills % 9 == 0 and teacher.id in held(desk.lab):
            desk.say("forget", teacher.id, *YES)
            assert held(desk.lab) - {"?"} == family(all_trained[1])
    assert held(desk.lab) == family(all_trained[1])
    assert survived == sorted(survived, reverse=True)
    assert (survived[0], survived[-1]) == (8, 4) and len(survived) > 20


def test_pruning_keeps_what_a_study_asks_for_and_deletes_the_rest(desk, all_trained):
    forgotten = [run for run in all_trained if "no_cr" in run.id]
    desk.study("one", teachers={"standard": {}}, distillers={"kd": {}})
    desk.study("two", teachers={"standard": {}}, distillers={"squeezed": {}})
    before = files_of(desk.lab)
    said = desk.say("store", "prune", "one.yaml", "two.yaml")
    assert {line.split()[0] for line in said.splitlines()[:4]} == family(forgotten[0])
    assert files_of(desk.lab) == before
    desk.say("store", "prune", "one.yaml", "two.yaml", "--yes")
    assert held(desk.lab) == family(all_trained[1])
    assert files_of(desk.lab).items() < before.items()
    assert desk.say("store", "prune", "one.yaml", "two.yaml") == "runs: 0, 0 B\n"
    desk.say("store", "prune", "one.yaml", "--yes")
    assert held(desk.lab) == {all_trained[1].id, f"{all_trained[1].id}/wrn_10_1/kd"}


def test_pruning_leaves_alone_what_is_in_training_and_what_that_needs(desk, all_trained):
    [busy] = (run for run in all_trained if run.id.endswith("no_cr/seed0/wrn_10_1/squeezed"))
    desk.study("one", teachers={"standard": {}}, distillers={"kd": {}, "squeezed": {}})
    with desk.lab.folder(busy).lock():
        said = desk.say("store", "prune", "one.yaml", "--yes")
    assert f"kept {busy.id}, because it is in use by {files.process()}\n" in said
    gone = f"{busy.teacher.id}/wrn_10_1/kd"
    assert held(desk.lab) == {*family(busy.teacher), *family(all_trained[1])} - {gone}


def test_of_data_that_are_not_prepared_every_run_is_kept(desk, all_trained):
    before = held(desk.lab)
    desk.study("one", False, teachers=TEACHERS, distillers={"kd": {}, "squeezed": {}})
    desk.say("store", "prune", "one.yaml", "--yes")
    assert held(desk.lab) == before


def test_runs_of_data_that_are_no_longer_the_study_s_are_pruned(desk, all_trained):
    """The same specs, but trained on other images, as with folders of one's own that changed."""
    folder = desk.lab.folder(all_trained[0])
    others = {"data_sha256": "0" * 64}
    others["fingerprint"] = fingerprint_of(all_trained[0].spec.to_json(), "0" * 64)
    facts = {name: files.read_json(folder.path / name, "it") for name in ("spec.json", "run.json")}
    moved = folder.path.rename(folder.path.with_name(others["fingerprint"][:32]))
    for name, values in facts.items():
        write_sealed(moved / name, values | others)
    said = desk.say("store", "prune", "small.yaml")
    assert [line.split()[0] for line in said.splitlines()[:-2]] == [all_trained[0].id]


def test_prepared_data_go_with_the_last_run_and_study_that_use_them(desk, all_trained):
    usual = {path.name for path in desk.lab.store.glob("data/*")}
    noisy = {"noisy": {"source": "few_digits", "true_labels": {"confusion": 0.3}}}
    pair = {"data": "noisy", "teacher_recipe": "short", "student_recipe": "short"}
    plan = desk.study("other", data=noisy, pairs={"wrn_10_2/wrn_10_1": pair})
    [other] = {path.name for path in desk.lab.store.glob("data/*")} - usual
    left = desk.lab.store / "data" / "begun"
    left.mkdir()
    (left / "lock").touch()
    desk.say("store", "prune", "small.yaml", "other.yaml", "--yes")
    assert (desk.lab.store / "data" / other).is_dir()
    [teacher] = (run for run in plan.runs.values() if not run.teacher)
    desk.lab.run([teacher])
    with desk.lab.folder(teacher).lock():  # kept, so its data are
        desk.say("store", "prune", "small.yaml", "--yes")
        assert (desk.lab.store / "data" / other).is_dir()
    said = desk.say("store", "prune", "small.yaml", "--yes")
    assert f"{other}  prepared data  " in said
    assert not (desk.lab.store / "data" / other).exists()
    assert {path.name for path in desk.lab.store.glob("data/*")} == usual | {"begun"}


def test_studies_of_different_stores_are_not_pruned_together(desk, caplog):
    desk.study("one")
    desk.study("two", False, store="elsewhere")
    said = desk.refused("store", "prune", "one.yaml", "two.yaml", "--yes", caplog=caplog)
    assert said.startswith("the studies have different stores (")


def test_a_folder_that_a_kill_left_without_any_file_of_its_own_breaks_nothing(desk, all_trained):
    before = held(desk.lab)
    folder = desk.lab.store / "runs" / ("f" * 32)
    folder.mkdir()
    (folder / "lock").touch()
    said = desk.say("store", "list", "--store", "store")
    assert ["?", "unknown", "waiting"] in [line.split()[:3] for line in said.splitlines()]
    desk.say("forget", all_trained[-1].id, *YES)
    assert folder.is_dir()
    desk.say("status", "small.yaml")
    desk.say("store", "prune", "small.yaml", "--yes")
    assert not folder.exists()
    assert held(desk.lab) == before - {all_trained[-1].id}


def test_runs_that_results_of_other_studies_link_to_are_left_alone(desk, all_trained):
    [linked] = (run for run in all_trained if run.id.endswith("no_cr/seed0/wrn_10_1/squeezed"))
    manifest = {"runs": {linked.id: desk.lab.entries[linked.id]}}
    results = Path("results/other")
    publish(manifest, results / "runs/students/a.json", results / "students", desk.lab.store)
    desk.study("one", teachers={"standard": {}}, distillers={"kd": {}, "squeezed": {}})
    said = desk.say("store", "prune", "one.yaml", "--yes")
    assert "unneeded runs kept, because results/other links to them: 1;" in said
    gone = f"{linked.teacher.id}/wrn_10_1/kd"
    assert held(desk.lab) == {*family(linked.teacher), *family(all_trained[1])} - {gone}
    desk.study("other", teachers={"standard": {}}, distillers={"kd": {}})
    assert "kept" not in desk.say("store", "prune", "one.yaml", "other.yaml", "--yes")
    assert held(desk.lab) == family(all_trained[1])


def test_an_empty_store_has_nothing_to_tell_and_a_missing_one_is_refused(desk, caplog):
    for command in (("store", "list"), ("forget", "a/b")):
        said = desk.refused(*command, "--store", "nowhere", caplog=caplog)
        assert said == "there is no store in nowhere; expected a folder such as results/store"
    assert not Path("nowhere").exists()
    Path("nowhere").mkdir()
    assert desk.say("store", "list", "--store", "nowhere") == "runs: 0, 0 B\n"
    assert "no run 'a/b'" in desk.refused("forget", "a/b", "--store", "nowhere", caplog=caplog)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_damaged_record_keeps_nobody_from_the_other_runs(desk, all_trained, caplog, text):
    damaged = all_trained[0]
    path = desk.lab.folder(damaged).path / "run.json"
    path.write_text(text)
    remedy = f"cannot read the record of {damaged.id}, {desk.lab.store}/runs/"
    remedy += f"{path.parent.name}/run.json: it "
    said = desk.say("status", "small.yaml")
    assert "teachers (2): 1 done, 1 damaged\nstudents (4): 4 done" in said
    [line] = [line for line in said.splitlines() if line.startswith("damaged")]
    assert line.split(maxsplit=2)[1] == damaged.id and remedy in line
    text = desk.say("tables", "small.yaml")
    assert "(n = 0 of 1)" in text and caplog.text.count(remedy) > 0
    caplog.clear()
    assert desk.say("plan", "small.yaml") and caplog.text.count(remedy) == 1
    listed = desk.say("store", "list", "--store", "store").splitlines()
    assert [x.split()[0] for x in listed if "damaged" in x] == [damaged.id]
    desk.say("forget", path.parent.name[:12], *YES)
    assert held(desk.lab) == family(all_trained[1])


def test_a_run_without_an_intact_description_is_deleted_only_by_name(desk, all_trained):
    path = desk.lab.folder(all_trained[0]).path
    for name in ("run.json", "spec.json"):
        (path / name).write_text("{")
    desk.study("one", teachers={"standard": {}}, distillers={"kd": {}, "squeezed": {}})
    said = desk.say("store", "prune", "one.yaml", "--yes")
    assert f"kept {path}, because its description is damaged or cannot be read" in said
    assert held(desk.lab) > {"?"} | family(all_trained[1])
    desk.say("forget", path.name[:12], *YES)
    desk.say("store", "prune", "one.yaml", "--yes")
    assert held(desk.lab) == family(all_trained[1])


def test_what_an_unidentified_run_may_need_is_kept(desk, all_trained):
    student = next(run for run in all_trained if run.teacher)
    path = desk.lab.folder(student).path
    for name in ("run.json", "spec.json"):
        (path / name).write_text("{")
    desk.study("other", teachers={"standard": {"l1": {"weight": 1e-9}}}, distillers={"kd": {}})
    desk.say("store", "prune", "other.yaml", "--yes")
    assert held(desk.lab) >= {"?", *(run.id for run in all_trained if run.teacher is None)}
    assert list(Path("store/data").glob("*/manifest.json"))


def test_runs_that_cannot_be_seen_are_not_taken_for_absent(desk, all_trained, caplog):
    shutil.move("store/runs", "away")
    Path("store/runs").symlink_to("runs")
    for command in (
        ("store", "list", "--store", "store"),
        ("store", "prune", "small.yaml", "--yes"),
        ("forget", all_trained[0].id, *YES),
    ):
        assert "cannot read the runs of the store" in desk.refused(*command, caplog=caplog)
    assert list(Path("store/data").glob("*/manifest.json"))


def test_a_link_in_a_run_s_folder_is_deleted_and_not_followed(desk, all_trained):
    path = desk.lab.folder(all_trained[0]).path
    Path("elsewhere").mkdir()
    Path("elsewhere/kept").touch()
    (path / "checkpoints").symlink_to(Path("elsewhere").resolve())
    desk.say("forget", path.name[:12], *YES)
    assert not path.exists() and Path("elsewhere/kept").exists()


def test_a_run_whose_description_is_damaged_is_told_by_its_record(desk, all_trained):
    before = held(desk.lab)
    (desk.lab.folder(all_trained[0]).path / "spec.json").write_text("{")
    desk.say("store", "prune", "small.yaml", "--yes")
    assert held(desk.lab) == before


def test_a_damaged_record_stops_no_other_run_of_its_job(desk, all_trained):
    damaged, other = all_trained[:2]
    (desk.lab.folder(damaged).path / "run.json").write_text("{}")
    (desk.lab.folder(other).path / "run.json").unlink()
    with pytest.raises(UserError, match=f"the record of {damaged.id}"):
        desk.lab.run([damaged, other])
    assert desk.lab.folder(other).finished()


def test_a_job_refuses_a_damaged_record_and_says_what_to_do(desk, all_trained):
    (desk.lab.folder(all_trained[0]).path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"no hash.*`soteacher forget [0-9a-f]{12} --store "):
        desk.lab.run(all_trained[:2])
