"""Environments of users: the Python on the PATH, names of folders, variables, locales."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Workplace

STRANGE = "a{x} b'c\"d $HOME ü #%41?*[x]:;\\n!"
"""A name of folders that shells, Snakemake and Python's formats could misread."""
DATA = "results/tiny/data/digits.json"
WORKFLOW = ("-s", ROOT / "Snakefile", "--configfile", "study.yaml")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def call(command, cwd, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )


def snakemake(python, *arguments) -> list:
    return [python, "-m", "snakemake", "--cores", "1", *arguments]


@pytest.mark.parametrize("other", [None, "#!/bin/sh\nexit 9\n"])
def test_without_activation_jobs_use_the_python_that_runs_snakemake(empty, other):
    binaries = empty.path / "binaries"
    binaries.mkdir()
    if other is not None:
        (binaries / "python").write_text(other, encoding="utf-8")
        (binaries / "python").chmod(0o755)
    for tool in ("bash", "sh"):
        (binaries / tool).symlink_to(shutil.which(tool))
    command = snakemake(sys.executable, DATA, *WORKFLOW)
    done = call(command, empty.path, PATH=str(binaries))
    assert done.returncode == 0, done.stdout
    assert (empty.path / DATA).is_file()


def test_another_python_is_no_reason_to_rerun_a_job(place, tmp_path):
    same = tmp_path / "environment"
    same.symlink_to(Path(sys.prefix))
    python = same / Path(sys.executable).relative_to(sys.prefix)
    done = call(snakemake(python, *WORKFLOW), place.path)
    assert "Nothing to be done" in done.stdout


def test_every_folder_may_have_a_strange_name(empty, tmp_path):
    clone, environment, work = (tmp_path / f"{n} {STRANGE}" for n in ("clone", "python", "work"))
    for name in ("Snakefile", "environment.yml", "workflow", "soteacher", "profiles", "config"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        clone.mkdir(exist_ok=True)
        copy(ROOT / name, clone / name)
    environment.symlink_to(Path(sys.prefix))
    python = environment / Path(sys.executable).relative_to(sys.prefix)
    work.mkdir()
    study = work / f"{STRANGE}.yaml"
    shutil.copy(empty.path / "study.yaml", study)
    done = call(snakemake(python, DATA, "-s", clone / "Snakefile", "--configfile", study), work)
    assert done.returncode == 0, done.stdout
    assert (work / DATA).is_file()


def test_a_store_may_have_a_strange_name(empty):
    strange = STRANGE.replace("$HOME", "$ 5")  # a variable would be replaced
    empty.write(empty.study | {"store": strange})
    empty.snakemake("results/tiny/data/digits.json")
    assert (empty.path / strange / "data").is_dir()


RC = b"backend: nonsense\nfont.family: M\xfcller\n"
"""Settings with a byte that is not UTF-8, which matplotlib cannot read."""


@pytest.fixture(scope="module")
def drawn(finished, tmp_path_factory) -> Workplace:
    """The tiny study with a figure, in a folder with settings of matplotlib: not to be changed."""
    path = tmp_path_factory.mktemp("drawn") / "copy"
    shutil.copytree(finished.path, path, symlinks=True)
    place = Workplace(path)
    figure = {"kind": "reliability", "teachers": ["standard", "soteacher"]}
    place.write(place.study | {"figures": {"rel": figure}})
    for name in ("rc", "matplotlibrc"):
        (place.path / name).write_bytes(RC)
    place.snakemake("rel")
    return place


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "nonsense"},
        {"MPLCONFIGDIR": "/proc/none", "HOME": "/proc/none"},
        {"MATPLOTLIBRC": "rc"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2"},
        {"OMP_NUM_THREADS": "abc", "COLUMNS": "abc", "TZ": "abc", "LC_NUMERIC": "abc"},
        ASCII,
    ],
)
def test_a_figure_does_not_depend_on_the_user_s_environment(drawn, tmp_path, environment):
    """The same files, byte for byte."""
    results = drawn.path / "results/tiny"
    [block] = results.glob("asked/rel-*.json")
    [measures] = results.glob("asked/measures-rel-*.json")
    command = ["figure", "--block", block, "--measures", measures, "--log", tmp_path / "log"]
    for form in ("pdf", "svg", "csv"):
        command += [f"--{form}", tmp_path / f"rel.{form}"]
    command += ["--out", tmp_path / "rel.png"]
    done = call([sys.executable, ROOT / "soteacher", *command], drawn.path, **environment)
    assert done.returncode == 0, done.stdout
    for form in ("pdf", "svg", "csv", "png"):
        again = (tmp_path / f"rel.{form}").read_bytes()
        assert again == (results / f"figures/rel.{form}").read_bytes()
    verify = [sys.executable, ROOT / "soteacher", "verify", results, "--store", "results/store"]
    done = call(verify, drawn.path, **environment)
    assert done.returncode == 0, done.stdout


def test_a_foreign_package_of_the_same_name_is_not_used(place, tmp_path):
    (tmp_path / "foreign/soteacher").mkdir(parents=True)
    (tmp_path / "foreign/soteacher/__init__.py").write_text("raise SystemExit(9)", encoding="utf-8")
    command = snakemake(sys.executable, "--forcerun", "page", *WORKFLOW)
    done = call(command, place.path, PYTHONPATH=str(tmp_path / "foreign"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "study.yaml"),
        ("status", "study.yaml", "--all"),
        ("tables", "study.yaml"),
        ("verify", "results/tiny", "--study", "study.yaml"),
        ("methods",),
    ],
)
def test_commands_print_the_same_in_every_locale(place, command):
    text = (place.path / "study.yaml").read_text(encoding="utf-8")
    (place.path / "study.yaml").write_text(f"# für Müller\n{text}", encoding="utf-8")
    outputs = []
    for locale in ({"LC_ALL": "C.UTF-8"}, ASCII):
        done = subprocess.run(
            [sys.executable, ROOT / "soteacher", *command],
            cwd=place.path,
            env=os.environ | locale,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        outputs.append([line for line in lines if b"available" not in line])  # memory, as it is now
    assert outputs[0] == outputs[1]


def test_files_are_the_same_in_every_locale(place):
    """The tables and the page, with characters that are not ASCII."""
    results = place.path / "results/tiny"
    known = {path: path.read_bytes() for path in results.glob("tables/*")}
    known[results / "report.html"] = (results / "report.html").read_bytes()
    assert any(not content.isascii() for content in known.values())
    command = snakemake(sys.executable, "--forcerun", "measure", "table", *WORKFLOW)
    done = call(command, place.path, **ASCII)
    assert done.returncode == 0, done.stdout
    assert {path: path.read_bytes() for path in known} == known


@pytest.mark.parametrize("more", [{"store": "für"}, {"methods": ["für.py"]}])
def test_names_of_files_that_snakemake_would_change_are_refused(empty, more):
    (empty.path / "study.yaml").write_text(
        yaml.safe_dump(empty.study | more, allow_unicode=True), encoding="utf-8"
    )
    done = call(snakemake(sys.executable, "-n", *WORKFLOW), empty.path, **ASCII)
    assert done.returncode == 2
    [line] = [line for line in done.stdout.splitlines() if "error" in line]
    assert "file names are not UTF-8 in this locale: run `export LC_ALL=C.UTF-8`" in line
    assert "Traceback" not in done.stdout
