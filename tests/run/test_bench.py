"""`make bench`: both sides train, numbers are those of the pairs, the page is that of the CSV."""

from __future__ import annotations

import importlib.util
import json
import math
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench import demo, finished, others, rows
from bench.convolutions import LoneConvolution, best
from bench.measure import measure, missed, summary, together
from bench.ours import OurPass
from bench.page import make_page
from bench.peers.networks import contiguous
from bench.processes import first_step, python
from bench.rows import FASTER, LONG, MORE, REST, ROWS, SECONDS, SHARE, WAIT, Measured, Row
from bench.study import BenchStudy
from bench.timing import Deadline, Failed, LeftOut, Pair, Times, command, paired
from soteacher.core.random import seeded
from soteacher.core.sealed import SEAL, write_sealed
from soteacher.data.prepared import open_prepared
from soteacher.models import catalogue
from soteacher.results.collect import measure as collected
from soteacher.store.forms import read_manifest
from soteacher.study.expand import expand
from soteacher.study.load import merged, read

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
    assert len({one.key for one in (*ROWS, *LONG)}) == len(ROWS) + len(LONG)


ONE_RUN_EACH = {
    "study": "finished",
    "seeds": [0],
    "precision": "float32",
    "data": {
        "cifar100": {"source": "generated", "n_train": 8, "n_test": 40, "size": 8, "n_classes": 4}
    },
    "pairs": {"/".join(PAIR): NAMED},
    "recipes": {"cifar": {"epochs": 2, "batch": 4, "lr": 0.1, "decay_at": [1]}},
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {}, "consistency": {}}},
    "tables": {
        "small": {
            "kind": "accuracy",
            "pairs": ["/".join(PAIR)],
            "teachers": ["standard"],
            "distillers": ["kd"],
        },
        "steps": {
            "kind": "overhead",
            "networks": [PAIR[0]],
            "teachers": ["standard", "soteacher"],
            "steps": 3,
        },
    },
    "figures": {},
}


def test_made_up_runs_are_finished_for_the_package_and_can_be_measured(tmp_path):
    plan = expand(read(ONE_RUN_EACH | {"distillers": {"kd": {}}}))
    finished.make_up(plan, tmp_path)
    results, store = tmp_path / "results/finished", tmp_path / plan.study.store
    data = open_prepared(results / "data/cifar100.json", store)
    found = {}
    for path in (results / "runs").glob("*/*.json"):
        for row in collected(read_manifest(path, "the manifest")["runs"], data, store).runs:
            found[row["run"]] = row
    assert set(found) == set(plan.runs) and len(found) >= 2
    assert {row["status"] for row in found.values()} == {"done"}
    [student] = [row for run, row in found.items() if run.endswith("kd")]
    [teacher] = [row for run, row in found.items() if run.endswith("standard/seed0")]
    assert 0.25 < teacher["top1"] <= 1 and student["nll"] != teacher["nll"]
    assert len(pd.read_csv(results / "overhead/steps.csv")) == 2 * 3


def test_made_up_records_are_those_of_all_runs_of_the_paper():
    plan = expand(read(merged(*finished.STUDY)))
    paper = expand(read(merged(finished.STUDY[0])))
    assert list(plan.runs) == list(paper.runs) and len(paper.runs) == 466
    assert plan.data_spec("cifar100").settings["n_test"] == 10_000
    assert list(plan.contents) == list(paper.contents)


def test_a_pass_counts_once_as_training(tmp_path):
    both = {"small": ONE_RUN_EACH["tables"]["small"] | {"distillers": ["kd", "at"]}}
    plan = expand(read(ONE_RUN_EACH | {"distillers": {"kd": {}, "at": {}}, "tables": both}))
    finished.make_up(plan, tmp_path)
    results, store = tmp_path / "results/finished", tmp_path / plan.study.store
    records = {}
    for path in (store / "runs").glob("*/run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        records[record["id"].rpartition("/")[2]] = (path, record)
    assert set(records) == {"seed0", "kd", "at"}

    def change(name, **facts):
        path, record = records[name]
        write_sealed(path, {k: v for k, v in record.items() if k != SEAL} | facts)

    assert demo.training_seconds(results, store) == 1 + 1  # of the teacher; of both students
    change("kd", seconds=7.5)
    assert demo.training_seconds(results, store) == 1 + 7.5
    [attempt] = records["at"][1]["attempts"]
    change("at", attempts=[attempt | {"pid": attempt["pid"] + 1}])  # trained in another process
    assert demo.training_seconds(results, store) == 1 + 7.5 + 1
    training, whole = demo.of_finished(results, store, Times(19.0, 10.0))
    assert training == (9.5, 9.5) and whole == (19.0, 20.0)
    found = summary(row(REST, 20.0, other=""), Measured([Pair(training, whole)]), "cpu")
    assert (found["median"], found["seconds_ours"], found["seconds_other"]) == (50.0, 9.5, 19.0)
    assert missed(pd.Series({"goal": 20.0, "unit": REST, "median": 50.0}))
    assert not missed(pd.Series({"goal": 20.0, "unit": REST, "median": 19.0}))


def rows_of(key, median, unit=FASTER, **facts):
    """Both clocks of a row of the CSV file; the wall-clock number is a tenth of the other one."""
    same = {"key": key, "group": unit, "ours": f"the {key}", "other": "", "unit": unit}
    same |= {"goal": 2.0, "q1": 1.0, "q3": 1.0, "pairs": 1, "seconds_ours": 1.0}
    same |= {"seconds_other": None, "left_out": "", "date": "2026-01-01", "cpu": "a CPU"}
    same |= {"busy_cores": 0.0, "cores": 2, "memory_gb": 1.0, "capability": "", "threads": 1}
    same |= dict.fromkeys(("machine", "cpu_settings", "soteacher", "python", "torch"), "1")
    same |= dict.fromkeys(("onednn", "torchvision", "torchdistill", "numpy", "pillow"), "1")
    same |= {"snakemake": "9", "minutes": 13.5} | facts
    return [
        same | {"clock": "cpu", "median": median},
        same | {"clock": "wall", "median": median / 10},
    ]


NO_PROFILE = pd.DataFrame(columns=["key", "operation", "share", "calls"])


def test_rows_that_are_not_measured_again_stay_in_the_file():
    old = pd.DataFrame(rows_of("student", 1.0) + rows_of("tables", 9.0) + rows_of("gone", 1.0))
    new = pd.DataFrame(rows_of("teacher", 3.0) + rows_of("student", 2.0))
    merged_rows = together(old, new, ["student", "teacher", "tables"])
    assert list(merged_rows["key"]) == ["student"] * 2 + ["teacher"] * 2 + ["tables"] * 2
    assert list(merged_rows["median"]) == [2.0, 0.2, 3.0, 0.3, 9.0, 0.9]


def test_the_page_says_which_rows_were_measured_at_another_time():
    results = rows_of("student", 3.0) + rows_of("tables", 9.0, WAIT, date="2026-01-02")
    page = make_page(pd.DataFrame(results), NO_PROFILE)
    _, apart = page.split("Measured at another time, on 2026-01-02, with 0.0 busy cores before")
    assert "- the tables" in apart and "- the student" not in apart
    assert "another time" not in make_page(pd.DataFrame(results[:2]), NO_PROFILE)
    assert "reduced" not in apart


def test_the_page_says_which_rows_had_less_time_to_be_measured():
    results = rows_of("student", 3.0) + rows_of("teacher", 1.2, minutes=1.0)
    _, apart = make_page(pd.DataFrame(results), NO_PROFILE).split("Measured at another time")
    heading, row = apart.split("\n\n")[:2]
    assert heading.endswith("in a reduced run of 1 minutes:") and row == "- the teacher"


@pytest.mark.parametrize(("median", "word"), [(19.0, "reached"), (21.0, "missed")])
def test_the_goal_of_a_whole_study_is_one_of_wall_clock_time(median, word):
    page = make_page(pd.DataFrame(rows_of("tables", median, WAIT)), NO_PROFILE)
    assert f"| ≤ 2.00: {word} |" in page
    assert (f"Measured {median / 10:.2f}, the goal is 2.00." in page) == (word == "missed")


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
