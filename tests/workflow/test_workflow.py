"""What Snakemake does with a study: what it runs, what it leaves alone, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from soteacher.study.expand import expand
from soteacher.study.load import load, read
from soteacher.study.plan import Plan
from soteacher.study.requests import Request

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config/demo.yaml"


def dry_run(*arguments: str, cwd: Path = ROOT) -> str:
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def jobs(output: str) -> dict[str, int]:
    """Rule to number of jobs, from Snakemake's table."""
    counts = {}
    for line in output.splitlines():
        match = re.fullmatch(r"(\w+) +(\d+)", line.strip())
        if match:
            counts[match[1]] = int(match[2])
    return counts


def test_a_dry_run_from_the_root_and_of_the_workflow_folder_list_the_same_jobs(empty):
    arguments = ["--directory", str(empty.path), "--configfile", str(DEMO)]
    from_root = jobs(dry_run(*arguments))
    from_folder = jobs(dry_run("-s", "workflow/Snakefile", *arguments))
    assert from_root == from_folder
    assert from_root == {
        "prepare": 1,
        "teach": 11,
        "distill": 13,
        "measure": 23,
        "time_steps": 1,
        "table": 14,
        "figure": 5,
        "runs": 1,
        "claims": 1,
        "page": 1,
        "all": 1,
        "total": 72,
    }


def test_without_a_study_the_paper_is_meant_from_any_working_directory(empty):
    output = dry_run("--directory", str(empty.path), "--printshellcmds")
    tables = [f"table{number}" for number in range(1, 8)]
    for name in (*tables, "table7_calibration", "table7_agreement", "overhead"):
        assert f"results/paper/tables/{name}.md" in output
    for name in ("figure1", "figure2"):
        assert f"results/paper/figures/{name}.png" in output
    plan = expand(load(ROOT / "config/paper.yaml"))
    assert requests(output, "paper") == requests_of(plan)
    assert len(plan.runs) == 87 + 379


def requests(output: str, study: str) -> set[str]:
    """Paths of the files that say what jobs train, from a dry run with its commands."""
    return set(re.findall(rf"results/{study}/asked/(?:teachers|students)-[\w-]+\.json", output))


def requests_of(plan: Plan) -> set[str]:
    """Paths of these files for all jobs of a plan."""
    folder = f"results/{plan.study.study}/asked"
    return {
        Request.of(folder, f"{role}s-{name}", job.request).path
        for role, jobs in plan.jobs.items()
        for name, job in jobs.items()
    }


@pytest.mark.parametrize("way", [["-n"], ["--lint"], ["--summary"], ["--dag"], ["--list-rules"]])
def test_what_runs_no_job_writes_no_results(empty, way):
    empty.snakemake(*way)
    assert not (empty.path / "results").exists()


def test_without_hooks_jobs_find_their_requests_too(empty):
    empty.snakemake("--no-hooks", "results/tiny/runs/teachers/" + teacher_job(empty))
    [request] = (empty.path / "results/tiny/asked").glob("teachers-*.json")
    assert json.loads(request.read_text()).keys() == {run.split()[0] for run in empty.trained()}


def teacher_job(place) -> str:
    """The file name of the manifest of the one job of teachers."""
    [job] = expand(read(place.study)).jobs["teacher"]
    return f"{job}.json"


def test_a_file_over_the_paper_s_study_changes_its_keys(empty):
    over = [str(ROOT / f"config/{name}.yaml") for name in ("paper", "rehearsal")]
    output = dry_run("--directory", str(empty.path), "--configfile", *over)
    assert set(re.findall(r"results/(\w+)/", output)) == {"rehearsal"}
    assert jobs(output) | {"teach": 9, "distill": 16} == jobs(output)


@pytest.mark.parametrize("more", [[], ["--config", "threads=1"]])
def test_a_users_study_replaces_the_default_one(empty, more):
    output = dry_run(
        "--directory",
        str(empty.path),
        "--configfile",
        str(empty.path / "study.yaml"),
        *more,
    )
    assert "results/tiny/tables/table1.md" in output
    assert "demo" not in output.replace(str(DEMO), "")
    assert jobs(output)["teach"] == 1


def test_the_demo_lists_no_job_of_another_study(empty):
    output = dry_run(
        "--directory", str(empty.path), "--configfile", str(DEMO), "--config", "threads=1"
    )
    outputs = re.findall(r"results/(\w+)/", output)
    assert set(outputs) == {"demo"}


def test_a_setting_on_the_command_line_overrides_the_study(empty):
    study = ["--directory", str(empty.path), "--configfile", str(DEMO)]
    output = dry_run(*study, "--printshellcmds", "--config", "seeds=[7]")
    plan = expand(read(yaml.safe_load(DEMO.read_text()) | {"seeds": [7]}))
    assert "digits/wrn_10_2/standard/seed7/wrn_10_1/pure" in plan.runs
    assert requests(output, "demo") == requests_of(plan)


def test_a_run_of_days_on_a_cpu_is_allowed_on_the_command_line(empty):
    study = ["--directory", str(empty.path), "--configfile", str(DEMO), "--printshellcmds"]
    assert "--allow-cpu" not in dry_run(*study)
    assert "--allow-cpu" in dry_run(*study, "--config", "allow_cpu=true")


def test_a_run_makes_the_table_and_the_page_and_a_second_run_does_nothing(place):
    table = (place.path / "results/tiny/tables/table1.md").read_text()
    page = (place.path / "results/tiny/report.html").read_text()
    assert "SoTeacher" in table and "SoTeacher" in page
    assert "Not the paper's experiment" in table
    assert "Not the paper&#39;s experiment" in page
    before = place.trained()
    assert len(before) == 4
    assert "Nothing to be done" in place.snakemake().stderr
    assert place.trained() == before


def test_links_for_people_lead_to_the_runs(place):
    run = place.path / "results/tiny/students/digits/wrn_10_1/soteacher/seed0/wrn_10_1/kd"
    record = json.loads((run / "run.json").read_text())
    assert record["id"] == "digits/wrn_10_1/soteacher/seed0/wrn_10_1/kd"
    assert record["status"] == "done"


def test_records_say_how_a_run_was_trained(place):
    run = place.path / "results/tiny/teachers/digits/wrn_10_1/soteacher/seed0"
    record = json.loads((run / "run.json").read_text())
    trained_on = record["trained_on"]
    assert trained_on["device_type"] == "cpu"
    assert trained_on["threads"] == 1
    assert trained_on["deterministic"] is True
    assert trained_on["tf32"] == {"convolutions": False, "products": False}
    assert record["peak_memory_mb"] > 100
    assert record["images_per_second"] > 0
    assert record["spec"]["terms"] == {
        "consistency": {"revision": 1},
        "lipschitz": {"revision": 1, "weight": 1e-4},
    }


def test_measures_are_those_of_the_logits_in_the_store(place):
    run_id = "digits/wrn_10_1/soteacher/seed0/wrn_10_1/kd"
    measures = measures_of(place, "students")
    [row] = [row for row in csv.DictReader(measures.open()) if row["run"] == run_id]
    [epochs] = (place.path / "results/tiny/measures/students").glob("*.epochs.csv")
    told = [row["test_top1"] for row in csv.DictReader(epochs.open()) if row["run"] == run_id]
    assert len(told) == 2
    assert row["top1"] == told[-1] and float(row["best_top1"]) == max(map(float, told))
    student = np.load(place.path / f"results/tiny/students/{run_id}/test_logits.npy")
    teacher = np.load(
        place.path / "results/tiny/teachers/digits/wrn_10_1/soteacher/seed0/test_logits.npy"
    )
    [labels] = (place.path / "results/store/data").glob("*/test_labels.npy")
    found = student.argmax(axis=1)
    assert float(row["top1"]) == (found == np.load(labels)).mean()
    assert float(row["agreement"]) == (found == teacher.argmax(axis=1)).mean()
    assert float(row["ece_scaled"]) >= 0 and float(row["temperature_first"]) > 0
    assert row["test_distance"] == ""  # these images have no known true distribution


def measures_of(place, role) -> Path:
    """The measures of the one job of a role, a row a run."""
    paths = (place.path / f"results/tiny/measures/{role}").glob("*.csv")
    [path] = [path for path in paths if path.name.count(".") == 1]
    return path


def test_manifests_hold_no_time_host_or_path(place, empty):
    empty.snakemake("results/tiny/runs/teachers/" + teacher_manifest(place).name)
    assert teacher_manifest(place).read_bytes() == teacher_manifest(empty).read_bytes()


def teacher_manifest(place) -> Path:
    [path] = (place.path / "results/tiny/runs/teachers").glob("*.json")
    return path


def test_one_changed_setting_retrains_exactly_the_runs_that_it_touches(place):
    before = place.trained()
    study = place.study
    study["teachers"]["soteacher"]["lipschitz"]["weight"] = 2e-4
    place.write(study)
    place.snakemake()
    new = {run.split()[0] for run in place.trained() - before}
    assert new == {
        "digits/wrn_10_1/soteacher/seed0",
        "digits/wrn_10_1/soteacher/seed0/wrn_10_1/kd",
    }
    assert before < place.trained()


def test_reordered_keys_and_settings_that_are_no_part_of_a_run_change_nothing(place):
    study = place.study
    reordered = {key: study[key] for key in reversed(study)}
    reordered["teachers"]["soteacher"] = {"consistency": {}, "lipschitz": {"weight": 1e-4}}
    reordered |= {"save_every": 5, "device": "auto", "loggers": ["tensorboard"]}
    place.write(reordered)
    assert "Nothing to be done" in place.snakemake().stderr


def test_an_unpublished_run_is_published_from_the_store_and_not_trained_again(place):
    before = place.trained()
    teacher_manifest(place).unlink()
    place.snakemake("--forceall")
    assert place.trained() == before
    assert place.attempts() == [1, 1, 1, 1]


@pytest.mark.parametrize("columns", [["teacher.top1"], ["student.top1", "teacher.top1"]])
def test_after_a_job_that_failed_once_no_stale_table_is_left(place, tmp_path, columns):
    """Snakemake alone takes the old table for the new one: the failed job's manifest is missing,
    but what was made of it is there."""
    study = place.study
    study["tables"]["table1"]["columns"] = columns
    place.write(study)
    place.snakemake("table1")
    before = place.trained()
    table = place.path / "results/tiny/tables/table1.csv"
    made = table.stat().st_mtime_ns
    study["teachers"]["soteacher"]["lipschitz"]["weight"] = 5e-2
    place.write(study)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "bash").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")  # it runs all jobs
    (broken / "bash").chmod(0o755)
    place.snakemake("table1", code=1, path=str(broken))
    place.snakemake("table1")
    new = {run.split()[0]: run.split()[1] for run in place.trained() - before}
    assert len(new) == len(columns)
    # two accuracies may be equal by chance, so that it is another table is told by its time
    assert table.stat().st_mtime_ns > made
    values = {row["runs"]: float(row["values"]) for row in csv.DictReader(table.open())}
    for run, fingerprint in new.items():
        record = place.path / "results/store/runs" / fingerprint / "run.json"
        top1 = json.loads(record.read_text())["last_test_top1"]
        assert values[run] == pytest.approx(100 * top1)
    assert "Nothing to be done" in place.snakemake("table1").stderr


def remade(place, *rules: str) -> set[str]:
    """Names of the files that forced rules write anew; fails where one is another than before."""
    paths = [
        path
        for part in ("runs", "measures", "tables")
        for path in (place.path / "results/tiny" / part).rglob("*.*")
    ]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    place.snakemake("--forcerun", *rules)
    anew = {path for path, (time, _) in before.items() if path.stat().st_mtime_ns > time}
    assert {path: path.read_bytes() for path in anew} == {path: before[path][1] for path in anew}
    return {path.relative_to(place.path / "results/tiny").parts[0] for path in anew}


def test_measures_tables_and_the_page_are_made_again_from_records_alone(place):
    shutil.rmtree(place.path / ".snakemake")
    for left_out in ("*.safetensors", "*_images.npy"):
        for path in [*place.path.rglob(left_out)]:
            path.unlink()
    assert "Nothing to be done" in place.snakemake("--dry-run").stdout
    assert remade(place, "measure") == {"measures", "tables"}
    shutil.rmtree(place.path / "results/store")
    assert remade(place, "table", "page") == {"tables"}
    assert place.attempts() == []


def test_a_table_refuses_measures_of_other_settings(place):
    measures = measures_of(place, "teachers")
    rows = list(csv.DictReader(measures.open()))
    run = rows[0]["run"]
    block = {"name": "table1", "kind": "accuracy", "runs": {run: "0" * 64}, "cells": []}
    listed = place.asked([str(measures)])
    arguments = ["--measures", listed, "--markdown", "t.md", "--latex", "t.tex"]
    arguments += ["--out", "t.csv"]
    said = place.soteacher("table", "--block", place.asked(block), *arguments, code=2)
    assert f"'{run}' have other settings" in said
    assert not (place.path / "t.csv").exists()


def test_measures_refuse_a_manifest_of_other_settings(place):
    manifest = teacher_manifest(place)
    run = sorted(json.loads(manifest.read_text())["runs"])[0]
    arguments = ["--manifests", str(manifest), "--data", "results/tiny/data/digits.json"]
    arguments += ["--store", "results/store", "--out", "m.csv"]
    arguments += ["--epochs", "e.csv", "--reliability", "r.csv", "--disagreement", "d.csv"]
    asked = place.asked({run: {"spec": "others"}})
    said = place.soteacher("measure", "--runs", asked, *arguments, code=2)
    assert f"'{run}' with other settings" in said
    assert not (place.path / "m.csv").exists()


def test_one_table_trains_nothing_that_it_does_not_ask_for(empty):
    study = empty.study
    study["teachers"]["no_cr"] = {"lipschitz": {}}
    study["distillers"]["kd_cold"] = {"method": "kd", "temperature": 1}
    study["tables"]["table1"]["teachers"] = ["standard"]
    study["tables"]["more"] = {
        "kind": "accuracy",
        "teachers": ["standard", "no_cr"],
        "distillers": ["kd", "kd_cold"],
    }
    empty.write(study)
    empty.snakemake("table1")
    assert {run.split()[0] for run in empty.trained()} == {
        "digits/wrn_10_1/standard/seed0",
        "digits/wrn_10_1/standard/seed0/wrn_10_1/kd",
    }
    assert not (empty.path / "results/tiny/tables/more.md").exists()


def test_a_diverged_teacher_blocks_its_students_and_nothing_else(empty):
    study = empty.study
    study["teachers"]["soteacher"]["lipschitz"]["weight"] = 1e30
    empty.write(study)
    empty.snakemake()
    table = (empty.path / "results/tiny/tables/table1.md").read_text()
    assert "blocked by digits/wrn_10_1/soteacher/seed0" in table
    assert "diverged in epoch 1" in table and "lipschitz=" in table
    assert "none (n = 0 of 1)" in table
    standard = next(line for line in table.splitlines() if "Standard" in line)
    assert "none" not in standard
    assert "Nothing to be done" in empty.snakemake().stderr


def test_a_bad_study_is_one_line_and_no_traceback(empty):
    study = empty.study
    study["teachers"]["soteacher"]["lipshitz"] = {}
    empty.write(study)
    done = empty.snakemake("-n", code=2)
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert "teachers.soteacher: unknown regularizer 'lipshitz'" in line
    assert "did you mean 'lipschitz'?" in line
    assert "Traceback" not in done.stderr
    with open(empty.path / "study.yaml", "a") as file:
        file.write("seeds: [1]\n")
    done = empty.snakemake("-n", code=2)
    assert "study.yaml, line " in done.stderr
    assert "the key 'seeds' appears twice" in done.stderr


def test_the_terminal_has_one_line_per_job_and_the_epochs_are_in_the_logs(empty):
    study = empty.study
    study["tables"]["table1"] |= {"columns": ["teacher.top1"], "teachers": ["standard"]}
    empty.write(study)
    said = empty.snakemake("table1").stderr
    lines = [line.partition(" ")[2].partition(" ")[2] for line in said.splitlines()]
    [start] = [number for number, line in enumerate(lines) if line.startswith("4 jobs with 1 ")]
    assert lines[start + 1].endswith(f"soteacher status {empty.path}/study.yaml --watch")
    ends = [line.partition(" in ")[0] for line in lines[start + 2 : start + 6]]
    assert ends == [
        "1 of 4: prepared digits",
        "2 of 4: trained 1 teacher (wrn_10_1 on digits)",
        "3 of 4: measured 1 teacher (wrn_10_1 on digits)",
        "4 of 4: made table1.csv",
    ]
    assert "epoch" not in said and "jobid" not in said
    [log] = (empty.path / "results/tiny/logs/teach").iterdir()
    assert "/standard/seed0: main epoch 2/2 " in log.read_text(encoding="utf-8")
    [whole] = (empty.path / ".snakemake/log").iterdir()
    assert whole.read_text(encoding="utf-8").count("Finished jobid") == 5
    shown = empty.snakemake("table1", "--forcerun", "table", "--printshellcmds").stderr
    assert "localrule table:" in shown and " table --block " in shown and " of 1: " not in shown


def test_a_killed_snakemake_leaves_nothing_that_the_same_command_stumbles_over(empty):
    """Its training process lives on; the next call waits for it, then publishes its runs."""
    study = empty.study
    study["recipes"]["short"] |= {"epochs": 40, "decay_at": [30]}
    study["tables"]["table1"]["columns"] = ["teacher.top1"]
    study["runs_per_job"] = 1
    study["tables"]["table1"]["teachers"] = ["soteacher"]
    empty.write(study)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    first = subprocess.Popen(
        empty.command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begun = empty.path / "results/store/runs"
    wait_for(lambda: any(path.read_text() for path in begun.glob("*/attempts.jsonl")))
    [attempts] = begun.glob("*/attempts.jsonl")
    trainer = json.loads(attempts.read_text())["pid"]
    os.kill(trainer, signal.SIGSTOP)  # it is not to end before the next call waits for it
    first.send_signal(signal.SIGKILL)
    first.wait()
    locks = empty.path / ".snakemake/locks"  # as a Snakemake without our profile leaves them
    locks.mkdir(parents=True, exist_ok=True)
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text("results/tiny/data/digits.json\n")
    again = subprocess.Popen(
        empty.command(),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        logs = empty.path / "results/tiny/logs/teach"
        waits = "waiting for process"
        wait_for(lambda: any(waits in path.read_text() for path in logs.glob("*.log")))
    finally:
        os.kill(trainer, signal.SIGCONT)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert waits in said
    assert empty.attempts() == [1]
    assert len(empty.trained()) == 1
    assert "Nothing to be done" in empty.snakemake().stderr


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def test_profiles_and_the_environment_file_name_what_the_package_needs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["workflow"]
    ranges = {re.match(r"[\w-]+", line)[0]: line for line in asked}
    del ranges["snakemake"]  # it calls the rules, and is not on conda-forge but on bioconda
    renamed = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
    theirs = {line.split()[0]: "".join(line.split()) for line in environment["dependencies"]}
    for name, line in ranges.items():
        conda = renamed.get(name, name)
        assert line == theirs[conda].replace(conda, name), line


def test_each_package_that_is_asked_for_has_a_pinned_version_in_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for lines in project["optional-dependencies"].values():
        asked += lines
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in map(Requirement, asked):
        assert pins[requirement.name] in requirement.specifier, requirement


def test_requests_of_the_whole_study_are_written_and_mended_before_jobs_start(empty):
    empty.snakemake("results/tiny/data/digits.json")
    requests = {path: path.read_bytes() for path in empty.path.glob("results/tiny/asked/*")}
    assert {"page", "table1"} <= {path.name.rpartition("-")[0] for path in requests}
    for path in requests:
        path.write_text("{}", encoding="utf-8")
    empty.snakemake("results/tiny/data/digits.json", "-n")
    assert {path.read_bytes() for path in requests} == {b"{}"}
    empty.snakemake("results/tiny/data/digits.json")
    assert {path: path.read_bytes() for path in requests} == requests
