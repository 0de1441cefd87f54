"""A plugin of pytest that writes the outcome of each test at once, in case the tests are killed.

`GPU_CHECK_OUTCOMES` names the file. It gets one JSON object per test: `test`, `outcome`, and `why`
for a failure. The whole failure is printed.
"""

from __future__ import annotations

import json
import os
from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Write a line for a test that ran, was skipped, or failed in its set-up or tear-down."""
    if report.when != "call" and report.passed:
        return
    line = {"test": report.nodeid, "outcome": report.outcome}
    if report.failed:
        print(f"\n{report.longreprtext}", flush=True)
        crash = getattr(report.longrepr, "reprcrash", None)
        line["why"] = (crash.message if crash else report.longreprtext).splitlines()[0]
    with open(os.environ["GPU_CHECK_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
