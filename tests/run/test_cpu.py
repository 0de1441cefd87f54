"""A run of the paper's size on a CPU is said to be one, and not begun unless that is meant."""

from __future__ import annotations

import logging

import pytest

from soteacher.core.errors import UserError
from soteacher.core.recipe import Recipe
from soteacher.data.settings import Augment
from soteacher.data.sources.base import Outline
from soteacher.data.spec import DataSpec
from soteacher.study.cost import pass_flop, step_flop
from soteacher.study.spec_parts import NetworkSpec, StreamSpec
from soteacher.study.specs import RunSpec
from soteacher.training import cpu_limit as cpu
from soteacher.training.cpu_limit import check_runs, check_timing

CIFAR = Outline(n_train=50_000, n_test=10_000, height=32, width=32, n_classes=100)


def spec_of(network, epochs=240, batch=64):
    """The spec of a teacher on CIFAR-100."""
    recipe = Recipe(epochs=epochs, batch=batch, lr=0.05, decay_at=())
    data = DataSpec("cifar100", 1)
    return RunSpec(
        "teacher", data, StreamSpec(Augment()), NetworkSpec(network, 1), recipe, {}, seed=0
    )


def flop(network, epochs=240):
    [work] = pass_flop([spec_of(network, epochs)], CIFAR)
    return work


def test_the_paper_s_teacher_is_days_on_a_cpu_and_refused_with_what_to_do():
    # 240 epochs of 50,000 images, three passes each, and 241 of 10,000: 655 MFLOP a pass
    days = 655.2e6 * (240 * 50_000 * 3 + 241 * 10_000) / 60e9 / 86_400
    assert 4.5 < days < 5
    with pytest.raises(UserError) as caught:
        check_runs({"a": flop("wrn_40_2"), "b": flop("wrn_10_1")}, 1, allowed=False)
    assert str(caught.value).startswith(
        f"training a on a CPU with 1 thread takes {days:.1f} days or more (all 2 runs of "
    )
    assert "add `--config allow_cpu=true` to start anyway" in str(caught.value)


def test_threads_share_the_time_and_what_is_meant_is_begun_with_a_warning(caplog):
    check_runs({"a": flop("wrn_40_2")}, 4, allowed=True)
    assert "a CPU with 4 threads takes 29 hours" in caplog.text


def test_in_bfloat16_the_least_time_is_half_as_long(caplog):
    check_runs({"a": flop("wrn_40_2")}, 2, allowed=True, precision="bfloat16")
    assert "a CPU with 2 threads takes 29 hours" in caplog.text
    caplog.clear()
    check_runs({"a": flop("wrn_40_2")}, 4, allowed=True, precision="tf32")
    assert "a CPU with 4 threads takes 29 hours" in caplog.text


def test_what_takes_hours_is_begun_without_a_word(caplog):
    work = flop("wrn_40_2", epochs=15)
    assert 5 < work / cpu.RATE / 3600 < cpu.LONG
    check_runs({"a": work}, 1, allowed=False)
    assert caplog.text == ""


def test_a_refused_job_leaves_nothing_and_an_allowed_one_trains(lab, monkeypatch, caplog):
    [teacher, *_], _ = lab.plan()
    monkeypatch.setattr(cpu, "RATE", 1e3)
    with pytest.raises(UserError, match=f"training {teacher.id} on a CPU with 1 thread"):
        lab.run([teacher])
    assert not lab.folder(teacher).finished()
    assert lab.folder(teacher).load_state() is None
    with caplog.at_level(logging.WARNING):
        assert lab.run([teacher], allow_cpu=True)[teacher.id]["status"] == "done"
    assert "allow_cpu is true" in caplog.text


def test_what_the_store_has_is_published_whatever_it_once_took(lab, monkeypatch):
    [teacher, *_], _ = lab.plan()
    expected = lab.run([teacher])
    monkeypatch.setattr(cpu, "RATE", 1e3)
    assert lab.run([teacher]) == expected


def test_a_step_is_three_passes_of_its_whole_batch():
    spec = spec_of("wrn_40_2", batch=64)
    assert step_flop(spec, CIFAR) == 64 * 3 * 655_221_760


def test_the_paper_s_timing_of_steps_is_hours_on_a_cpu_and_refused():
    tiny = Outline(n_train=100_000, n_test=10_000, height=64, width=64, n_classes=200)
    steps = 2 * 204
    flop = sum(
        steps * step_flop(spec_of(name, batch=batch), outline)
        for name, batch, outline in (
            ("wrn_40_2", 64, CIFAR),
            ("resnet32x4", 64, CIFAR),
            ("resnet34", 128, tiny),
        )
    )
    with pytest.raises(UserError, match="timing the training steps on a CPU with 1 thread"):
        check_timing(flop, 1, allowed=False)
    check_timing(flop, 1, allowed=True)
    check_timing(flop / 100, 1, allowed=False)
