"""A tiny study, run once through Snakemake; tests work on copies of its working directory."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from soteacher.cli import main
from soteacher.study.requests import Request

ROOT = Path(__file__).parents[2]

TINY = {
    "study": "tiny",
    "seeds": [0],
    "device": "cpu",
    "runs_per_job": 2,
    "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1}}},
    "recipes": {"short": {"epochs": 2, "batch": 256, "lr": 0.05, "decay_at": [1]}},
    "pairs": {
        "wrn_10_1/wrn_10_1": {
            "data": "digits",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
    },
    "teachers": {
        "standard": {},
        "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}},
    },
    "distillers": {"kd": {}},
    "tables": {
        "table1": {"kind": "accuracy", "teachers": ["standard", "soteacher"], "distillers": ["kd"]}
    },
}


class Workplace:
    """A working directory with a study in it, and Snakemake run there as a user runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def study(self) -> dict:
        return yaml.safe_load((self.path / "study.yaml").read_text())

    def write(self, study: dict, sort_keys: bool = False) -> None:
        (self.path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=sort_keys))

    def command(self, *arguments: str) -> list[str]:
        where = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.path)]
        study = ["--configfile", str(self.path / "study.yaml")]
        return [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", *where, *study]

    def snakemake(
        self, *arguments: str, code: int = 0, path: str | None = None
    ) -> subprocess.CompletedProcess:
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": f"{path}:{binaries}" if path else binaries}
        done = subprocess.run(
            self.command(*arguments), env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def soteacher(self, *arguments: str, code: int = 0) -> str:
        """Give one of our own commands here, in this process; return what it said on stderr."""
        return self._give(arguments, code)[1]

    def printed(self, *arguments: str) -> str:
        """Give one of our own commands here, in this process; return what it printed."""
        return self._give(arguments, 0)[0]

    def _give(self, arguments: tuple[str, ...], code: int) -> tuple[str, str]:
        printed, said, ended = io.StringIO(), io.StringIO(), 0
        handler = logging.StreamHandler(said)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger("soteacher").addHandler(handler)
        try:
            with (
                contextlib.chdir(self.path),
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(said),
            ):
                main(list(arguments))
        except SystemExit as error:
            ended = error.code
        finally:
            logging.getLogger("soteacher").removeHandler(handler)
        assert ended == code, said.getvalue()
        assert code != 2 or "Traceback" not in said.getvalue()
        return printed.getvalue(), said.getvalue()

    def asked(self, said: Any) -> str:
        """Path of a file that says what a command is asked for."""
        return Request.of(self.path / "asked", "asked", said).write()

    def trained(self) -> set[str]:
        """Ids of the finished runs in the store, with their folders: one a fingerprint."""
        records = self.path.glob("results/store/runs/*/run.json")
        return {f"{yaml.safe_load(p.read_text())['id']} {p.parent.name}" for p in records}

    def attempts(self) -> list[int]:
        """How often each run in the store was begun."""
        files = self.path.glob("results/store/runs/*/attempts.jsonl")
        return [len(path.read_text().splitlines()) for path in files]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workplace:
    """The tiny study after one run of everything: not to be changed."""
    place = Workplace(tmp_path_factory.mktemp("finished"))
    place.write(TINY)
    place.snakemake()
    return place


@pytest.fixture
def place(finished, tmp_path) -> Workplace:
    """A copy of the finished tiny study, Snakemake's own records and file times included."""
    shutil.copytree(finished.path, tmp_path / "copy", symlinks=True)
    return Workplace(tmp_path / "copy")


@pytest.fixture
def empty(tmp_path) -> Workplace:
    """The tiny study before anything was run."""
    place = Workplace(tmp_path)
    place.write(copy.deepcopy(TINY))
    return place
