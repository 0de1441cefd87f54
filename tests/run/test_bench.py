"""`make bench`: both sides train, numbers are those of the pairs, the page is that of the CSV."""

from __future__ import annotations

import importlib.util
import math
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench import others, rows
from bench.convolutions import LoneConvolution, best
from bench.measure import measure, missed, summary
from bench.ours import OurPass
from bench.page import make_page
from bench.peers.networks import contiguous
from bench.processes import first_step, python
from bench.rows import FASTER, MORE, ROWS, SECONDS, SHARE, Measured, Row
from bench.study import BenchStudy
from bench.timing import Deadline, Failed, LeftOut, Pair, Times, command, paired
from soteacher.core.random import seeded
from soteacher.models import catalogue

ROOT = Path(__file__).parents[2]
PAIR = ("wrn_10_2", "wrn_10_1")
NAMED = {"data": "cifar100", "teacher_recipe": "cifar", "student_recipe": "cifar"}
TINY = {
    "data": {"cifar100": {"n_train": 80, "n_test": 4, "size": 8, "n_classes": 4}},
    "recipes": {"cifar": {"batch": 4}},
    "pairs": {"/".join(PAIR): NAMED},
    "distillers": {"crd": {"negatives": 8}},
    "tables": {name: {"pairs": ["/".join(PAIR)]} for name in ("table1", "table6")},
}
"""Values over those of the bench's study: small networks on a few small images."""
METHODS = {"kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "ab", "ft", "nst", "crd"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> BenchStudy:
    return BenchStudy(tmp_path_factory.mktemp("bench") / "store", TINY)


@pytest.fixture(autouse=True)
def settings_of_torch():
    """The bench sets what is global in torch; other tests have it as it was."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def test_the_12_students_of_table_6_train_on_both_sides(study):
    members = study.students(*PAIR)
    assert {name for member in members for name in member.spec.terms} == METHODS
    ours, other = OurPass(members, study.data), others.plain_students(members, study)
    before = [loop.network.fc.weight.clone() for loop in other.loops]
    channels_last = {"memory_format": torch.channels_last}
    for loop, learner in zip(other.loops, ours.learners, strict=True):
        assert loop.network.conv.weight.is_contiguous()
        assert loop.teacher.conv.weight.is_contiguous()
        assert learner.network.conv.weight.is_contiguous(**channels_last)
    pairs = paired(ours, other, (1, 1), Deadline.after(0))
    assert len(pairs) == 3 and all(min(*pair.ours, *pair.other) > 0 for pair in pairs)
    ours.check_finite()
    assert {learner.cursor.step for learner in ours.learners} == {4}  # one is not timed
    for loop, weight in zip(other.loops, before, strict=True):
        assert loop.means["loss"].count == 4 * 4 and math.isfinite(loop.means["loss"].total)
        assert not torch.equal(loop.network.fc.weight, weight)


def test_a_run_that_fails_is_no_fast_run(study, monkeypatch):
    ours = OurPass([study.student(*PAIR)], study.data)
    monkeypatch.setattr(ours.learners[0], "losses", lambda *arguments: {})
    with pytest.raises(RuntimeError, match=r"kd is at .*step=0.*, not at .*step=1"):
        ours.steps(1)


def plain(loop, ours):
    """Loss and gradients of a plain loop on the batch that its twin by soteacher has next."""
    batch = ours.setup.stream.batch(ours.learners[0].cursor)
    _, loss = loop.forward(batch.images, batch.labels, batch.indices)
    loss.backward()
    return loss.item(), loop.network.conv.weight.grad


def expected(ours):
    """Loss and gradients of soteacher's learner on its next batch."""
    [learner] = ours.learners
    batch = ours.setup.stream.batch(learner.cursor)
    teacher = None if ours.setup.teacher is None else ours.setup.teacher(batch)
    loss = sum(learner.losses(batch, learner.network(batch.images), teacher).values())
    loss.backward()
    return loss.item(), learner.network.conv.weight.grad


@pytest.mark.parametrize("method", ["kd", "at"])
def test_the_plain_loop_has_the_losses_of_the_student(study, method):
    [member] = [m for m in study.students(*PAIR) if method in m.spec.terms]
    [loop] = others.plain_students([member], study).loops
    loss, gradient = plain(loop, OurPass([member], study.data))
    wanted, wanted_gradient = expected(OurPass([member], study.data))
    assert loss == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["standard", "soteacher"])
def test_the_plain_loop_has_the_losses_of_the_teacher(study, method):
    [member] = study.teachers(PAIR[0], method)
    loop, ours = others.plain_teacher(member, study), OurPass([member], study.data)
    if method == "soteacher":  # an image's first loss is 0 in soteacher: it has no prediction yet
        [_, consistency] = loop._losses
        loop._losses.remove(consistency)
    loss, gradient = plain(loop, ours)
    wanted, wanted_gradient = expected(OurPass([member], study.data))
    assert loss == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-5)


def test_shufflenet_computes_the_same_in_the_other_layout():
    with seeded(0):
        network = catalogue.build("shufflenet_v2", 10).eval()
    images = torch.randn(2, 3, 32, 32)
    wanted = network(images)
    got = contiguous(network)(images)
    torch.testing.assert_close(got.logits, wanted.logits)
    assert got.features["stage2"].is_contiguous()
    torch.testing.assert_close(got.features["stage2"], wanted.features["stage2"])


@pytest.mark.skipif(
    importlib.util.find_spec("torchdistill") is None, reason="torchdistill is in .venv-bench only"
)
def test_torchdistill_trains_a_student_and_a_teacher(study):
    student = others.torchdistill_student(study.student(*PAIR), study)
    [member] = study.teachers(PAIR[0], "standard")
    for box in (student, others.torchdistill_teacher(member, study)):
        box.steps(25)  # an epoch has 20
        assert box._logger.meters["loss"].count == 25


def test_a_lone_convolution_has_the_flop_of_its_passes():
    convolution, times = best("wrn_10_1", 4, torch.zeros(2, 3, 8, 8))
    assert times >= 1 and "channels" in str(convolution)
    layer = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    lone = LoneConvolution(layer, torch.zeros(2, 3, 4, 4, requires_grad=True))
    assert lone.flop == 3 * 2 * (2 * 5 * 4 * 4) * (3 * 3 * 3)
    lone.steps(2)
    assert lone.images.grad is not None and layer.weight.grad is not None


def row(unit, goal=None, other="plain loop", key="key"):
    return Row(key, "Group", "ours", other, unit, goal, 1.0, lambda bench, deadline: None)


PAIRS = [Pair(Times(1.0, 2.0), Times(n, 2.0 * n)) for n in (1.0, 2.0, 4.0)]


@pytest.mark.parametrize(
    ("unit", "cpu", "q1", "q3"),
    [
        (FASTER, 2.0, 1.5, 3.0),
        (MORE, -50.0, -62.5, -25.0),
        (SHARE, 4.0, 3.0, 6.0),
        (SECONDS, 1.0, 1.0, 1.0),
    ],
)
def test_a_number_is_the_median_of_the_pairs(unit, cpu, q1, q3):
    found = summary(row(unit), Measured(PAIRS, (2, 1)), "cpu")
    assert (found["median"], found["q1"], found["q3"], found["pairs"]) == (cpu, q1, q3, 3)
    assert (found["seconds_ours"], found["seconds_other"]) == (1.0, 2.0)
    wall = summary(row(unit), Measured(PAIRS, (2, 1)), "wall")
    assert wall["median"] == (2 * cpu if unit == SECONDS else cpu)


@pytest.mark.parametrize(
    ("unit", "better", "worse"), [(FASTER, 2.1, 1.9), (SHARE, 2.1, 1.9), (SECONDS, 1.9, 2.1)]
)
def test_a_goal_is_missed_on_the_worse_side(unit, better, worse):
    result = {"goal": 2.0, "unit": unit}
    assert not missed(pd.Series(result | {"median": better}))
    assert missed(pd.Series(result | {"median": worse}))
    assert not missed(pd.Series(result | {"median": worse, "goal": None}))


def test_sides_alternate_and_the_first_steps_are_not_timed():
    calls: list[str] = []

    class Noted:
        def __init__(self, name):
            self.name = name

        def enter(self):
            pass

        def steps(self, count):
            calls.append(f"{self.name}{count}")

    assert len(paired(Noted("a"), Noted("b"), (2, 3), Deadline.after(0))) == 3
    assert calls == ["a1", "b1", "a2", "b3", "b3", "a2", "a2", "b3"]


def test_a_command_that_fails_is_no_fast_command(tmp_path):
    times = command(python("sum(range(10**6))"), tmp_path)
    assert min(times) > 0
    with pytest.raises(Failed, match="exit code 3: a reason"):
        command(python("print('a reason', flush=True); sys.exit(3)"), tmp_path)


@pytest.mark.slow
def test_the_job_of_the_start_up_reaches_its_first_step(tmp_path):
    command(first_step(tmp_path), tmp_path)
    assert list((tmp_path / "store/runs").glob("*/attempts.jsonl"))


def test_every_row_has_its_own_key():
    assert len({one.key for one in ROWS}) == len(ROWS)


def test_a_row_ends_when_its_time_is_over_but_not_before_three_pairs():
    over = Deadline.after(0)
    assert over.allows(2, last=100) and not over.allows(3, last=0.1)
    early = Deadline.after(60)
    assert early.allows(3, last=1) and not early.allows(3, last=61) and not early.allows(40, 1)


def left_out(bench, deadline):
    raise LeftOut("this CPU has no such instructions")


def test_the_page_is_that_of_the_results(tmp_path):
    """A tiny bench from end to end: a row with a missed goal, a reached one, one left out."""
    small = [
        Row("student", "One", "a student", "plain loop", FASTER, 1e6, 1, small_student),
        Row("overhead", "Cost", "SoTeacher", "Standard", MORE, 1e6, 1, small_overhead),
        Row("none", "One", "a bfloat16 row", "plain loop", FASTER, 2.0, 1, left_out),
    ]
    results, operations = measure(small, 0.0, TINY)
    assert list(results["key"]) == ["student"] * 2 + ["overhead"] * 2 + ["none"] * 2
    assert set(operations["key"]) == {"student"} and 0 < operations["share"].sum() <= 1
    results.to_csv(tmp_path / "b.csv", index=False)
    operations.to_csv(tmp_path / "p.csv", index=False)
    page = make_page(pd.read_csv(tmp_path / "b.csv"), pd.read_csv(tmp_path / "p.csv"))
    assert "**Reduced run.** It has 3 of" in page
    assert "- a bfloat16 row: this CPU has no such instructions" in page
    median = results["median"][0]
    assert f"| a student | plain loop | **{median:.2f}** (" in page
    assert f"Measured {median:.2f}, the goal is 1000000.00." in page
    assert page.count(": missed |") == page.count(": reached |") == 1
    assert f"| `{operations['operation'][0]}` |" in page


small_student = partial(rows.one_student, rows.PLAIN, *PAIR)
small_overhead = partial(rows.overhead, PAIR[0])


def test_a_precision_that_this_version_or_cpu_lacks_is_left_out(tmp_path):
    never = partial(rows.students_in, "float8", *PAIR)
    one = Row("float8", "One", "students", "plain loops", FASTER, 3.0, 1, never)
    results, _ = measure([one], 0.0, TINY)
    assert results["left_out"].str.contains("float8").all() and results["median"].isna().all()


def test_the_committed_page_is_that_of_the_committed_csv():
    page, csv = ROOT / "docs/benchmarks.md", ROOT / "docs/benchmarks.csv"
    profiles = pd.read_csv(csv.with_suffix(".profile.csv"))
    assert make_page(pd.read_csv(csv), profiles) == page.read_text(encoding="utf-8")
