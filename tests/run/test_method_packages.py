"""A method of an installed package, trained: a fake installation on the path, as pip leaves one."""

import sys

import pytest

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage

CODE = '''"""Logits near the teacher's."""

from __future__ import annotations

from soteacher.methods import Distiller, Preparation, register, torch


@register
class NearLogits(Distiller):
    """Mean squared error of logits, after a first stage on the teacher's."""

    def preparation(self, context, network, modules):
        scale = torch.nn.Linear(context.n_classes, context.n_classes)

        def loss(batch, output, teacher):
            return {"scale": (scale(teacher.logits) - teacher.logits).square().mean()}

        return Preparation(1, lambda epoch: 0.01, {"scale": scale}, loss, student=False)

    def method_losses(self, batch, output, teacher, network):
        wanted = self._prepared["scale"](teacher.logits)
        return {"near": (output.logits - wanted).square().mean()}
'''


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """The package `their_package` 1.2 is installed, with the method `near`."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "their_package").mkdir()
    (folder / "their_package/__init__.py").write_text("")
    (folder / "their_package/near_logits.py").write_text(CODE)
    (folder / "their_package-1.2.dist-info").mkdir()
    info = folder / "their_package-1.2.dist-info"
    (info / "METADATA").write_text("Name: their_package\nVersion: 1.2\n")
    entry = "[soteacher.methods]\nnear = their_package.near_logits\n"
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(folder))
    registry.clear()
    yield
    monkeypatch.undo()
    registry.clear()
    registry.take("their_package.near_logits")
    for name in ("their_package.near_logits", "their_package"):
        sys.modules.pop(name, None)


def test_a_package_s_method_trains_is_recorded_and_resumed(lab, installed, kill):
    teachers, [run] = lab.plan(distillers={"near": {}})
    lab.run(teachers)
    uninterrupted = lab.elsewhere([[run]])
    with kill(run.id, Cursor(Stage.MAIN, 1, 0)):
        lab.run([run], save_every=0)
    assert lab.run([run]) == uninterrupted
    record = lab.record(run)
    assert record["method_packages"] == {"near": "their_package 1.2"}
    assert record["spec"]["terms"] == {"near": {"revision": 1}}
    [preparation] = lab.stored("preparation")
    assert record["preparation"]["fingerprint"].startswith(preparation.path.name)
    assert "loss_near" in lab.history(run)[-1]
