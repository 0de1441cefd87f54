"""Snakemake retries jobs: one that was killed resumes, a mistake ends at once."""

from __future__ import annotations

import json

from conftest import TINY, Workplace

KILLED = '''
"""A training that is killed once, as the system does when memory runs out."""

import os
import signal
from pathlib import Path

from soteacher.methods import Regularizer, register


@register
class Killed(Regularizer):
    """Adds nothing."""

    def losses(self, batch, output, teacher, network):
        if batch.cursor.epoch == 1 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {}
'''
MISTAKEN = '''
"""A method with a mistake."""

from soteacher.methods import Distiller, register


@register
class Mistaken(Distiller):
    """Fails."""

    def method_losses(self, batch, output, teacher, network):
        raise ValueError("a mistake in a method")
'''
FEW = {"source": "generated", "n_train": 48, "n_test": 16, "size": 8, "n_classes": 4}


def test_a_killed_job_is_retried_one_by_one_and_a_mistake_ends_at_once(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        TINY
        | {
            "methods": ["killed.py", "mistaken.py"],
            "save_every": 0,
            "data": {"digits": FEW},
            "recipes": {"short": {"epochs": 2, "batch": 24, "lr": 0.05, "decay_at": [1]}},
            "teachers": {"standard": {}, "hurt": {"killed": {}}},
            "distillers": {"mistaken": {}},
            "tables": {
                "table1": {
                    "kind": "accuracy",
                    "teachers": ["standard", "hurt"],
                    "distillers": ["mistaken"],
                }
            },
        }
    )
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    said = place.snakemake(code=1).stderr

    attempts = {}
    for path in tmp_path.glob("results/store/runs/*/spec.json"):
        run = json.loads(path.read_text())["id"]
        lines = (path.parent / "attempts.jsonl").read_text().splitlines()
        attempts[run] = [json.loads(line)["from"] for line in lines]
    teachers = {run: begun for run, begun in attempts.items() if "mistaken" not in run}
    assert len(teachers) == 2
    for first, second in teachers.values():
        assert first == ["MAIN", 0, 0]
        assert second == ["MAIN", 1, 0]
    assert len(place.trained()) == 2
    students = {run: begun for run, begun in attempts.items() if "mistaken" in run}
    assert [len(begun) for begun in students.values()] == [1, 1]
    assert said.count("Trying to restart job") == 2
    assert "2 of 2 runs failed" in said
    assert "attempt 2 ended at once, because it would fail in the same way as attempt 1" in said
    [kept] = tmp_path.glob("results/tiny/logs/distill/*.in-vain.log")
    assert "a mistake in a method" in kept.read_text()
    shown = [line for line in said.splitlines() if line == "ValueError: a mistake in a method"]
    assert len(shown) == 2 * 2  # of two runs, by the command and by Snakemake, once
