"""Every registered regularizer, really trained: alone or in company, killed or not, combined."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.data.stream import Stream
from soteacher.regularizers.base import ImageChange
from soteacher.training import learner as learner_module
from soteacher.training.learner import Learner

NAMES = registry.shipped("regularizer")
CHANGING = [n for n in NAMES if issubclass(registry.get("regularizer", n), ImageChange)]
METHODS = {name: {name: {}} for name in NAMES} | {
    "standard": {},
    "all_cut": {"cutmix": {"probability": 1}},
    "divergent": {"augmix": {"consistency_weight": 12}},
    "crl_lr": {"crl": {}, "lipschitz": {"weight": 1e-4}},
    "augmix_soteacher": {
        "augmix": {"consistency_weight": 1},
        "consistency": {},
        "crl": {},
        "label_smoothing": {},
        "lipschitz": {},
    },
    "mse_soteacher": {"mse": {}, "consistency": {}, "lipschitz": {}},
    "mcmi_smoothed": {"mcmi": {"weight": 0.5}, "label_smoothing": {}, "augmix": {}},
    "mixup_smoothed": {"mixup": {}, "l1": {}, "label_smoothing": {}},
}
"""Each alone, other settings that matter, and sets of several."""


def teachers(lab, **methods):
    found, _ = lab.plan(teachers=methods)
    return found


def test_each_alone_is_the_same_as_in_company_and_no_two_are_alike(lab):
    runs = teachers(lab, **METHODS)
    together = lab.elsewhere([runs])
    assert {entry["status"] for entry in together.values()} == {"done"}
    weights = [entry["artifacts"]["weights.safetensors"] for entry in together.values()]
    assert len({*weights}) == len(METHODS)
    assert lab.elsewhere([[run] for run in runs]) == together


@pytest.mark.parametrize("name", METHODS)
def test_killed_and_gone_on_is_the_same_as_never_killed(lab, kill, name):
    [run] = teachers(lab, **{name: METHODS[name]})
    uninterrupted = lab.elsewhere([[run]])
    for moment in (Cursor(Stage.MAIN, 0, 1), Cursor(Stage.MAIN, 2, 0)):
        with kill(run.id, moment):
            lab.run([run], save_every=0)
    assert lab.run([run]) == uninterrupted
    assert len(lab.record(run)["attempts"]) == 3


def test_those_that_see_the_same_images_share_a_pass(lab):
    runs = {run.id.split("/")[2]: run.spec for run in teachers(lab, **METHODS)}
    keys = {name: spec.pass_key for name, spec in runs.items()}
    plain = {name for name in METHODS if not runs[name].image_change()}
    assert plain == {*NAMES} - {*CHANGING} | {"standard", "crl_lr", "mse_soteacher"}
    assert len({keys[name] for name in plain}) == 1
    assert keys["mixup"] == keys["mixup_smoothed"]
    others = {keys[name] for name in METHODS if name not in plain}
    assert len(others) == 6  # of eight methods: two of mixup share one, and two of augmix
    assert not others & {keys["standard"]}


def test_a_teacher_s_steps_see_its_images_and_targets(lab, monkeypatch):
    seen = {}
    step = Learner.step

    def watched(learner, batch, teacher):
        seen.setdefault(learner.folder.id.split("/")[2], []).append(batch)
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", watched)
    lab.run(teachers(lab, **METHODS))
    plain = seen["standard"]
    for name, batches in seen.items():
        views = 3 if name in ("divergent", "augmix_soteacher") else 1
        blended = False
        for batch, other in zip(batches, plain, strict=True):
            assert batch.cursor == other.cursor and batch.labels.equal(other.labels)
            assert batch.indices.equal(other.indices)
            assert batch.images.shape == (views * len(batch.labels), 3, 8, 8)
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
            if views == 3:
                torch.testing.assert_close(batch.images[: len(batch.labels)], other.images)
            if batch.targets is not None:
                blended = True
                whole = torch.ones_like(batch.targets[:, 0])
                torch.testing.assert_close(batch.targets.sum(dim=1), whole)
        # label smoothing has targets of its own: those of a learner, not of the batch
        assert blended is (name in ("mixup", "cutmix", "all_cut", "mixup_smoothed"))
        changed = any(not b.images.equal(p.images) for b, p in zip(batches, plain, strict=True))
        assert changed is bool(image_change_of(METHODS[name])), name


def image_change_of(method):
    return [name for name in method if name in CHANGING]


def test_students_of_such_teachers_see_plain_images(lab, monkeypatch):
    """A31: crops and flips, as those of all others."""
    found, students = lab.plan(teachers=METHODS)
    streams = []
    made = Stream.__init__

    def kept(stream, data, augment, batch, seed, role, *arguments):
        made(stream, data, augment, batch, seed, role, *arguments)
        if role == "student":
            streams.append(stream)

    lab.run(found)
    monkeypatch.setattr(Stream, "__init__", kept)
    assert {entry["status"] for entry in lab.run(students).values()} == {"done"}
    assert len(streams) == len(METHODS)
    at = Cursor(Stage.MAIN, 1, 0)
    first = streams[0].batch(at)
    for stream in streams:
        batch = stream.batch(at)
        assert batch.images.equal(first.images) and batch.targets is None
    assert len({str(run.spec.to_json()["stream"]) for run in students}) == 1


def test_the_history_says_each_loss_and_how_many_are_right(lab):
    lab.run(teachers(lab, **METHODS))
    for run in teachers(lab, **METHODS):
        rows = lab.history(run)
        assert all(0 <= float(row["train_top1"]) <= 1 for row in rows)
        losses = {key for key in rows[-1] if key.startswith("loss_")}
        method = METHODS[run.id.split("/")[2]]
        named = {*method} - {"label_smoothing", "mixup", "cutmix"}
        if "augmix" in method and not method["augmix"]:
            named -= {"augmix"}
        named |= set() if "mse" in method else {"ce"}  # the one instead of the other
        assert losses == {f"loss_{name}" for name in named}


def test_a_blend_is_right_by_the_share_of_the_predicted_label(lab, monkeypatch):
    """Checked on the logits that the learner itself saw."""
    [run] = teachers(lab, mixup={"mixup": {"alpha": 5}})
    seen = []
    said = learner_module._correct

    def watched(logits, batch):
        seen.append((logits, batch))
        return said(logits, batch)

    monkeypatch.setattr(learner_module, "_correct", watched)
    lab.run([run])
    right = [0.0] * 3
    for logits, batch in seen:
        for row, target in zip(logits, batch.targets, strict=True):
            right[batch.cursor.epoch] += target[row.argmax()].item()
    found = [float(row["train_top1"]) for row in lab.history(run)]
    assert found == pytest.approx([count / 64 for count in right])
    assert any(abs(count - round(count)) > 1e-3 for count in right)  # shares, no whole images


def test_no_regularizer_is_named_outside_its_own_file():
    """But for the paper's own two, the paper's claims, colours, and the penalties' files."""
    package = Path(__file__).parents[2] / "soteacher"
    theirs = {"consistency", "lipschitz"}
    others = {package / "report/drawing/colours.py", package / "penalties/__init__.py"}
    others |= {package / "claims/other_methods.py"}
    for path in sorted({*package.rglob("*.py")} - others):
        tree = ast.parse(path.read_text())
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for name in {*NAMES} - theirs:
            if path != package / f"regularizers/{name}.py":
                assert name not in texts, f"{path.relative_to(package)} names {name}"
