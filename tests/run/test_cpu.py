"""A run of the paper's size on a CPU is said to be one, and not begun unless that is meant."""

from __future__ import annotations

import logging

import pytest

from soteacher.data.sources.base import Outline
from soteacher.errors import UserError
from soteacher.study.cost import pass_flop
from soteacher.training import cpu
from soteacher.training.cpu import check_length

CIFAR = Outline(n_train=50_000, n_test=10_000, height=32, width=32, n_classes=100)


class Named:
    def __init__(self, name, network, epochs=240):
        self.id = name
        self.spec = {
            "network": {"name": network},
            "recipe": {"epochs": epochs},
            "data": {"source": "cifar100"},
        }


def test_the_paper_s_teacher_is_days_on_a_cpu_and_refused_with_what_to_do():
    # 240 epochs of 50,000 images, three passes each, and 241 of 10,000: 655 MFLOP a pass
    days = 655.2e6 * (240 * 50_000 * 3 + 241 * 10_000) / 60e9 / 86_400
    assert 4.5 < days < 5
    with pytest.raises(UserError) as caught:
        check_length([[Named("a", "wrn_40_2"), Named("b", "wrn_10_1")]], CIFAR, 1, allowed=False)
    assert str(caught.value).startswith(
        f"a would be trained on a CPU of 1 thread, and take {days:.1f} days or more (all 2 runs "
    )
    assert "go on with --config allow_cpu=true" in str(caught.value)


def test_threads_share_the_time_and_what_is_meant_is_begun_with_a_warning(caplog):
    check_length([[Named("a", "wrn_40_2")]], CIFAR, 4, allowed=True)
    assert "a CPU of 4 threads, and take 29 hours" in caplog.text


def test_what_takes_hours_is_begun_without_a_word(caplog):
    member = Named("a", "wrn_40_2", epochs=15)
    [flop] = pass_flop([member.spec], CIFAR)
    assert 5 < flop / cpu.RATE / 3600 < cpu.LONG
    check_length([[member]], CIFAR, 1, allowed=False)
    assert caplog.text == ""


def test_a_refused_job_leaves_nothing_and_an_allowed_one_trains(lab, monkeypatch, caplog):
    [teacher, *_], _ = lab.plan()
    monkeypatch.setattr(cpu, "RATE", 1e3)
    with pytest.raises(UserError, match=f"{teacher.id} would be trained on a CPU of 1 thread"):
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
