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

STEPS = ("network", "method", "step", "seconds")
METHODS = (
    *("network", "method", "spec_sha256", "kept_mb", "peak_mb"),
    *("device", "capability", "threads"),
)


def read_steps(
    path: Path, planned: dict[str, Any] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the steps from a CSV of `soteacher time-steps`, and the methods from its other CSV.

    planned : the number of `steps` and the `methods` that the study needs; others are refused.
    """
    names = {"network": str, "method": str}
    steps = read_csv(path, STEPS, dtype=names, keep_default_na=False)
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
        *("reference", "median", "low", "high", "n", "measured_on"),
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
        return median if pd.isna(cell["low"]) else f"{median} ({low} to {high})"

    def heading(self, record: dict[str, Any], table: pd.DataFrame) -> str:
        """Return the title with the number of steps."""
        n = max(table["n"])
        return f"{record['title']}; median and quartiles of n = {n} steps per method."

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return a note on the machines that timed the steps."""
        return [f"Measured on {'; and on '.join(dict.fromkeys(table['measured_on']))}."]


def make_overhead(steps: pd.DataFrame, methods: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: median and quartiles over steps, or the memory of a method (MB).

    `step_ms` is the time of the method's steps. `more_time` is each step's time divided by the time
    of the network's first method on the same batch, minus 1, in percent. `peak_mb` is included if
    it was measured.
    """
    rows = []
    for network, of_network in methods.groupby("network", sort=False):
        first = of_network["method"].iloc[0]
        of_steps = steps[steps["network"] == network]
        seconds = of_steps.pivot(index="step", columns="method", values="seconds")
        for _, facts in of_network.iterrows():
            method = facts["method"]
            cells = {
                "step_ms": 1e3 * seconds[method],
                "more_time": 100 * (seconds[method] / seconds[first] - 1),
                "kept_mb": pd.Series([facts["kept_mb"]]),
                "peak_mb": pd.Series([facts["peak_mb"]]),
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
                        "n": len(values),
                        "measured_on": machine(facts),
                    }
                )
    return pd.DataFrame(rows)
