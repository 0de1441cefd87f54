"""Snakemake and `soteacher plan` read the same study from the same files, by YAML 1.2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from soteacher.study.expand import expand
from soteacher.study.load import load, read

ROOT = Path(__file__).parents[2]


def dry_run(place, *arguments, snakefile=ROOT / "Snakefile"):
    """Run `snakemake -n` in the folder of a study."""
    where = ["--snakefile", str(snakefile), "--directory", str(place.path)]
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", *where, *arguments],
        cwd=place.path,
        capture_output=True,
        text=True,
        timeout=120,
    )


def requests(output):
    """The request files that a dry run names: they contain the hashes of all specs."""
    words = output.replace("'", " ").split()
    return {Path(word).name for word in words if "/asked/" in word}


def asked(place, *arguments, **more):
    done = dry_run(place, *arguments, "--printshellcmds", **more)
    assert done.returncode == 0, done.stderr
    return requests(done.stdout)


def refused(place, *arguments, **more):
    """The one line of our own with which Snakemake ends."""
    done = dry_run(place, *arguments, **more)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Using ")]
    [line] = [line for line in lines if line not in ("", "Building DAG of jobs...")]
    assert "results" not in [path.name for path in place.path.iterdir()]
    return line


def study_text(place, old, new):
    """Change the text of the study file."""
    text = yaml.safe_dump(place.study, sort_keys=False, default_flow_style=None)
    assert old in text, text
    (place.path / "study.yaml").write_text(text.replace(old, new))
    return "--configfile", "study.yaml"


def test_numbers_are_those_of_yaml_1_2_in_snakemake_too(empty):
    ten = asked(empty, *study_text(empty, "epochs: 2", "epochs: 10"))
    octal = asked(empty, *study_text(empty, "epochs: 10", "epochs: 010"))
    eight = asked(empty, *study_text(empty, "epochs: 8", "epochs: 0o10"))  # YAML 1.1 read 010
    # what lists measures by their paths stays the same
    assert ten == octal and all(name.startswith("measures-") for name in ten & eight)
    assert load(empty.path / "study.yaml").recipes["short"].epochs == 8


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("lr: yes", 'config.recipes.short.lr: expected a number or a mapping; got "yes"'),
        ("lr: true", "config.recipes.short.lr: expected a number or a mapping; got true"),
        ("lr: 1:30", 'config.recipes.short.lr: expected a number or a mapping; got "1:30"'),
    ],
)
def test_what_is_no_number_is_refused_by_snakemake_too(empty, new, said):
    assert refused(empty, *study_text(empty, "lr: 0.05", new)) == f"soteacher: error: {said}"


def test_json_files_are_studies_too(empty):
    as_yaml = asked(empty, "--configfile", "study.yaml")
    (empty.path / "study.json").write_text(json.dumps(empty.study, indent="\t"))
    assert asked(empty, "--configfile", "study.json") == as_yaml
    assert read(empty.study) == load(empty.path / "study.json")


def test_the_command_line_s_config_overrides_the_files(empty):
    plan = expand(read(empty.study | {"seeds": [0, 4], "allow_cpu": True}))
    assert len(plan.runs) == 8
    given = ["--config", "seeds=[0,4]", "allow_cpu=true", "store=$HOME/elsewhere"]
    done = dry_run(empty, "--printshellcmds", "--configfile", "study.yaml", *given)
    assert done.returncode == 0, done.stderr
    assert "--allow-cpu" in done.stdout and f"--store {Path.home()}/elsewhere" in done.stdout
    assert "seed4" not in done.stderr
    one = asked(empty, "--configfile", "study.yaml")
    assert one.isdisjoint(requests(done.stdout) - one)
    assert len([name for name in requests(done.stdout) if name.startswith("teachers-")]) == 2


MODULE = """
configfile: "study.yaml"

{before}
module soteacher:
    snakefile: {snakefile}
    config: {config}

use rule * from soteacher as soteacher_*
"""


@pytest.mark.parametrize(
    ("before", "config", "epochs"),
    [
        ("", "config", 10),
        ('config["recipes"]["short"]["epochs"] = 3', "config", 3),
        ("", '{k: v for k, v in config.items() if k != "threads"}', 8),
    ],
    ids=["the file's values", "changed values", "a part, as Snakemake reads it"],
)
def test_a_module_statement_hands_over_its_values(empty, before, config, epochs):
    study_text(empty, "epochs: 2", "epochs: 010")
    with (empty.path / "study.yaml").open("a") as file:
        file.write("threads: 1\n")
    snakefile = empty.path / "Snakefile"
    ours = f'"{ROOT}/workflow/Snakefile"'
    snakefile.write_text(MODULE.format(before=before, snakefile=ours, config=config))
    found = asked(empty, "soteacher_all", snakefile=snakefile)
    expected = empty.study
    expected["recipes"]["short"]["epochs"] = epochs
    empty.write(expected)
    assert found == asked(empty, "--configfile", "study.yaml")


def test_a_module_from_a_tag_of_a_repository_has_the_same_jobs(empty, tmp_path):
    """The Python package is the installed one; the files of the workflow are those of the tag."""
    copy = tmp_path / "repository"
    shutil.copytree(ROOT / "workflow", copy / "workflow")
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, copy)
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "tag.gpgSign=false")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"], ["tag", "v1"]):
        subprocess.run(["git", *who, *command], cwd=copy, check=True)
    shutil.rmtree(copy / "workflow")  # so that only the tag has it
    snakefile = empty.path / "Snakefile"
    theirs = f'gitfile("{copy}", path="workflow/Snakefile", tag="v1")'
    snakefile.write_text(MODULE.format(before="", snakefile=theirs, config="config"))
    found = asked(empty, "soteacher_all", snakefile=snakefile)
    assert found and found == asked(empty, "--configfile", "study.yaml")


def impossible(place):
    """Add a table that the study's recipe makes impossible: RCO needs checkpoints."""
    study = place.study
    study["distillers"]["rco"] = {"anchors": 2}
    study["tables"]["table6"] = {
        "kind": "distillers",
        "teachers": ["standard"],
        "distillers": ["rco"],
    }
    study["figures"] = {
        "figure1": {
            "kind": "checkpoints",
            "teachers": ["standard"],
            "distillers": ["kd"],
            "every": 1,
        }
    }
    place.write(study)
    return "--configfile", "study.yaml"


def test_an_impossible_table_is_refused_where_it_is_needed(empty):
    alone = asked(empty, "table1", "--configfile", "study.yaml")
    files = impossible(empty)
    assert asked(empty, "table1", *files) == alone
    said = "soteacher: error: table6: rco learns from the checkpoints of digits/wrn_10_1/standard/"
    for target in ("table6", "results/tiny/tables/table6.csv"):
        assert refused(empty, target, *files).startswith(said)
    of_figure = "soteacher: error: config.figures.figure1.every: needs the teacher's weights every"
    assert refused(empty, "figure1", *files).startswith(of_figure)
    for target in ("all", "results/tiny/report.html"):
        assert refused(empty, target, *files).startswith("soteacher: error: ")


def test_the_plan_command_refuses_an_impossible_table_unless_others_are_asked_for(empty):
    impossible(empty)
    said = empty.soteacher("plan", "study.yaml", code=2)
    assert "figures.figure1.every: needs the teacher's weights" in said
    assert len(said.splitlines()) == 1
    assert "table6: rco" in empty.soteacher("plan", "study.yaml", "--only", "table6", code=2)
    assert "table1" in empty.printed("plan", "study.yaml", "--only", "table1")
    for command in ("status", "tables"):
        log = empty.soteacher(command, "study.yaml")
        assert "table6 is left out, because it is impossible: table6: rco learns from" in log
    assert "2 waiting" in empty.printed("status", "study.yaml")
    tables = empty.printed("tables", "study.yaml")
    assert "Table 1" in tables and "Table 6" not in tables


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: 2020-13-45\n", "study.yaml.study: expected "),
        ("study: tiny\nseeds: [0x_]\n", "study.yaml.seeds.0: expected a whole number"),
        ("study: [a\n", "is not valid YAML: line 2"),
        ("study: !!int abc\n", "line 1: expected a whole number after !!int; got 'abc'"),
        ("seeds: [" + "9" * 5000 + "]\n", "line 1: expected a number of at most 400 digits"),
        ("seeds: " + "[" * 900 + "\n", "line 1: expected at most 30 levels"),
        (None, "cannot read the study file study.yaml: No such file"),
    ],
    ids=["date", "hexadecimal", "bracket", "tag", "digits", "levels", "missing"],
)
def test_a_file_that_snakemake_cannot_read_is_refused_in_one_line(empty, text, said):
    """The profile checks the files before Snakemake reads them."""
    (empty.path / "study.yaml").unlink(missing_ok=True)
    if text is not None:
        (empty.path / "study.yaml").write_text(text, encoding="utf-8")
    line = refused(empty, "--configfile", "study.yaml")
    assert line.startswith("soteacher: error: ") and said in line
    planned = empty.soteacher("plan", "study.yaml", code=2)
    assert said in planned and len(planned.splitlines()) == 1


def test_a_text_that_only_snakemake_cannot_read_needs_quotes(empty):
    files = study_text(empty, "study: tiny", "study: tiny\nstore: 0x_")
    assert "tiny" in empty.printed("plan", "study.yaml")
    line = refused(empty, *files)
    assert "study.yaml: Snakemake cannot read it" in line and line.endswith("add the quotes")
    file = empty.path / "study.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("0x_", "'0x_'"), encoding="utf-8")
    assert asked(empty, *files)


@pytest.mark.parametrize("profile", ["local-gpu", "slurm"])
def test_all_profiles_check_the_files(empty, profile):
    (empty.path / "study.yaml").write_text("study: 2020-13-45\n", encoding="utf-8")
    given = ["--workflow-profile", str(ROOT / "profiles" / profile), "--configfile", "study.yaml"]
    assert "study.yaml.study: expected " in refused(empty, *given)
