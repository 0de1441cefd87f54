"""Teachers with `weights`, which were trained elsewhere: from the file to the students."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_exchange import Code, not_finite, repdistiller

import soteacher
from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.exchange.export import export
from soteacher.models import catalogue
from soteacher.results.collect import measure
from soteacher.training.evaluate import Evaluator

MINE = "few/wrn_10_2/mine/seed0"
STANDARD = "few/wrn_10_2/standard/seed0"
KD = {"kd": {}}


@pytest.fixture
def exported(lab, tmp_path):
    """The file of a teacher that was trained and exported, as anyone gets it."""
    [teacher], _ = lab.plan()
    lab.run([teacher])
    shutil.copytree(lab.data.folder, lab.store / "data" / lab.data.folder.name)
    export(lab.folder(teacher).path, tmp_path / "exported")
    return tmp_path / "exported" / "model.safetensors"


def runs_of(lab, weights, distillers=KD, **changes):
    """Id to run of a study with Standard and that teacher."""
    teachers = {"standard": {}, "mine": {"weights": weights}}
    teachers_and_students = lab.plan(teachers=teachers, distillers=distillers, **changes)
    return {run.id: run for runs in teachers_and_students for run in runs}


def bytes_of(lab, run, *names):
    return [lab.folder(run).artifact(name).read_bytes() for name in names]


def test_an_exported_teacher_comes_back_with_equal_bits_and_so_do_students_of_every_method(
    lab, exported
):
    others = [name for name in sorted(registry.shipped("distiller")) if name != "rco"]
    distillers = {name: {} for name in others} | {"crd": {"negatives": 16}}
    runs = runs_of(lab, str(exported), distillers)
    lab.run([runs[MINE]])
    files = ("weights.safetensors", "test_logits.npy")
    assert bytes_of(lab, runs[MINE], *files) == bytes_of(lab, runs[STANDARD], *files)
    record = lab.record(runs[MINE])
    assert record["last_test_top1"] == lab.record(runs[STANDARD])["last_test_top1"]
    assert (record["seconds"], record["attempts"]) == (0.0, [])
    assert record["imported"] == {"file": "model.safetensors", "renamed": {}}
    students = {id: run for id, run in runs.items() if run.teacher}
    assert len(students) == 2 * len(others)
    lab.run(students.values())
    for name in others:
        ours, theirs = (students[f"{one}/wrn_10_1/{name}"] for one in (MINE, STANDARD))
        assert bytes_of(lab, ours, *files) == bytes_of(lab, theirs, *files), name
        assert ours.spec.sha256 != theirs.spec.sha256


@pytest.mark.parametrize("network", ["map", "path"])
def test_the_key_layout_of_repdistiller_is_a_teacher(lab, exported, tmp_path, network):
    state = torch.load(exported.with_name("pytorch_model.bin"), weights_only=True)
    renamed = {repdistiller(key): value for key, value in state.items()}
    torch.save({"epoch": 240, "model": renamed}, tmp_path / "ckpt_240.pth")
    path = str(tmp_path / "ckpt_240.pth")
    runs = runs_of(lab, {"wrn_10_2": path, "wrn_16_2": "none"} if network == "map" else path)
    lab.run([runs[MINE]])
    logits, expected = (bytes_of(lab, runs[one], "test_logits.npy") for one in (MINE, STANDARD))
    assert logits == expected
    assert lab.record(runs[MINE])["imported"]["renamed"]["conv.weight"] == "conv1.weight"
    loaded, _ = soteacher.load(lab.folder(runs[MINE]).path)
    logits = Evaluator(lab.data, "cpu").logits(loaded, "test")
    assert np.array_equal(logits, np.load(lab.folder(runs[MINE]).artifact("test_logits.npy")))


def test_a_changed_file_trains_the_students_again_and_a_moved_one_does_not(
    lab, exported, tmp_path, monkeypatch
):
    student = f"{MINE}/wrn_10_1/kd"
    first = runs_of(lab, str(exported))
    lab.run([first[MINE]])
    lab.run([first[student]])
    before = bytes_of(lab, first[student], "weights.safetensors")

    moved = shutil.move(exported, tmp_path / "moved.safetensors")
    monkeypatch.chdir(tmp_path)
    again = runs_of(lab, "moved.safetensors")
    assert again[student].spec == first[student].spec
    assert again[MINE].weights != first[MINE].weights
    assert lab.folder(again[MINE]).finished() and lab.folder(again[student]).finished()

    state = load_file(moved)
    save_file(state | {"fc.bias": state["fc.bias"] + 1.5 * torch.arange(10.0)}, moved)
    changed = runs_of(lab, str(moved))
    assert {r.spec.sha256 for r in changed.values() if "mine" in r.id}.isdisjoint(
        r.spec.sha256 for r in first.values()
    )
    assert changed[STANDARD].spec == first[STANDARD].spec
    assert not lab.folder(changed[student]).finished()
    lab.run([changed[MINE]])
    lab.run([changed[student]])
    assert bytes_of(lab, changed[student], "weights.safetensors") != before


def test_the_seeds_share_the_file_which_is_read_and_evaluated_once(lab, exported, monkeypatch):
    evaluated = []
    logits = Evaluator.logits
    monkeypatch.setattr(
        Evaluator, "logits", lambda *given: evaluated.append(given[2]) or logits(*given)
    )
    runs = runs_of(lab, str(exported), seeds=[0, 1])
    both = [runs[MINE], runs[MINE.replace("seed0", "seed1")]]
    lab.run(both)
    assert evaluated == ["test"]
    one, other = (bytes_of(lab, run, "weights.safetensors", "test_logits.npy") for run in both)
    assert one == other
    students = [runs[f"{run.id}/wrn_10_1/kd"] for run in both]
    lab.run(students)
    first, second = (bytes_of(lab, run, "weights.safetensors") for run in students)
    assert first != second  # their own seeds differ


def test_an_imported_teacher_is_measured_as_any_other(lab, exported):
    runs = runs_of(lab, str(exported))
    entries = lab.run([runs[MINE], runs[STANDARD]])
    assert lab.folder(runs[MINE]).record()["trained_on"]["device"] == ""
    mine, standard = (
        next(row for row in measure(entries, lab.data, lab.store).runs if row["run"] == run_id)
        for run_id in (MINE, STANDARD)
    )
    assert 0 < mine["top1"] == standard["top1"]
    assert (mine["ece"], mine["nll"]) == (standard["ece"], standard["nll"])
    assert (mine["best_top1"], mine["device"]) == ("", "")


def weights_to_refuse(folder, exported):
    """Name of a file that is no WRN10-2 with ten classes, to a part of the line about it."""
    state = load_file(exported)
    torch.save({"model": Code()}, folder / "code.pth")
    (folder / "text.pth").write_text("weights")
    torch.save(catalogue.build("wrn_10_2", 7).state_dict(), folder / "seven.pth")
    torch.save(catalogue.build("wrn_16_2", 10).state_dict(), folder / "deep.pth")
    for name, (bad, _) in not_finite().items():
        torch.save(bad, folder / name)
    save_file({repdistiller(key): value for key, value in state.items()}, folder / "s.safetensors")
    return {
        "code.pth": "as weights alone",
        "text.pth": "as weights alone",
        "seven.pth": r"does not fit wrn_10_2 with 10 classes: .*fc.weight \(7, 128\)",
        "deep.pth": "does not fit wrn_10_2 with 10 classes: of 40 tensors of the network and 70",
        "s.safetensors": "other names of tensors than wrn_10_2, and a .safetensors file sorts",
    } | {name: message for name, (_, message) in not_finite().items()}


def test_a_file_that_cannot_be_used_is_one_line_and_the_other_runs_are_finished(
    lab, exported, tmp_path, caplog
):
    for name, message in weights_to_refuse(tmp_path, exported).items():
        elsewhere = lab.copy()
        shutil.rmtree(elsewhere.store / "runs")
        runs = runs_of(lab, str(tmp_path / name), seeds=[0, 1])
        caplog.clear()
        with pytest.raises(UserError, match=message) as error:
            elsewhere.run(run for run in runs.values() if not run.teacher)
        assert "\n" not in str(error.value) and str(error.value).startswith(f"{MINE}: ")
        assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert elsewhere.folder(runs[STANDARD]).finished()
        assert not elsewhere.folder(runs[MINE]).finished()


def test_a_file_that_changed_or_vanished_after_the_study_was_read_is_refused(lab, exported):
    run = runs_of(lab, str(exported))[MINE]
    exported.write_bytes(exported.read_bytes() + b" ")
    with pytest.raises(UserError, match="has changed since the study was read; rerun the same"):
        lab.run([run])
    exported.unlink()
    with pytest.raises(UserError, match=r"there is no file .* any more; put it back, or correct"):
        lab.run([run])
    assert not lab.folder(run).finished()


def test_the_plan_counts_no_training(desk, lab, exported):
    desk.study(teachers={"mine": {"weights": str(exported)}})
    said = desk.say("plan", "small.yaml", "--rate", "1")
    assert "teacher wrn_10_2" not in said and "student wrn_10_1" in said
