"""What a study expands into: which runs there are, what each is, and which share a process."""

import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path

import pytest

from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json
from soteacher.study.expand import expand
from soteacher.study.load import load, read
from soteacher.study.spec_parts import TermSpec

METHODS = ("standard", "soteacher", "no_cr", "no_lr")
STUDENTS = ("wrn_10_1", "wrn_16_1")


def plan_of(values):
    return expand(read(values))


def tables(plan):
    """The cells of each table."""
    return [plan.contents[name].cells for name in plan.study.tables]


def specs(values):
    return {run_id: run.spec.to_json() for run_id, run in plan_of(values).runs.items()}


def params(values):
    """Role and name of every job to what it is asked."""
    plan = plan_of(values)
    return {
        (role, name): canonical_json(job.request)
        for role in plan.jobs
        for name, job in plan.jobs[role].items()
    }


def changed_runs(before, after):
    """Ids of the runs whose spec differs; both studies must have the same runs."""
    old, new = specs(before), specs(after)
    assert old.keys() == new.keys()
    return {run_id for run_id in old if old[run_id] != new[run_id]}


def role_of(run):
    return run.role


def named(run_id):
    """What a run's id says."""
    names = ("data", "teacher", "method", "seed", "student", "distiller")
    said = dict.fromkeys(names, "") | dict(zip(names, run_id.split("/"), strict=False))
    return said | {"role": "student" if said["student"] else "teacher"}


def put(values, path, value):
    """A copy of the values, with one of them set."""
    made = deepcopy(values)
    *outer, key = path.split()
    inner = made
    for name in outer:
        inner = inner[name]
    inner[key] = value
    return made


def large_study():
    """3 pairs of 2 teacher networks, 5 methods, 10 distillers, 3 seeds: 480 runs."""
    pair = {"data": "digits", "teacher_recipe": "long", "student_recipe": "long"}
    pairs = ("wrn_40_2/wrn_40_1", "wrn_40_2/wrn_16_2", "wrn_16_2/wrn_16_1")
    methods = {"standard": {}}
    for ramp in ("linear", "cosine", "cyclic", "piecewise"):
        methods[ramp] = {"lipschitz": {"weight": 1e-4}, "consistency": {"ramp": ramp}}
    distillers = {f"kd_{t}": {"method": "kd", "temperature": float(t)} for t in range(1, 11)}
    return {
        "study": "large",
        "seeds": [0, 1, 2],
        "data": {
            "digits": {
                "source": "digits",
                "augment": {"crop_padding": 1, "flip": 0.5},
                "true_labels": {"confusion": 0.2},
            }
        },
        "recipes": {
            "long": {"epochs": 240, "batch": 64, "lr": 0.05, "decay_at": [150, 180, 210]},
        },
        "pairs": dict.fromkeys(pairs, pair),
        "teachers": methods,
        "distillers": distillers,
        "tables": {
            "every": {
                "kind": "accuracy",
                "teachers": list(methods),
                "distillers": list(distillers),
            }
        },
    }


def turned_around(values):
    """The same values, with the keys of every mapping in the opposite order."""
    if isinstance(values, dict):
        return {key: turned_around(values[key]) for key in reversed(values)}
    return values


def test_the_demo_s_first_data_have_all_teachers_their_students_and_those_of_checkpoints(demo):
    runs = {name: run for name, run in plan_of(demo).runs.items() if run.data == "digits"}
    teachers = {f"digits/wrn_10_2/{method}/seed{k}" for method in METHODS for k in range(3)}
    students = {f"{teacher}/{network}/kd" for teacher in teachers for network in STUDENTS}
    others = ("l1", "mixup", "cutmix", "augmix", "crl", "label_smoothing")  # of Table 7
    regularized = {f"digits/wrn_10_2/{method}/seed0" for method in others}
    teachers |= regularized
    students |= {f"{teacher}/wrn_10_1/kd" for teacher in regularized}
    students |= {
        f"digits/wrn_10_2/{method}/seed0/epoch{epoch:03d}/wrn_10_1/kd"
        for method in ("standard", "soteacher")
        for epoch in (4, 8, 12)
    }
    students |= {
        f"digits/wrn_10_2/{method}/seed0/wrn_10_1/{distiller}"
        for method in ("standard", "soteacher")
        for distiller in demo["distillers"]
    }
    assert {run_id for run_id, run in runs.items() if role_of(run) == "teacher"} == teachers
    assert {run_id for run_id, run in runs.items() if role_of(run) == "student"} == students


def test_every_student_learns_from_the_teacher_of_its_own_seed(wide):
    plan = plan_of(wide)
    students = [run for run in plan.runs.values() if role_of(run) == "student"]
    assert {run.spec.to_json()["seed"] for run in students} == {0, 1}
    for run in students:
        assert run.teacher is plan.runs[run.teacher.id]
        assert run.teacher.spec.to_json()["seed"] == run.spec.to_json()["seed"]
        assert run.teacher.id.endswith(f"/seed{run.spec.to_json()['seed']}")


def test_a_student_s_spec_nests_its_teacher_s(wide):
    students = [run for run in plan_of(wide).runs.values() if role_of(run) == "student"]
    assert students
    for run in students:
        assert run.spec.to_json()["teacher"] == run.teacher.spec.to_json()


def test_a_run_that_two_tables_ask_for_is_there_once(wide):
    plan = plan_of(wide)
    asked = [{run.id for cell in cells for run in cell.runs} for cells in tables(plan)]
    both = asked[0] & asked[1]
    assert {run_id.count("/") for run_id in both} == {3, 5}  # teachers and students
    for run_id in both:
        assert plan.wanted[run_id] == {"first", "second"}
        held = [
            run for cells in tables(plan) for cell in cells for run in cell.runs if run.id == run_id
        ]
        assert all(run is plan.runs[run_id] for run in held)
        jobs = [job for named in plan.jobs.values() for job in named.values()]
        assert [run.id for job in jobs for run in job.runs].count(run_id) == 1


def test_two_pairs_with_one_teacher_network_share_its_runs(wide):
    plan = plan_of(wide)
    teacher = plan.runs["digits/wrn_16_2/standard/seed0"]
    students = {run.id for run in plan.runs.values() if run.teacher is teacher}
    assert {"/".join(run_id.split("/")[4:]) for run_id in students} == {
        "wrn_16_1/kd",
        "wrn_16_1/kd_hot",
        "wrn_16_1/kd_only",
        "wrn_10_1/kd",
    }


def test_one_teacher_with_two_recipes_is_refused(wide):
    wide["pairs"]["wrn_16_2/wrn_10_1"]["teacher_recipe"] = "students"
    with pytest.raises(UserError) as caught:
        plan_of(wide)
    text = str(caught.value)
    assert text.startswith("first: ")
    assert "'digits/wrn_16_2/standard/seed0'" in text
    assert "different recipes" in text


def with_one_table(values, **settings):
    """The demo with its first table alone, and settings of that table replaced."""
    table = values["tables"]["table1"] | settings
    return values | {"tables": {"table1": table}, "figures": {}}


def test_a_table_of_teachers_alone_asks_for_no_student(demo):
    plan = plan_of(with_one_table(demo, columns=["teacher.top1"]))
    assert {role_of(run) for run in plan.runs.values()} == {"teacher"}


def test_a_table_of_students_alone_asks_for_their_teachers_too(demo):
    plan = plan_of(with_one_table(demo, columns=["student.top1"]))
    assert len(plan.runs) == 12 + 24
    assert all(asked == {"table1"} for asked in plan.wanted.values())


def test_a_table_s_own_seeds_take_the_place_of_the_study_s(demo):
    plan = plan_of(with_one_table(demo, seeds=[7]))
    assert {run.spec.to_json()["seed"] for run in plan.runs.values()} == {7}


# identity


def test_the_order_of_keys_changes_no_spec_and_nothing_that_a_job_is_asked(wide):
    other = turned_around(wide)
    assert list(other) != list(wide)
    assert specs(other) == specs(wide)
    assert params(other) == params(wide)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipes teachers decay", 0.1),
        ("recipes teachers momentum", 0.9),
        ("recipes teachers weight_decay", 0.0005),
        ("recipes teachers keep_every", 0),
        ("recipes teachers lr", {"default": 0.05, "wrn_40_2": 0.1}),
        ("data digits augment flip", 0),
        ("data digits true_labels", None),
        ("data noisy augment", {"crop_padding": 0}),
        ("data noisy true_labels split", [0.7, 0.3]),
        ("teachers soteacher consistency weight", 1),
        ("teachers soteacher consistency ramp", "linear"),
        ("teachers soteacher consistency mode", "official"),
        ("teachers soteacher lipschitz weight", {"digits": 1e-4, "noisy": 1e-4}),
        ("distillers kd temperature", 4),
        ("distillers kd ce", 0.5),
        ("distillers kd method", "kd"),
        ("tables first pairs", "all"),
        ("pairs wrn_16_2/wrn_16_1 teacher", "wrn_16_2"),
        ("precision", "float32"),
    ],
)
def test_a_default_that_is_written_out_changes_nothing(wide, path, value):
    other = put(wide, path, value)
    assert other != wide
    assert specs(other) == specs(wide)
    assert params(other) == params(wide)


@pytest.mark.parametrize(
    ("path", "value", "touches"),
    [
        ("teachers soteacher lipschitz weight", 1e-3, lambda run: run["method"] == "soteacher"),
        ("teachers no_lr consistency ramp", "cosine", lambda run: run["method"] == "no_lr"),
        ("recipes teachers batch", 32, lambda run: True),
        (
            "recipes teachers lr",
            {"default": 0.05, "wrn_10_2": 0.1},
            lambda run: run["teacher"] == "wrn_10_2",
        ),
        ("recipes students epochs", 11, lambda run: run["role"] == "student"),
        (
            "recipes students lr",
            {"default": 0.05, "wrn_16_1": 0.1},
            lambda run: run["student"] == "wrn_16_1",
        ),
        ("distillers kd_hot temperature", 9, lambda run: run["distiller"] == "kd_hot"),
        ("data digits augment flip", 0.5, lambda run: run["data"] == "digits"),
        ("data noisy true_labels confusion", 0.2, lambda run: run["data"] == "noisy"),
        ("precision", "tf32", lambda run: True),
    ],
)
def test_a_changed_setting_changes_the_specs_of_exactly_the_runs_it_touches(
    wide, path, value, touches
):
    touched = {run_id for run_id in specs(wide) if touches(named(run_id))}
    assert touched
    assert changed_runs(wide, put(wide, path, value)) == touched


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "another"),
        ("store", "elsewhere"),
        ("device", "cuda"),
        ("threads", 3),
        ("deterministic", False),
        ("save_every", 5.0),
        ("loggers", ["tensorboard", "wandb"]),
        ("allow_cpu", True),
        ("runs_per_job", 2),
    ],
)
def test_how_runs_are_trained_is_no_part_of_what_they_are(wide, key, value):
    assert changed_runs(wide, put(wide, key, value)) == set()


def test_what_no_table_asks_for_changes_nothing(wide):
    other = put(wide, "teachers unused", {"consistency": {}})
    other = put(other, "distillers unused", {"method": "kd"})
    assert params(other) == params(wide)


def test_new_seeds_methods_and_distillers_leave_the_runs_that_were_there(wide):
    other = put(wide, "seeds", [0, 1, 2])
    other = put(other, "distillers kd_cold", {"method": "kd", "temperature": 1.0})
    other = put(other, "tables second distillers", ["kd", "kd_hot", "kd_only", "kd_cold"])
    other = put(other, "teachers cosine", {"consistency": {"ramp": "cosine"}})
    other = put(other, "tables first teachers", [*METHODS, "cosine"])
    old, new = specs(wide), specs(other)
    assert old.items() <= new.items()
    added = [named(run_id) for run_id in new.keys() - old.keys()]
    assert added
    assert all(
        run["seed"] == "seed2" or run["distiller"] == "kd_cold" or run["method"] == "cosine"
        for run in added
    )


def test_checkpoints_belong_to_the_teacher_s_spec_and_not_to_the_student_s(wide):
    kept = put(wide, "recipes teachers keep_every", 5)
    teachers = {run.id for run in plan_of(kept).runs.values() if role_of(run) == "teacher"}
    assert changed_runs(wide, kept) == teachers
    assert all(
        plan_of(kept).runs[run].spec.to_json()["recipe"]["keep_every"] == 5 for run in teachers
    )
    assert changed_runs(wide, put(wide, "recipes students keep_every", 5)) == set()


def test_how_often_a_run_is_tested_belongs_to_its_own_spec_and_not_to_its_students(wide):
    for role, recipe in (("teacher", "teachers"), ("student", "students")):
        rarely = put(wide, f"recipes {recipe} test_every", 5)
        of_role = {run.id for run in plan_of(rarely).runs.values() if role_of(run) == role}
        assert changed_runs(wide, rarely) == of_role


def test_a_spec_s_hash_is_another_exactly_where_the_spec_is(wide):
    hashes = {
        json.dumps(run.spec.to_json()): run.spec.sha256 for run in plan_of(wide).runs.values()
    }
    assert len(set(hashes.values())) == len(hashes)


# jobs


def test_every_run_is_in_exactly_one_job_of_its_role_and_data_set(wide):
    plan = plan_of(wide)
    held = []
    for role, jobs in plan.jobs.items():
        for name, job in jobs.items():
            assert (job.name, job.role) == (name, role)
            assert {role_of(run) for run in job.runs} == {role}
            assert {run.data for run in job.runs} == {job.data}
            held += [run.id for run in job.runs]
    assert sorted(held) == sorted(plan.runs)


def test_the_jobs_of_a_table_hold_no_run_that_it_does_not_ask_for(wide):
    plan = plan_of(wide)
    for cells in tables(plan):
        runs = {run.id: run for cell in cells for run in cell.runs}
        runs |= {run.teacher.id: run.teacher for run in runs.values() if run.teacher}
        for jobs in (plan.jobs_of(runs.values()), plan.measure_jobs_of(runs.values())):
            assert sorted(run.id for job in jobs for run in job.runs) == sorted(runs)


@pytest.mark.parametrize(
    ("size", "most"), [(1, 2), (2, 2), (1, 5), (3, 5), (5, 5), (5, 2), (5, 100)]
)
def test_jobs_are_measured_together_up_to_a_number_of_runs(wide, size, most, monkeypatch):
    monkeypatch.setattr("soteacher.study.plan.MEASURED_TOGETHER", most)
    plan = plan_of(put(wide, "runs_per_job", size))
    for role, measured in plan.measure_jobs.items():
        assert all(name == job.name and job.role == role for name, job in measured.items())
        assert all(len(job.runs) <= most or len(job.jobs) == 1 for job in measured.values())
        held = [one.name for job in measured.values() for one in job.jobs]
        assert held == [*plan.jobs[role]]
        assert {one.data == job.data for job in measured.values() for one in job.jobs} == {True}
        groups = {(run.data, plan.wanted[run.id]) for job in measured.values() for run in job.runs}
        assert len(measured) >= len(groups)
        if most == 100:
            assert len(measured) == len(groups)


def test_the_paper_s_466_runs_are_measured_in_few_jobs():
    plan = expand(load(Path(__file__).parents[2] / "config/paper.yaml"))
    jobs = [job for named_jobs in plan.measure_jobs.values() for job in named_jobs.values()]
    assert sum(len(job.runs) for job in jobs) == len(plan.runs) == 466
    assert len(jobs) <= 30


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_no_job_has_more_runs_than_the_study_allows(wide, size):
    jobs = plan_of(put(wide, "runs_per_job", size)).jobs
    sizes = [len(job.runs) for named_jobs in jobs.values() for job in named_jobs.values()]
    assert max(sizes) == min(size, 12)


@pytest.mark.parametrize("size", [3, 5, 6])
def test_students_of_one_teacher_that_the_same_tables_ask_for_share_a_job(wide, size):
    plan = plan_of(put(wide, "runs_per_job", size))
    families = {}
    for run in plan.runs.values():
        if run.teacher:
            key = (run.teacher.id, frozenset(plan.wanted[run.id]))
            families.setdefault(key, set()).add(plan.job_of[run.id].name)
    assert all(len(names) == 1 for names in families.values())


def test_students_stand_beside_those_of_the_same_teacher(wide):
    for job in plan_of(put(wide, "runs_per_job", 4)).jobs["student"].values():
        teachers = [run.teacher.id for run in job.runs]
        changes = sum(a != b for a, b in pairwise(teachers))
        assert changes == len(set(teachers)) - 1


def test_a_job_is_asked_for_all_that_it_trains():
    plan = plan_of(large_study())
    for job in (job for named_jobs in plan.jobs.values() for job in named_jobs.values()):
        said = job.request
        assert list(said) == [run.id for run in job.runs]
        for run in job.runs:
            assert said[run.id]["spec"] == run.spec.to_json()
            assert said[run.id].get("teacher") == (run.teacher.id if run.teacher else None)


def test_a_job_s_name_stays_and_what_it_is_asked_changes_with_a_setting(wide):
    old, new = params(wide), params(put(wide, "recipes teachers batch", 32))
    assert old.keys() == new.keys()
    assert all(old[job] != new[job] for job in old)


# speed

MEASURED = """
import json, sys, time
began = time.process_time()
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.spec_parts import TermSpec
from soteacher.study import paper, summary as describe
plan = expand(read(json.load(sys.stdin)))
jobs = plan.jobs
seconds = time.process_time() - began
print(json.dumps({"runs": len(plan.runs), "seconds": seconds, "torch": "torch" in sys.modules}))
"""


def test_a_study_of_hundreds_of_runs_is_planned_in_half_a_second_without_torch(root):
    attempts = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED],
            input=json.dumps(large_study()),
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        attempts.append(json.loads(done.stdout))
    assert {attempt["runs"] for attempt in attempts} == {30 + 450}
    assert not any(attempt["torch"] for attempt in attempts)
    assert min(attempt["seconds"] for attempt in attempts) < 0.5


def test_what_a_table_or_figure_shows_cannot_be_changed(demo):
    plan = plan_of(demo)
    with pytest.raises(TypeError):
        plan.contents["table1"] = plan.contents["table2"]
    cells, points = plan.contents["table1"].cells, plan.contents["figure1"].points
    assert isinstance(cells, tuple) and isinstance(points, tuple)
    with pytest.raises(TypeError):
        points[0].position["epoch"] = 5
    with pytest.raises(FrozenInstanceError):
        plan.contents["overhead"].steps = 1


def test_nothing_in_a_plan_can_be_changed(demo):
    plan = plan_of(demo)
    run = next(iter(plan.runs.values()))
    mappings = [
        *(plan.runs, plan.wanted, plan.contents, plan.jobs, plan.jobs["teacher"], plan.job_of),
        *(plan.measure_jobs, plan.measure_jobs["teacher"], plan.measure_job_of),
        *(run.spec.terms, run.spec.data.settings),
        *(term.settings for known in plan.runs.values() for term in known.spec.terms.values()),
        *(plan.study.data, plan.study.teachers, plan.study.distillers),
        *(plan.study.tables, plan.study.figures, plan.study.recipes, plan.study.pairs),
        plan.study.teachers["soteacher"].regularizers,
    ]
    for mapping in mappings:
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["another"] = None
        assert not hasattr(mapping, "clear")
    for frozen, name in (
        (plan, "runs"),
        (run, "id"),
        (run.spec, "seed"),
        (run.spec.data, "source"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, None)


def test_every_seed_s_runs_are_those_of_a_study_of_this_seed_alone(wide):
    alone = {}
    for seed in (7, 0, 3):
        alone |= specs(wide | {"seeds": [seed]})
    together = plan_of(wide | {"seeds": [7, 0, 3]})
    assert {run_id: run.spec.to_json() for run_id, run in together.runs.items()} == alone
    for run in together.runs.values():
        if run.teacher is not None:
            assert run.id.startswith(f"{run.teacher.id}/")
            assert together.runs[run.teacher.id] is run.teacher


def test_seeds_of_two_tables_may_have_teachers_with_two_recipes(wide):
    wide["pairs"]["wrn_16_2/wrn_10_1"]["teacher_recipe"] = "students"
    first, *_ = wide["tables"].values()
    first |= {"teachers": ["standard"]}
    pairs = {"a": "wrn_16_2/wrn_10_1", "b": "wrn_16_2/wrn_16_1"}
    wide["tables"] = {
        name: first | {"pairs": [pair], "seeds": [seed]}
        for seed, (name, pair) in enumerate(pairs.items())
    }
    wide.pop("figures", None)
    plan = plan_of(wide)
    recipes = {run.spec.seed: run.spec.recipe for run in plan.runs.values() if not run.teacher}
    assert recipes[0] != recipes[1]
    for run in plan.runs.values():
        if run.teacher:
            assert run.spec.teacher == run.teacher.spec.as_teacher()


def test_settings_are_read_once_for_all_seeds(monkeypatch):
    calls = []
    settings_of = TermSpec.of
    monkeypatch.setattr(TermSpec, "of", lambda term: calls.append(term) or settings_of(term))
    counts = {}
    for n in (1, 60):  # 9,600 runs, all in one table
        calls.clear()
        plan = plan_of(large_study() | {"seeds": [*range(n)]})
        assert len(plan.runs_of("every")) > 100 * n
        counts[n] = len(calls)
    assert counts[1] == counts[60] > 0
