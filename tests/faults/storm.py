"""A storm of signals: train a study again and again while its process is killed at random moments.

    python storm.py FOLDER SEED SIGNALS

One process imports everything and trains nothing. It forks a process for each attempt at the whole
study, and sends it a signal at a random moment. If an attempt ends before its signal, its results
are compared and a new store is begun. It prints what happened as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chain

from soteacher.training import loop
from soteacher.training.learner import Learner

INTERVAL = 4
"""Steps between saved states: the training loop's clock counts its own calls here."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STUDY = chain.STUDY | {
    "recipes": {"r": {"epochs": 4, "batch": 8, "lr": 0.05, "decay_at": [3], "keep_every": 2}},
    "distillers": {"kd": {}, "ab": {"prepare_epochs": 2}, "ft": {"prepare_epochs": 2}},
    "tables": {
        "one": {
            "kind": "accuracy",
            "teachers": ["standard", "soteacher"],
            "distillers": ["kd", "ab", "ft"],
            "pairs": ["wrn_10_1/wrn_10_1"],
        }
    },
}


def attempt(folder: Path, number: int) -> int:
    """Fork a process that makes the whole study in a folder; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        # what runs the tests may ignore Ctrl-C, as a shell does for its background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        said = os.open("said.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        steps = os.open("steps.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        step, calls = Learner.step, iter(range(1_000_000_000))

        def noted(learner: Learner, batch: Any, teacher: Any) -> None:
            step(learner, batch, teacher)
            at = batch.cursor
            place = [learner.folder.path.name, at.stage.name, at.epoch, at.step]
            os.write(steps, (json.dumps([number, *place]) + "\n").encode())

        Learner.step = noted
        loop.time = SimpleNamespace(monotonic=lambda: float(next(calls)))
        code = chain.run_all(save_every=INTERVAL).code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process; return its exit code, or the negative number of its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def redone(folder: Path) -> list[int]:
    """The number of steps that each run did again, for each attempt that did some again."""
    known: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    again: dict[tuple[int, str], int] = defaultdict(int)
    for line in (folder / "steps.log").read_text(encoding="utf-8").splitlines():
        number, run, *cursor = json.loads(line)
        again[number, run] += tuple(cursor) in known[run]
        known[run].add(tuple(cursor))
    return [count for count in again.values() if count]


def begun(folder: Path) -> Path:
    """Make a folder with nothing but the study file."""
    folder.mkdir()
    os.chdir(folder)
    chain.write_study(STUDY)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """What a folder holds in the end, but for parts of files that a killed process left behind."""
    os.chdir(folder)
    return {name: data for name, data in chain.content().items() if "/.part-" not in name}


def import_all() -> None:
    """Import what a job imports, so that no attempt spends its time with that."""
    import soteacher.training.passes

    assert soteacher.training.passes


def storm(folder: Path, seed: int, signals: int) -> dict[str, Any]:
    """Send the signals; return counts, and the paths of files that differ from the undisturbed."""
    draw = random.Random(seed)
    calm = begun(folder / "calm")
    started = time.monotonic()
    assert ended(attempt(calm, 0)) == 0, (calm / "said.log").read_text(encoding="utf-8")[-2000:]
    longest = time.monotonic() - started
    expected, differing, lost = content(calm), set(), []
    codes, stores, number = [], 0, 0
    work = begun(folder / "work0")
    while True:
        number += 1
        child = attempt(work, number)
        if len(codes) < signals:
            time.sleep(draw.uniform(0.02, 0.6) * longest)
            os.kill(child, draw.choice(SIGNALS))  # a zombie is not disturbed by it
        code = ended(child)
        if code == 0:
            found = content(work)
            names = expected.keys() | found.keys()
            differing |= {name for name in names if expected.get(name) != found.get(name)}
            lost += redone(work)
            stores += 1
            if len(codes) >= signals:
                break
            shutil.rmtree(work)
            work = begun(folder / f"work{stores}")
        elif code in (-signal.SIGKILL, 143, -signal.SIGINT, -signal.SIGTERM, 130):
            codes.append(code)
        else:
            raise SystemExit((work / "said.log").read_text(encoding="utf-8")[-3000:])
    return {
        "signals": len(codes),
        "killed": codes.count(-signal.SIGKILL),
        "stores": stores,
        "differing": sorted(differing),
        "most_redone": max(lost, default=0),
        "redone": len(lost),
    }


if __name__ == "__main__":
    import_all()
    print(json.dumps(storm(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]))))
