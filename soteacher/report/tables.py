"""Tables: mean and standard deviation over seeds, with the paper's value where it may stand."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.errors import UserError
from soteacher.report.labels import label

PERCENT = {"top1", "top5"}


def read_measures(paths: list[Path], planned: dict[str, str]) -> pd.DataFrame:
    """Measures of the planned runs, by run id; refuses those of other settings.

    planned : run id to the (short) hash of the spec that the study asks for.
    """
    frames = [pd.read_csv(path, dtype={"note": str}, keep_default_na=False) for path in paths]
    rows = pd.concat(frames).set_index("run")
    for run_id, spec_sha256 in planned.items():
        if run_id not in rows.index:
            raise UserError(f"the measures do not hold '{run_id}', which the table needs")
        if not rows.loc[run_id, "spec_sha256"].startswith(spec_sha256):
            raise UserError(
                f"the measures of '{run_id}' are of other settings than the study asks for; "
                "run the same snakemake command again, it trains what is new"
            )
    return rows.loc[list(planned)]


def paper_values() -> pd.DataFrame:
    """Every number of the paper's Tables 1 to 7, by (table, row, column)."""
    with resources.files("soteacher.report").joinpath("paper_values.csv").open() as file:
        return pd.read_csv(file).set_index(["table", "row", "column"])


def make_table(block: dict[str, Any], measures: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: mean, sample standard deviation (n - 1), n of how many, the paper's value.

    Accuracies are in percent. The paper's value stands only in cells whose runs are the paper's
    own experiment: data, networks, recipe and methods.
    """
    paper = paper_values()
    rows = []
    for cell in block["cells"]:
        runs = measures.loc[cell["runs"]]
        done = runs[runs["status"] == "done"]
        values = pd.to_numeric(done[cell["measure"]])
        scale = 100 if cell["measure"] in PERCENT else 1
        where = (block["table"], cell["row"], cell["column"])
        known = cell["papers"] and where in paper.index
        rows.append(
            {
                "row": cell["row"],
                "column": cell["column"],
                "mean": values.mean() * scale,
                "sd": values.std(ddof=1) * scale,
                "n": len(values),
                "n_planned": len(runs),
                "papers": cell["papers"],
                "note": "; ".join(dict.fromkeys(runs["note"][runs["note"] != ""])),
                "paper_mean": paper.loc[where, "mean"] if known else float("nan"),
                "paper_sd": paper.loc[where, "sd"] if known else float("nan"),
            }
        )
    table = pd.DataFrame(rows)
    table["difference"] = table["mean"] - table["paper_mean"]
    return table


def shown(cell: pd.Series) -> str:
    """A cell's text: mean ± sd, the paper's value if it may stand, n where runs are missing."""
    if cell["n"] == 0:
        text = "none"
    elif cell["n"] == 1:
        text = f"{cell['mean']:.2f}"
    else:
        text = f"{cell['mean']:.2f} ± {cell['sd']:.2f}"
    if pd.notna(cell["paper_mean"]):
        text += f" (paper {cell['paper_mean']:.2f} ± {cell['paper_sd']:.2f})"
    if cell["n"] < cell["n_planned"]:
        text += f" (n = {cell['n']} of {cell['n_planned']})"
    return text


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read: methods down, columns across, texts in the cells."""
    texts = table.assign(text=table.apply(shown, axis=1))
    wide = texts.pivot(index="row", columns="column", values="text")
    wide = wide.loc[list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["column"]))]
    return wide.rename(index=label, columns=label).rename_axis(index=None, columns=None)


def notes(block: dict[str, Any], table: pd.DataFrame) -> list[str]:
    """What stands under a table: n, what is missing and why, and whose experiment it is."""
    planned = sorted(set(table["n_planned"]))
    runs = " or ".join(str(n) for n in planned)
    said = [
        f"{block['title']} Mean ± sample standard deviation over n = {runs} seeds, last epoch."
        if planned != [1]
        else f"{block['title']} One seed (n = 1), last epoch."
    ]
    for note in dict.fromkeys(table["note"][table["note"] != ""]):
        said.append(f"Missing: {note}.")
    if not table["papers"].any():
        said.append(block["disclaimer"])
    elif not table["papers"].all():
        said.append("Cells without the paper's value beside them are not the paper's experiment.")
    return said


def to_markdown(block: dict[str, Any], table: pd.DataFrame) -> str:
    """The whole table as Markdown: heading, grid, notes."""
    lines = [f"## {label(block['table'])}", "", grid(table).to_markdown(disable_numparse=True), ""]
    return "\n".join([*lines, *(f"{note}\n" for note in notes(block, table))])
