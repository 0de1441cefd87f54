"""One line at the end of each job of the workflow, with the time left; Snakemake is pretended."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from soteacher.cli.progress import Pending, Progress
from soteacher.cli.time_left import SECONDS, Step, TimeLeft, about
from soteacher.study.expand import expand
from soteacher.study.load import read


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def worked(left, clock, *jobs):
    """Jobs that ran one after the other: name and seconds of each."""
    for name, seconds in jobs:
        left.start(name)
        clock.now += seconds
        assert left.end(name) == seconds


def test_before_a_training_job_has_ended_nothing_is_known(clock):
    left = TimeLeft({"data": Step("prepare"), "a": Step("teach", 5.0)}, clock)
    assert left.seconds() is None
    worked(left, clock, ("data", 7))
    assert left.seconds() is None
    worked(left, clock, ("a", 20))
    assert left.seconds() == 0


def test_training_counts_by_its_flop_and_other_jobs_by_those_of_their_rule(clock):
    steps = {"a": Step("teach", 5.0), "b": Step("teach", 15.0), "c": Step("distill", 2.0)}
    steps |= {"m": Step("measure"), "n": Step("measure"), "t": Step("table")}
    left = TimeLeft(steps, clock)
    worked(left, clock, ("a", 10), ("m", 4))
    assert left.seconds() == pytest.approx(15 * 2 + 2 * 2 + 4 + SECONDS)
    worked(left, clock, ("c", 40))  # students train at another rate
    assert left.seconds() == pytest.approx(15 * 2 + 4 + SECONDS)


def test_a_job_whose_runs_are_in_the_store_is_no_measure_of_training(clock):
    steps = {"a": Step("teach"), "b": Step("teach", 10.0), "c": Step("teach", 10.0)}
    left = TimeLeft(steps | {"d": Step("teach")}, clock)
    worked(left, clock, ("a", 1))
    assert left.seconds() is None
    worked(left, clock, ("b", 50))
    assert left.seconds() == pytest.approx(50 + 1)


def test_jobs_that_run_at_once_share_the_rest_and_what_ran_is_not_counted_again(clock):
    left = TimeLeft({name: Step("teach", 1.0) for name in "abcdef"}, clock)
    left.start("a")
    left.start("b")
    clock.now += 60
    assert left.end("a") == left.end("b") == 60
    assert left.seconds() == pytest.approx(4 * 60 / 2)
    left.start("c")
    left.start("d")
    clock.now += 20
    assert left.seconds() == pytest.approx((40 + 40 + 60 + 60) / 2)


def test_the_rest_takes_at_least_as_long_as_its_longest_job(clock):
    steps = {name: Step("teach", 1.0) for name in "ab"} | {"long": Step("teach", 10.0)}
    left = TimeLeft(steps, clock)
    left.start("a")
    left.start("b")
    clock.now += 6
    left.end("a")
    left.end("b")
    assert left.seconds() == pytest.approx(60)


def test_a_job_that_starts_again_counts_from_then(clock):
    left = TimeLeft({"a": Step("teach", 1.0)}, clock)
    left.start("a")
    clock.now += 100
    left.start("a")
    clock.now += 5
    assert left.end("a") == 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 10 seconds left"),
        (14, "about 10 seconds left"),
        (94, "about 90 seconds left"),
        (95, "about 2 minutes left"),
        (3.2 * 60, "about 3 minutes left"),
        (5399, "about 90 minutes left"),
        (3.5 * 3600, "about 3.5 hours left"),
    ],
)
def test_a_time_is_said_no_more_exactly_than_it_is_known(seconds, words):
    assert about(seconds) == words


class Stage:
    """The progress of a study's jobs, what it printed, and what it let Snakemake print."""

    def __init__(self, values, clock):
        self.plan = plan = expand(read(values))
        [teachers], [students] = (plan.jobs[role] for role in ("teacher", "student"))
        [measured] = plan.measure_jobs["student"]
        self.jobs = [
            Pending("prepare", {"data": "digits"}, ("data/digits.json",)),
            Pending("teach", {"job": teachers}, ("teachers.json",)),
            Pending("distill", {"job": students}, ("students.json",)),
            Pending("measure", {"role": "student", "measured": measured}, ("measures.csv",)),
            Pending("table", {"table": "first"}, ("tables/first.csv", "tables/first.md")),
            Pending("all", {}, ()),
        ]
        self.lines = []
        self.clock = clock
        self.progress = Progress(
            plan, lambda: self.jobs, self.lines.append, "soteacher status s.yaml --watch", clock
        )

    def record(self, event, level=logging.INFO, message="", **facts):
        record = logging.makeLogRecord({"msg": message, "levelno": level} | facts)
        if event:
            record.event = SimpleNamespace(name=event)
        return self.progress.filter(record)

    def run(self, number, seconds):
        job = self.jobs[number]
        facts = {"rule_name": job.rule, "output": job.output, "wildcards": job.wildcards}
        assert not self.record("JOB_INFO", jobid=number, **facts)
        self.clock.now += seconds
        assert not self.record("JOB_FINISHED", job_id=number)


@pytest.fixture
def stage(wide, clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = wide["tables"]["first"] | {
        "pairs": ["wrn_16_2/wrn_10_1"],
        "teachers": ["standard", "soteacher"],
        "seeds": [0],
    }
    return Stage(wide | {"tables": {"first": first}}, clock)


def test_each_job_has_one_line_with_what_it_did_and_the_time_left(stage):
    assert not stage.record("RUN_INFO")
    for number, seconds in enumerate((4, 100, 44, 2, 3, 1)):
        stage.run(number, seconds)
    start, watch, data, teachers, students, measures, table = stage.lines
    assert start == "5 jobs with 2 teachers and 2 students; one line follows when a job has ended"
    assert watch.endswith(": soteacher status s.yaml --watch")
    assert data == "1 of 5: prepared digits in 4 s"
    assert teachers.startswith("2 of 5: trained 2 teachers (wrn_16_2 on digits) in 100 s; about ")
    assert students.startswith("3 of 5: trained 2 students (wrn_10_1 on digits) in 44 s; ")
    assert students.endswith("less than 10 seconds left")
    assert measures.startswith("4 of 5: measured 2 students (wrn_10_1 on digits) in 2 s; less ")
    assert table == "5 of 5: made first.csv in 3 s"


def test_errors_and_warnings_and_other_news_stay_and_chatter_does_not(stage):
    stage.record("RUN_INFO")
    assert stage.record("JOB_ERROR", logging.ERROR)
    assert stage.record("GROUP_ERROR", logging.ERROR)
    assert stage.record(None, logging.WARNING, "Select jobs to execute...")
    for news in ("Nothing to be done", "Trying to restart job 3.", "Complete log(s): x"):
        assert stage.record(None, message=news)
    for chatter in ("Select jobs to execute...", "Building DAG of jobs...", "Using shell: sh"):
        assert not stage.record(None, message=chatter)
    for event in ("PROGRESS", "JOB_STARTED", "RESOURCES_INFO", "WORKFLOW_STARTED"):
        assert not stage.record(event)


def test_runs_that_the_store_has_are_published(stage, monkeypatch):
    teachers = [job.runs for job in stage.plan.jobs["teacher"].values()]
    finished = {run.id: "a fingerprint" for runs in teachers for run in runs}
    monkeypatch.setattr("soteacher.store.forecast._finished", lambda plan: finished)
    stage.record("RUN_INFO")
    stage.run(1, 2)
    stage.run(2, 60)
    published, trained = stage.lines[-2:]
    assert published == "1 of 5: published 2 teachers (wrn_16_2 on digits) in 2 s"
    assert trained.startswith("2 of 5: trained 2 students (wrn_10_1 on digits) in 60 s; less ")


def test_without_known_sizes_of_images_no_time_is_told(stage, monkeypatch):
    def unknown(plan):
        raise FileNotFoundError("images")

    monkeypatch.setattr("soteacher.store.forecast.Forecast", unknown)
    stage.record("RUN_INFO")
    stage.run(1, 100)
    assert stage.lines[-1] == "1 of 5: trained 2 teachers (wrn_16_2 on digits) in 100 s"
