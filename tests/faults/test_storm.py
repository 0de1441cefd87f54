"""Thirty signals at random moments change no bit of any result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from storm import INTERVAL

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SIGNALS = 30


def test_a_storm_of_signals_changes_no_bit_and_loses_at_most_an_interval_a_signal(tmp_path):
    done = subprocess.run(
        [sys.executable, FOLDER / "storm.py", tmp_path, "7", str(SIGNALS)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FOLDER}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    print(told)
    assert told["signals"] == SIGNALS and told["killed"] > 5
    assert told["differing"] == []
    assert told["redone"] > 0, "no signal came while a network was trained"
    assert told["most_redone"] <= INTERVAL + 1  # the step in which the state would have been saved
