"""What a study will cost: counts worked out by hand, rates, and the report of `soteacher plan`."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from soteacher.cli.format import amount, duration
from soteacher.cli.plan import facts_of, to_text
from soteacher.core import files
from soteacher.core.sealed import write_sealed
from soteacher.data.prepared import open_prepared, prepare
from soteacher.models import catalogue
from soteacher.store.forecast import Forecast
from soteacher.store.run_folder import RunFolder
from soteacher.study import gpu_hours
from soteacher.study.expand import expand
from soteacher.study.gpu_hours import LAUNCH
from soteacher.study.load import load, read
from soteacher.study.specs import fingerprint

N_TRAIN, N_TEST = 1347, 450  # digits
# One image, 8x8, through wrn_10_1, multiply-adds: a stem at 8x8, a stage of two convolutions at
# each of 8x8, 4x4 and 2x2, the latter two with a 1x1 convolution beside them, and ten classes.
SMALL = 2 * (
    3 * 16 * 9 * 64
    + (16 * 16 * 9 + 16 * 16 * 9) * 64
    + (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) * 16
    + (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64) * 4
    + 64 * 10
)
LARGE = catalogue.flops("wrn_16_2", 8, 8, 10)
# Two epochs of a teacher: forward and backward three times a training image, and the test images
# after each epoch and at the end; three of a student, and its teacher on every training image.
TEACHER = (3 * 2 * N_TRAIN + 3 * N_TEST) * LARGE
STUDENT = (3 * 3 * N_TRAIN + 4 * N_TEST) * SMALL
TAUGHT = 3 * N_TRAIN * LARGE
PAIR = {"data": "digits", "teacher_recipe": "two", "student_recipe": "three"}
STUDY = {
    "study": "small",
    "seeds": [0],
    "store": "store",
    "runs_per_job": 10,
    "data": {"digits": {"source": "digits"}},
    "recipes": {
        "two": {"epochs": 2, "batch": 64, "lr": 0.05, "decay_at": [1]},
        "three": {"epochs": 3, "batch": 64, "lr": 0.05, "decay_at": [2]},
        "three_wide": {"epochs": 3, "batch": 128, "lr": 0.05, "decay_at": [2]},
    },
    "pairs": {"wrn_16_2/wrn_10_1": PAIR},
    "teachers": {"standard": {}, "no_lr": {"consistency": {}}},
    "distillers": {
        "kd": {},
        "kd_hot": {"method": "kd", "temperature": 10.0},
        "kd_again": {"method": "kd"},
    },
    "tables": {"one": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd"]}},
}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Each test works in an empty folder, with its results and its store."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(**changes):
    return expand(read(STUDY | changes))


def table(*distillers, teachers=("standard",), **settings):
    settings = {"teachers": list(teachers), "distillers": list(distillers)} | settings
    return {"kind": "accuracy", **settings}


def facts(rate=None, parallel=1, **changes):
    planned = plan(**changes)
    return facts_of(planned, Forecast(planned, rate, parallel))


def flop(**changes):
    return facts(**changes)["all"]["flop"]


def blocks(**changes):
    return {block["block"]: block for block in facts(**changes)["blocks"]}


# -- arithmetic ---------------------------------------------------------------------------------


def test_the_small_network_costs_the_hand_counted_forward_pass():
    assert SMALL == 1_563_904 == catalogue.flops("wrn_10_1", 8, 8, 10)


def test_a_teacher_costs_three_passes_a_training_image_and_its_tests():
    assert flop(tables={"one": table("kd", columns=["teacher.top1"])}) == TEACHER


@pytest.mark.parametrize(
    ("settings", "tests"),
    [
        ({"test_every": 4}, 3 + 1),  # after epochs 4, 8 and 10, and once at the end
        ({"test_every": 4, "keep_every": 5}, 4 + 1),  # also after epoch 5
        ({"test_every": 99}, 1 + 1),
        ({}, 10 + 1),
    ],
)
def test_a_teacher_is_tested_as_often_as_its_recipe_says(settings, tests):
    recipe = {"epochs": 10, "batch": 64, "lr": 0.05, "decay_at": []} | settings
    pair = {"wrn_10_1/wrn_10_1": PAIR | dict.fromkeys(["teacher_recipe", "student_recipe"], "ten")}
    only = {"one": table("kd", columns=["teacher.top1"])}
    found = flop(tables=only, pairs=pair, recipes={"ten": recipe})
    assert found == (3 * 10 * N_TRAIN + tests * N_TEST) * SMALL


def test_a_student_costs_its_own_training_and_its_teacher_s_forward_pass():
    assert flop() == TEACHER + STUDENT + TAUGHT


def test_known_true_labels_cost_one_more_pass_over_the_training_images():
    known = {"digits": {"source": "digits", "true_labels": {"confusion": 0.3}}}
    assert flop(data=known) == pytest.approx(flop() + N_TRAIN * (LARGE + SMALL), rel=1e-12)


def test_students_of_one_pass_share_their_teacher_s_forward_pass():
    one = {"one": table("kd", "kd_hot")}
    assert flop(tables=one) == pytest.approx(TEACHER + 2 * STUDENT + TAUGHT, rel=1e-12)


def test_students_in_jobs_of_their_own_pay_for_their_teacher_each():
    found = flop(tables={"one": table("kd", "kd_hot")}, runs_per_job=1)
    assert found == pytest.approx(TEACHER + 2 * (STUDENT + TAUGHT), rel=1e-12)


def test_students_of_one_job_with_other_batches_pay_for_their_teacher_each():
    other = PAIR | {"student_recipe": "three_wide", "student": "wrn_16_1", "teacher": "wrn_16_2"}
    found = flop(pairs={"wrn_16_2/wrn_10_1": PAIR, "wide": other})
    # wrn_16_1 has a second block of two convolutions in each stage
    larger = SMALL + 2 * 2 * 9 * (16 * 16 * 64 + 32 * 32 * 16 + 64 * 64 * 4)
    second = (3 * 3 * N_TRAIN + 4 * N_TEST) * larger
    assert found == pytest.approx(TEACHER + STUDENT + second + 2 * TAUGHT, rel=1e-12)


def test_a_run_that_two_blocks_ask_for_is_counted_in_both_and_once_in_all():
    tables = {
        "one": table("kd"),
        "two": table("kd_hot", teachers=("standard", "no_lr"), columns=["student.top1"]),
    }
    found = blocks(tables=tables)
    assert {name: block["flop"] for name, block in found.items()} == {
        "one": TEACHER + STUDENT + TAUGHT,
        "two": 2 * (TEACHER + STUDENT + TAUGHT),
    }
    counts = ("teachers", "students", "only")
    assert [found["one"][count] for count in counts] == [1, 1, 1]
    assert [found["two"][count] for count in counts] == [2, 2, 3]
    whole = facts(tables=tables)["all"]
    assert (whole["teachers"], whole["students"]) == (2, 3)
    assert whole["flop"] == 2 * TEACHER + 3 * (STUDENT + TAUGHT)  # no job serves both tables


def test_runs_that_are_the_same_under_two_names_are_paid_for_once():
    once, twice = facts()["all"], facts(tables={"one": table("kd", "kd_again")})["all"]
    assert (once["students"], twice["students"]) == (1, 2)
    assert (twice["flop"], twice["bytes"]) == (once["flop"], once["bytes"])


def test_the_most_expensive_block_comes_first():
    tables = {"cheap": table("kd"), "dear": table("kd", "kd_hot"), "free": table("kd")}
    tables["free"]["columns"] = ["teacher.top1"]
    assert list(blocks(tables=tables)) == ["dear", "cheap", "free"]


# -- disk ---------------------------------------------------------------------------------------


def kept(**changes):
    return facts(**changes)["all"]["bytes"]


def weights(name):
    return 4 * catalogue.parameters(name, 8, 8, 10)


def test_weights_and_test_logits_are_kept():
    expected = weights("wrn_16_2") + weights("wrn_10_1") + 2 * N_TEST * 10 * 4
    assert expected < kept() < expected + 30_000  # records


def test_logits_of_the_training_images_are_kept_where_true_labels_are_known():
    known = {"digits": {"source": "digits", "true_labels": {"confusion": 0.3}}}
    assert kept(data=known) == kept() + 2 * N_TRAIN * 10 * 4


@pytest.mark.parametrize(("every", "checkpoints"), [(1, 19), (5, 3), (6, 3), (20, 0), (30, 0)])
def test_checkpoints_are_kept_for_teachers_and_the_last_is_the_weights(every, checkpoints):
    long = {"epochs": 20, "batch": 64, "lr": 0.05, "decay_at": [10]}
    pair = {"wrn_16_2/wrn_10_1": PAIR | dict.fromkeys(["teacher_recipe", "student_recipe"], "long")}

    def with_recipe(recipe):
        return kept(pairs=pair, recipes={"long": recipe})

    more = with_recipe(long | {"keep_every": every}) - with_recipe(long)
    assert more == checkpoints * weights("wrn_16_2")


@pytest.mark.parametrize("truth", [{}, {"true_labels": {"confusion": 0.3}}])
def test_prepared_images_take_what_their_arrays_hold(truth):
    data = {name: {"source": "digits", **truth} for name in ("digits", "same")}
    study = plan(data=data)
    prepare(study.data_spec("digits"), Path("store"))
    arrays = sum(path.stat().st_size - 128 for path in Path("store").rglob("*.npy"))
    assert Forecast(study).facts()["data_bytes"] == arrays


# -- time ---------------------------------------------------------------------------------------


def prepared(study):
    """Prepare the digits of a plan as the workflow does."""
    manifest = Path("results/small/data/digits.json")
    files.write_json(manifest, prepare(study.data_spec("digits"), Path("store")))
    return open_prepared(manifest, Path("store"))


TRAINED_ON = {
    "device": "a machine",
    "device_type": "cpu",
    "threads": 1,
    "precision": "tf32",
    "versions": {"torch": "2"},
}


def finish(data, run, seconds, pid, **facts):
    """Put a made-up finished run into the store."""
    own = fingerprint(run.spec, data.sha256)
    record = {
        "id": run.id,
        "spec": run.spec.to_json(),
        "data_sha256": data.sha256,
        "fingerprint": own,
        "status": "done",
        "seconds": seconds,
        "attempts": [
            {"host": "here", "slurm_job": None, "pid": pid, "started": "2026-01-01T00:00:00+0000"}
        ],
        "artifacts": {},
        "trained_on": TRAINED_ON,
        "soteacher": "1",
    }
    write_sealed(RunFolder(Path("store"), own, run.id).path / "run.json", record | facts)


def roles(study):
    """Teachers and students of a plan."""
    runs = list(study.runs.values())
    return [run for run in runs if not run.teacher], [run for run in runs if run.teacher]


def rates(forecast):
    """Role and network to the rate found."""
    return {(k.role, k.network): rate.flop_per_second for k, rate in forecast.rates.items()}


def test_a_stated_rate_divides_the_arithmetic():
    whole = facts(rate=1e9)["all"]
    assert whole["seconds"] == pytest.approx((TEACHER + STUDENT + TAUGHT) / 1e9)


def test_processes_at_once_divide_the_time():
    assert facts(1e9, parallel=4)["all"]["seconds"] == facts(1e9)["all"]["seconds"] / 4


def test_without_a_rate_there_is_no_time_and_a_line_says_how_to_get_one():
    found = facts()
    assert found["all"]["seconds"] is None
    assert found["blocks"][0]["seconds"] is None
    last = to_text(found).splitlines()[-1]
    assert "The time of teachers and students is unknown" in last
    assert "--rate TFLOP/s" in last


def test_finished_runs_are_counted_and_their_rate_is_that_of_what_is_left():
    tables = {"one": table("kd", teachers=("standard", "no_lr"))}
    study = plan(tables=tables)
    data = prepared(study)
    teachers, students = roles(study)
    finish(data, teachers[0], seconds=10.0, pid=1)
    finish(data, students[0], seconds=20.0, pid=2)
    found = facts(tables=tables)
    assert found["all"]["in_store"] == found["blocks"][0]["in_store"] == 2
    left = found["to_train"]
    assert (left["teachers"], left["students"]) == (1, 1)
    assert left["flop"] == TEACHER + STUDENT + TAUGHT
    assert left["seconds"] == pytest.approx(10.0 + 20.0)
    assert found["all"]["seconds"] == pytest.approx(2 * (10.0 + 20.0))


def test_runs_on_images_of_one_s_own_tell_a_rate_though_their_spec_does_not_say_where_those_are():
    for split, shade in (("train", 50), ("test", 60)):
        for name in ("black", "white"):
            Path("images", split, name).mkdir(parents=True)
            Image.new("L", (8, 8), shade).save(Path("images", split, name, "1.png"))
    changes = {
        "data": {"own": {"source": "image_folder", "path": "images"}},
        "pairs": {"wrn_16_2/wrn_10_1": PAIR | {"data": "own"}},
    }
    study = plan(**changes)
    manifest = Path("results/small/data/own.json")
    made = prepare(study.data_spec("own"), Path("store"), study.data_location("own"))
    files.write_json(manifest, made)
    [teacher], _ = roles(study)
    finish(open_prepared(manifest, Path("store")), teacher, seconds=2.0, pid=1)
    found = Forecast(study)
    assert found.finished.keys() == {teacher.id}
    assert rates(found) == {("teacher", "wrn_16_2"): found.costs([teacher])["flop"] / 2}


def test_seconds_of_runs_in_one_pass_are_those_of_all_of_them():
    tables = {"one": table("kd", "kd_hot")}
    study = plan(tables=tables)
    data = prepared(study)
    _, students = roles(study)
    finish(data, students[0], seconds=29.0, pid=1)
    finish(data, students[1], seconds=30.0, pid=1)
    together = (2 * STUDENT + TAUGHT) / 30
    assert rates(Forecast(study)) == {("student", "wrn_10_1"): pytest.approx(together)}
    finish(data, students[1], seconds=30.0, pid=2)  # each in a process of its own
    apart = [(STUDENT + TAUGHT) / seconds for seconds in (29, 30)]
    assert rates(Forecast(study)) == {("student", "wrn_10_1"): pytest.approx(sum(apart) / 2)}


def test_a_rate_is_the_median_of_the_passes():
    study = plan(seeds=[0, 1, 2])
    data = prepared(study)
    for run, seconds in zip(roles(study)[0], (1.0, 10.0, 50.0), strict=True):
        finish(data, run, seconds, pid=1)  # the seed makes passes of their own
    assert rates(Forecast(study)) == {("teacher", "wrn_16_2"): TEACHER / 10}


def test_other_studies_runs_tell_the_rate_until_the_plan_s_own_do():
    study = plan()
    data = prepared(study)
    [teacher], _ = roles(study)
    finish(data, roles(plan(seeds=[7]))[0][0], seconds=4.0, pid=1)
    assert rates(Forecast(study)) == {("teacher", "wrn_16_2"): TEACHER / 4}
    assert Forecast(study).finished == {}
    finish(data, teacher, seconds=10.0, pid=2)
    assert rates(Forecast(study)) == {("teacher", "wrn_16_2"): TEACHER / 10}


def test_runs_of_another_precision_tell_no_rate():
    study = plan(precision="tf32")
    data = prepared(study)
    finish(data, roles(plan())[0][0], seconds=4.0, pid=1)
    assert rates(Forecast(study)) == {}
    finish(data, roles(study)[0][0], seconds=10.0, pid=2)
    assert rates(Forecast(study)) == {("teacher", "wrn_16_2"): TEACHER / 10}


def test_a_network_that_the_plan_does_not_train_tells_no_rate():
    other = plan(pairs={"wrn_40_2/wrn_16_1": PAIR})
    data = prepared(other)
    for run in other.runs.values():
        finish(data, run, seconds=1.0, pid=1)
    assert rates(Forecast(plan())) == {}


def test_a_network_without_a_finished_run_takes_the_rate_of_its_role():
    pairs = {"wrn_16_2/wrn_10_1": PAIR, "wrn_40_2/wrn_10_1": PAIR}
    study = plan(pairs=pairs)
    finish(prepared(study), roles(study)[0][0], seconds=10.0, pid=1)
    found = rates(Forecast(study))
    assert found == dict.fromkeys([("teacher", "wrn_16_2"), ("teacher", "wrn_40_2")], TEACHER / 10)
    assert "wrn_40_2, 8x8: " in to_text(facts(pairs=pairs))
    assert "(median of the other teachers)" in to_text(facts(pairs=pairs))


@pytest.mark.parametrize(
    "other",
    [
        {"status": "diverged"},
        {"seconds": 0.0},
        {"spec": {"role": "preparation"}},
    ],
)
def test_records_that_tell_no_rate_are_left_out(other):
    study = plan()
    finish(prepared(study), roles(study)[0][0], **({"seconds": 1.0, "pid": 1} | other))
    assert rates(Forecast(study)) == {}


def test_a_run_of_parts_that_this_version_does_not_know_tells_no_rate():
    study = plan()
    data = prepared(study)
    spec = roles(study)[1][0].spec.to_json()
    unknown = [
        spec | {"data": {"source": "gone", "revision": 1}},
        spec | {"terms": {"kd": {"revision": 99}}},
        spec | {"teacher": spec["teacher"] | {"network": {"name": "gone", "revision": 1}}},
    ]
    for pid, other in enumerate(unknown):
        finish(data, roles(plan(seeds=[pid + 1]))[1][0], seconds=1.0, pid=pid, spec=other)
    assert rates(Forecast(study)) == {}


def test_nothing_counts_as_finished_while_the_data_are_other_ones_or_gone():
    study = plan()
    data = prepared(study)
    for run in study.runs.values():
        finish(data, run, seconds=1.0, pid=1)
    assert facts()["all"]["in_store"] == 2
    known = {"digits": {"source": "digits", "true_labels": {"confusion": 0.3}}}
    assert facts(data=known)["all"]["in_store"] == 0
    assert facts(store="elsewhere")["all"]["in_store"] == 0
    Path("results/small/data/digits.json").unlink()
    assert facts()["all"]["in_store"] == 2  # the store has these data all the same
    shutil.rmtree("store/data")
    assert facts()["all"]["in_store"] == 0


def test_a_broken_record_is_named_and_counts_as_no_run(caplog):
    study = plan()
    data = prepared(study)
    for run in study.runs.values():
        finish(data, run, seconds=1.0, pid=1)
    [broken, *_] = sorted(Path("store").glob("runs/*/run.json"))
    broken.write_text("{")
    assert facts()["all"]["in_store"] == 1
    assert "; delete the run with `soteacher forget" in caplog.text
    assert caplog.text.count(f"{broken}: it is damaged") == 1


# -- GPUs: a model --------------------------------------------------------------------------------


def hours(gpu, precision, **changes):
    """Modelled seconds of one process, and of the device."""
    [found] = [
        row
        for row in facts(**changes)["gpu"]["hours"]
        if (row["gpu"], row["precision"]) == (gpu, precision)
    ]
    return found["seconds"], found["bound"]


def test_small_networks_take_the_time_of_the_host_on_a_gpu():
    """Two epochs of a teacher: 22 steps of 64 images, and three tests of one batch each."""
    found, device = hours("H100", "tf32", tables={"one": table("kd", columns=["teacher.top1"])})
    norms = 13  # of wrn_16_2
    a_step = 18 + 17 + (4.5 + 3.4) * norms
    assert found == pytest.approx(
        2 * 22 * (a_step * LAUNCH + 0.35e-3) + 3 * 3.5 * norms * LAUNCH, rel=1e-9
    )
    assert 0 < device < found / 10


def test_the_model_agrees_with_the_steps_that_an_h100_was_measured_to_take(root):
    """Within a tenth in the median; float32 of ResNet32x4 and ShuffleNetV2 is slower than it."""
    report = json.loads((root / "docs/gpu_check_h100.json").read_text(encoding="utf-8"))
    planned = expand(load(root / "config/paper.yaml"))
    specs = {}
    for run in planned.runs.values():
        spec, teacher = run.spec, run.spec.teacher
        if teacher is None and not spec.terms:
            specs[f"{spec.network.name}, teacher"] = run
        elif teacher is not None and {*spec.terms} == {"kd"} and not teacher.terms:
            specs[f"{spec.network.name}, kd from {teacher.network.name}"] = run
    [h100] = [gpu for gpu in gpu_hours.GPUS if gpu.name == "H100"]
    ratios = []
    for row in report["steps"]:
        if row["deterministic"]:
            run, work = specs[row["name"]], gpu_hours.Work()
            outline = planned.study.data[run.data].source.outline()
            work.train(run.spec, outline, 1)
            work.share(run.spec, outline, 1)
            modelled = work.seconds_on(h100, row["precision"]).one_process
            ratios.append(row["ms"] / 1e3 / modelled)
    assert len(ratios) == 21
    assert 0.9 < statistics.median(ratios) < 1.1
    assert min(ratios) > 0.8 and max(ratios) < 1.7


def test_large_images_take_the_time_of_their_arithmetic_or_of_their_traffic():
    large = {"source": "generated", "n_train": 6400, "n_test": 2, "size": 256, "n_classes": 10}
    changes = {
        "data": {"digits": large},
        "tables": {"one": table("kd", columns=["teacher.top1"])},
    }
    flop = facts(**changes)["all"]["flop"]
    found, device = hours("A100", "float32", **changes)
    assert found == device == pytest.approx(flop / (0.4 * 19.5e12), rel=1e-6)
    values = sum(catalogue.values("wrn_16_2", 256, 256, 10))
    traffic = (2 * 6400 * 17.3 + 3 * 2 * 7.1) * values
    _, device = hours("H100", "tf32", **changes)
    assert device == pytest.approx(4 * traffic / (0.8 * 3.35e12), rel=1e-6)
    assert hours("H100", "bfloat16", **changes)[1] == pytest.approx(device / 2, rel=1e-6)


def test_a_first_stage_on_the_teacher_alone_is_counted_once_and_another_one_per_student():
    def seconds(**distillers):
        changes = {"distillers": {"kd": {}} | distillers, "runs_per_job": 1}
        named = {"one": table(*distillers)}
        return hours("H100", "tf32", tables=named, **changes)[0]

    short = {name: {"prepare_epochs": 1} for name in ("ab", "ft")}
    long = {name: {"prepare_epochs": 3} for name in ("ab", "ft")}
    [ab, ft] = [seconds(**{name: long[name]}) - seconds(**{name: short[name]}) for name in short]
    batch, teacher, student = 18, 3.5 * 13, (4.5 + 3.4) * 7 + 17 + 24
    assert ab == pytest.approx(2 * 22 * ((batch + teacher + student) * LAUNCH + 0.35e-3))
    assert ft == pytest.approx(2 * 22 * ((batch + teacher + 40) * LAUNCH + 0.35e-3))
    other = {"method": "ft", "weight": 7.0}
    shares = seconds(ft=short["ft"], other=other | short["ft"])
    has_its_own = seconds(ft=short["ft"], other=other | long["ft"])
    assert has_its_own - shares == pytest.approx(
        3 * 22 * ((batch + teacher + 40) * LAUNCH + 0.35e-3)
    )


def test_memory_on_a_gpu_is_shown_by_network_with_the_number_of_processes_that_fit(root):
    planned = expand(load(root / "config/paper.yaml"))
    rows = {row["network"]: row for row in Forecast(planned).facts()["gpu"]["memory"]}
    kept = {"wrn_40_2": 0.37e9, "resnet32x4": 0.66e9, "shufflenet_v2": 1.44e9}
    kept |= {"resnet18": 2.45e9, "resnet34": 4.17e9}  # counted for the backward pass alone
    for network, least in kept.items():
        assert least + 0.6e9 < rows[network]["bytes"] < 2 * least + 1.8e9
    fits = rows["resnet34"]["fit"]
    assert fits == {size: int(0.95e9 * int(size) // rows["resnet34"]["bytes"]) for size in fits}
    lines = to_text(facts_of(planned, Forecast(planned))).splitlines()
    assert "teacher resnet34       7.85 GB      2      4     8+" in lines


def test_the_plan_of_some_tables_models_these_alone_and_a_known_rate_hides_the_model(root):
    planned = expand(load(root / "config/paper.yaml"))
    texts = [
        to_text(facts_of(part, Forecast(part)))
        for part in (planned.only(["table1"]), planned.only(["table1", "figure1"]), planned)
    ]
    h100 = [line.split()[1:2] for text in texts for line in text.splitlines() if "H100" in line]
    assert [float(hours) for [hours] in h100] == sorted({float(hours) for [hours] in h100})
    assert all("by a model," in text and "V100" in text for text in texts)
    assert "resnet34" not in texts[0]
    stated = to_text(facts_of(planned, Forecast(planned, 1e12)))
    assert "by a model," not in stated and "GPU memory" in stated


def test_nothing_is_said_of_gpus_if_nothing_is_left_to_train():
    study = plan()
    data = prepared(study)
    for run in study.runs.values():
        finish(data, run, seconds=1.0, pid=1)
    assert facts()["gpu"]["memory"] == []
    assert "GPU" not in to_text(facts())


# -- the command --------------------------------------------------------------------------------


EVERY_KIND = "tests/unit/every_kind.yaml"


def command(root, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "soteacher", "plan", str(root / EVERY_KIND), *arguments],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )


def test_the_plan_command_says_what_a_study_costs(root):
    done = command(root, "--rate", "0.01", "--parallel", "2")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    row = ["12", "24", "0", "36", "0", "12.1", "TFLOP", "73.5", "MB", "10", "min"]
    assert ["table1", *row] in lines
    row = ["33", "77", "0", "28", "TFLOP", "142", "MB", "23", "min"]
    assert ["all", *row] in lines
    assert ["to", "train", *row] in lines
    said = "Not counted: overhead, which times a few training steps and trains no run."
    assert said in done.stdout.splitlines()
    last = "Time: 2 training processes at once, at the given 10 GFLOP/s each."
    assert done.stdout.splitlines()[-1] == last


def test_the_plan_command_says_the_same_as_json(root, demo):
    done = command(root, "--json")
    assert done.returncode == 0, done.stderr
    planned = expand(read(demo))
    expected = facts_of(planned, Forecast(planned))
    assert json.loads(done.stdout) == expected


def test_the_plan_command_counts_some_tables_and_figures_alone(root):
    done = command(root, "--only", "table1", "figure1", "--json")
    assert done.returncode == 0, done.stderr
    said, whole = json.loads(done.stdout), json.loads(command(root, "--json").stdout)
    of_whole = {block["block"]: block for block in whole["blocks"]}
    assert said["blocks"] == [of_whole["table1"], of_whole["figure1"]]
    assert said["only"] == ["table1", "figure1"] and whole["only"] is None
    assert of_whole["table1"]["students"] <= said["all"]["students"] < whole["all"]["students"]
    assert said["data_bytes"] < whole["data_bytes"]  # the rotated digits are for other blocks
    assert said["timed"] == [] and whole["timed"] == ["overhead"]
    text = command(root, "--only", "table1").stdout.splitlines()
    assert text[0] == "Study demo, the runs that table1 needs:"
    assert [line.split()[0] for line in text[2:5]] == ["teachers", "table1", "all"]


def test_the_plan_of_an_unknown_block_is_refused_with_the_nearest_name(root):
    done = command(root, "--only", "tabel1")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().endswith("did you mean 'table1'?")


@pytest.mark.parametrize(
    "asked",
    [["--parallel", "0"], *(["--rate", rate] for rate in ("0", "-1", "inf", "nan"))],
)
def test_an_impossible_rate_is_refused_with_one_line(root, asked):
    done = command(root, *asked)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "expected a number above 0 for --rate and a whole number above 0 for --parallel" in line


def test_whoever_reads_no_further_ends_the_command_quietly(root):
    asked = [sys.executable, "-m", "soteacher", "plan", str(root / EVERY_KIND)]
    planning = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    planning.stdout.close()
    assert planning.stderr.read() == ""
    assert planning.wait() == 141


def test_planning_imports_no_torch(root):
    code = (
        "import sys; from soteacher.cli import main; main(['plan', sys.argv[1]]); "
        "sys.exit(int('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / EVERY_KIND)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999.4, "999 B"), (999.6, "1 kB"), (1234567, "1.23 MB"), (23.6e15, "23.6 PB")],
)
def test_amounts_have_three_digits_and_a_prefix(value, text):
    assert amount(value, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_long_durations_stay_in_hours():
    assert duration(1234.56 * 3600) == "1,234.6 h"
