"""RCO: whose state teaches when, worked by hand; its losses are KD's."""

from __future__ import annotations

import pytest
from distilling import SAME_SIZE, batch_of, outputs, site_of, started

from soteacher.distillers.rco import RCO


def route(anchors, epochs, last):
    return [RCO(anchors=anchors).teacher_epoch(epoch, epochs, last) for epoch in range(epochs)]


def test_of_the_paper_it_is_every_10_epochs():
    found = route(24, 240, 240)
    assert found == [10 * (epoch // 10 + 1) for epoch in range(240)]
    assert RCO() == RCO(anchors=24)


@pytest.mark.parametrize(
    ("anchors", "epochs", "last", "expected"),
    [
        (1, 3, 16, [16, 16, 16]),
        (4, 4, 16, [4, 8, 12, 16]),
        (4, 8, 16, [4, 4, 8, 8, 12, 12, 16, 16]),
        (2, 5, 16, [8, 8, 8, 16, 16]),  # 2.5 epochs a segment
        (3, 6, 100, [33, 33, 67, 67, 100, 100]),
        (4, 2, 16, [4, 12]),  # fewer epochs than segments
        (2, 4, 8, [4, 4, 8, 8]),  # of a teacher that is not the final one
    ],
)
def test_segments_and_their_anchors(anchors, epochs, last, expected):
    assert route(anchors, epochs, last) == expected


def test_its_losses_are_those_of_kd():
    site = site_of(SAME_SIZE)
    student, teacher = outputs(SAME_SIZE)
    batch = batch_of(len(student.logits))
    own, of_kd = (started(name, site).losses(batch, student, teacher) for name in ("rco", "kd"))
    assert own.keys() == of_kd.keys() == {"ce", "kd"}
    assert all(own[name].equal(of_kd[name]) for name in own)


def test_it_keeps_nothing_and_brings_no_modules():
    method = started("rco", site_of(SAME_SIZE))
    assert method.modules == {} and method.term.buffers() == {}
