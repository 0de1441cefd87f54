"""The report of tables of step times, from the timed steps of teacher methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.report.csv_files import read_csv
from soteacher.report.machines import machine
from soteacher.report.tables.base import Inputs, TableReport

STEPS = ("network", "method", "step", "seconds", "cpu_seconds")
METHODS = (
    *("network", "method", "spec_sha256", "kept_mb", "peak_mb"),
    *("device", "capability", "threads"),
)

MOST_SPREAD = 0.1
"""Steps were disturbed if their quartiles differ by more than this share of the median,"""
MOST_WAITING = 1.1
"""or if the median step took more than this many times the CPU time of the thread that trains."""


def read_steps(
    path: Path, planned: dict[str, Any] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the steps from a CSV of `soteacher time-steps`, and the methods from its other CSV.

    planned : the number of `steps` and the `methods` that the study needs; others are refused.
    """
    names = {"network": str, "method": str}
    steps = read_csv(
        path, STEPS, dtype=names, keep_default_na=False, na_values={"cpu_seconds": [""]}
    )
    methods = read_csv(
        path.with_suffix(".methods.csv"),
        METHODS,
        path,
        dtype=names,
        keep_default_na=False,
        na_values={"peak_mb": [""]},
    )
    if planned is not None:
        counted = steps.groupby(["network", "method"]).size()
        measured = methods[["network", "method", "spec_sha256"]].to_numpy().tolist()
        expected = [tuple(method) for method in planned["methods"]]
        digits = len(expected[0][-1])
        same = [
            (network, method, sha256[:digits]) for network, method, sha256 in measured
        ] == expected
        if not same or {*counted} != {planned["steps"]}:
            raise UserError(
                f"the steps in {path} have other settings than the study needs; rerun the same "
                "snakemake command to time them again"
            )
    return steps, methods


@register
class OverheadReport(TableReport):
    """Median and quartiles over steps, or the memory of a method."""

    columns: ClassVar = (
        *TableReport.columns,
        *("reference", "median", "low", "high", "disturbed", "n", "measured_on"),
    )
    numbers: ClassVar = ("median", "low", "high")
    labels: ClassVar = {
        "step_ms": "Step (ms)",
        "more_time": "More time (%)",
        "kept_mb": "Kept (MB)",
        "peak_mb": "Peak (MB)",
    }

    def make(self, record: dict[str, Any], inputs: Inputs) -> pd.DataFrame:
        """Return the table of the timed steps."""
        if inputs.steps is None:
            raise UserError(f"{record['name']}: expected the CSV of its training steps; got none")
        return make_overhead(*read_steps(inputs.steps, record["timed"]))

    def shown(self, cell: pd.Series) -> str:
        """Return median and quartiles of steps, or the memory of a method as one number."""
        if cell["measure"] == "more_time" and cell["reference"]:
            return "reference"
        sign = "+" if cell["measure"] == "more_time" else ""
        median, low, high = (f"{cell[name]:{sign}.2f}" for name in ("median", "low", "high"))
        if pd.isna(cell["low"]):
            return median
        return f"{median} ({low} to {high}){', disturbed' if cell['disturbed'] else ''}"

    def heading(self, record: dict[str, Any], table: pd.DataFrame) -> str:
        """Return the title with the number of steps."""
        n = max(table["n"])
        return f"{record['title']}; median and quartiles of n = {n} steps per method."

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return a note on the machines that timed the steps, and on steps that were disturbed."""
        notes = [f"Measured on {'; and on '.join(dict.fromkeys(table['measured_on']))}."]
        if table["disturbed"].any():
            notes.append(
                f"Disturbed: the quartiles differ by more than {100 * MOST_SPREAD:.0f} % of the "
                f"median, or the median step took more than {MOST_WAITING} times its CPU time. "
                "Other processes used the machine: time the steps again when it is idle, with "
                "`--forcerun time_steps`."
            )
        return notes


def make_overhead(steps: pd.DataFrame, methods: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: median and quartiles over steps, or the memory of a method (MB).

    `step_ms` is the time of the method's steps. `more_time` is each step's time divided by the time
    of the network's first method on the same batch, minus 1, in percent. `peak_mb` is included if
    it was measured. `disturbed` says whether the steps of a time, or their ratios to those of the
    first method, spread by more than `MOST_SPREAD`, or waited more than `MOST_WAITING` allows.
    """
    rows = []
    for network, of_network in methods.groupby("network", sort=False):
        first = of_network["method"].iloc[0]
        of_steps = steps[steps["network"] == network]
        seconds, cpu_seconds = (
            of_steps.pivot(index="step", columns="method", values=name)
            for name in ("seconds", "cpu_seconds")
        )
        waited = (seconds / cpu_seconds).median() > MOST_WAITING  # False if not measured
        for _, facts in of_network.iterrows():
            method = facts["method"]
            cells = {
                "step_ms": 1e3 * seconds[method],
                "more_time": 100 * (seconds[method] / seconds[first] - 1),
                "kept_mb": pd.Series([facts["kept_mb"]]),
                "peak_mb": pd.Series([facts["peak_mb"]]),
            }
            disturbed = {
                "step_ms": waited[method] or _spread(seconds[method]),
                "more_time": waited[method]
                or waited[first]
                or _spread(seconds[method] / seconds[first]),
            }
            if methods["peak_mb"].isna().all():
                del cells["peak_mb"]
            for measure, values in cells.items():
                timed = measure in ("step_ms", "more_time")
                rows.append(
                    {
                        "row": f"{network} {method}",
                        "column": measure,
                        "measure": measure,
                        "reference": method == first,
                        "median": values.median(),
                        "low": values.quantile(0.25) if timed else float("nan"),
                        "high": values.quantile(0.75) if timed else float("nan"),
                        "disturbed": bool(disturbed.get(measure, False)),
                        "n": len(values),
                        "measured_on": machine(facts),
                    }
                )
    return pd.DataFrame(rows)


def _spread(values: pd.Series) -> bool:
    """Return whether the quartiles differ by more than `MOST_SPREAD` of the median."""
    low, median, high = values.quantile([0.25, 0.5, 0.75])
    return bool(high - low > MOST_SPREAD * median)
