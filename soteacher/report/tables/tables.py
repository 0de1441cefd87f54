"""Tables: mean and standard deviation over seeds, with the paper's value where it may stand."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core.errors import UserError
from soteacher.report.names import display_name

PERCENT = {"top1", "top5", "agreement"}
"""Measures that are shares in [0, 1], and are shown in percent."""
VERSIONS = ("torch", "soteacher")
NUMBERS = (
    *("mean", "sd", "best_mean", "best_sd", "paper_mean", "paper_sd", "difference"),
    *("median", "low", "high"),
    "paper_weight",
)
"""Columns of a table that may be empty where others have numbers."""
OF_RUNS = ("row", "column", "measure", "role", "papers", "runs", "values", "status")
OF_WEIGHTS = ("row", "column", "measure", "weight", "paper_weight", "remark")
OF_STEPS = ("row", "column", "measure", "reference", "median", "low", "high", "n", "measured_on")
"""What the CSV of a table must have: one of runs, of weights (`report.weights`), or of training
steps (`report.overhead`)."""
NO_WIDER = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}"
"""LaTeX that shrinks what follows to a line's width if it is wider."""
TEX = str.maketrans(
    {"±": r"$\pm$", "λ": r"$\lambda$", "ℓ": r"$\ell$", "–": "--"}
    | {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)
"""What LaTeX needs for characters that it does not take as they are."""


def read_csv(path: Path, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """A CSV of this workflow; `UserError` if it is no CSV, or one of these columns is missing."""
    try:
        read = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise _unreadable(path, " ".join(str(error).split())) from None
    _require(columns, read, path)
    return read


def _require(columns: tuple[str, ...], read: pd.DataFrame, path: Path) -> None:
    for name in columns:
        if name not in read:
            raise _unreadable(path, f"no column '{name}'")


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"cannot read {path}: {why}; delete it and run the same snakemake command again"
    )


def read_measures(paths: list[Path], planned: dict[str, str]) -> pd.DataFrame:
    """Measures of the planned runs, by run id; refuses those of other settings.

    planned : run id to the (short) hash of the spec that the study asks for.
    """
    frames = [
        read_csv(path, ("run",), dtype={"note": str}, keep_default_na=False) for path in paths
    ]
    rows = pd.concat(frames).set_index("run")
    for run_id, spec_sha256 in planned.items():
        if run_id not in rows.index:
            raise UserError(f"the measures do not hold '{run_id}', which the study asks for")
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

    Accuracies and agreement are in percent. `best_mean` and `best_sd` are of each run's best epoch
    where the measure has one: for information, the test set chose it. `runs`, `values` and `status`
    are what the mean was made of, in one order. The paper's value stands only in cells whose runs
    are the paper's own experiment: data, networks, recipe and methods.
    """
    paper = paper_values()
    rows = []
    for cell in block["cells"]:
        runs = measures.loc[cell["runs"]]
        done = runs[runs["status"] == "done"]
        scale = 100 if cell["measure"] in PERCENT else 1
        values = pd.to_numeric(runs[cell["measure"]]) * scale
        mean = values.mean()
        best = f"best_{cell['measure']}"
        bests = pd.to_numeric(done[best]) * scale if best in done else values[:0]
        where = (block["table"], cell["paper_row"], cell["column"])
        known = cell["papers"] and where in paper.index
        paper_mean = paper.loc[where, "mean"] if known else float("nan")
        rows.append(
            {
                "row": cell["row"],
                "column": cell["column"],
                "measure": cell["measure"],
                "mean": mean,
                "sd": values.std(ddof=1),
                "n": len(done),
                "n_planned": len(runs),
                "best_mean": bests.mean(),
                "best_sd": bests.std(ddof=1),
                "papers": cell["papers"],
                "paper_mean": paper_mean,
                "paper_sd": paper.loc[where, "sd"] if known else float("nan"),
                "difference": mean - paper_mean,
                "note": "; ".join(dict.fromkeys(runs["note"][runs["note"] != ""])),
                "role": cell["role"],
                "runs": " ".join(cell["runs"]),
                "values": " ".join(repr(float(value)) for value in values),
                "status": " ".join(runs["status"]),
                "trained_on": trained_on(done),
            }
        )
    return pd.DataFrame(rows)


def trained_on(runs: pd.DataFrame) -> str:
    """What finished runs were computed on, each kind of machine once, between semicolons."""
    return "; ".join(dict.fromkeys(machine(run) for _, run in runs.iterrows()))


def machine(run: pd.Series) -> str:
    """The device, and what else the bits of a run and its times depend on."""
    threads = "1 thread" if int(run["threads"]) == 1 else f"{int(run['threads'])} threads"
    versions = ", ".join(f"{name} {run[name]}" for name in VERSIONS)
    return f"{run['device']} ({threads}), {run['precision']}, {versions}"


def read_table(path: Path) -> pd.DataFrame:
    """A table as `make_table` or `make_overhead` made it, from its CSV."""
    read = read_csv(
        path,
        (),
        dtype={"values": str},
        keep_default_na=False,  # a text that is empty, or `nan`, is that text
        na_values={name: [""] for name in NUMBERS},
    )
    columns = OF_WEIGHTS if "weight" in read else OF_STEPS if "median" in read else OF_RUNS
    _require(columns, read, path)
    return read


def number(value: float, measure: str, sign: str = "") -> str:
    """A value as it is printed: two decimals in percent, three otherwise; `sign` +: always one."""
    return f"{value:{sign}.2f}" if measure in PERCENT else f"{value:{sign}.3f}"


def shown(cell: pd.Series) -> str:
    """A cell's text: mean ± sd; the paper's and the difference if it may stand; n if runs lack."""
    measure = cell["measure"]
    if "weight" in cell:
        theirs = cell["paper_weight"]
        return f"{cell['weight']:g}" + (f" (paper {theirs:g})" if pd.notna(theirs) else "")
    if "median" in cell:
        return _of_steps(cell)
    if cell["n"] == 0:
        text = "none"
    elif cell["n"] == 1:
        text = number(cell["mean"], measure)
    else:
        text = f"{number(cell['mean'], measure)} ± {number(cell['sd'], measure)}"
    if pd.notna(cell["paper_mean"]):
        paper, deviation = (number(cell[name], measure) for name in ("paper_mean", "paper_sd"))
        text += f" (paper {paper} ± {deviation}"
        text += f", {number(cell['difference'], measure, '+')})" if cell["n"] else ")"
    if cell["n"] < cell["n_planned"]:
        text += f" (n = {cell['n']} of {cell['n_planned']})"
    return text


def _of_steps(cell: pd.Series) -> str:
    """Median and quartiles of steps; the one number where there are no steps, but memory."""
    if cell["measure"] == "more_time" and cell["reference"]:
        return "reference"
    sign = "+" if cell["measure"] == "more_time" else ""
    median, low, high = (f"{cell[name]:{sign}.2f}" for name in ("median", "low", "high"))
    return median if pd.isna(cell["low"]) else f"{median} ({low} to {high})"


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read: methods down, columns across, texts in the cells."""
    texts = table.assign(text=table.apply(shown, axis=1))
    wide = texts.pivot(index="row", columns="column", values="text")
    wide = wide.loc[list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["column"]))]
    return wide.rename(index=display_name, columns=display_name).rename_axis(
        index=None, columns=None
    )


def heading(block: dict[str, Any], table: pd.DataFrame) -> str:
    """What the table shows, with its n if it has one, in one sentence."""
    if "weight" in table:
        return f"{block['title']}."
    if "median" in table:
        return f"{block['title']}; median and quartiles of n = {max(table['n'])} steps a method."
    planned = sorted(set(table["n_planned"]))
    if planned == [1]:
        return f"{block['title']}; one seed (n = 1), last epoch."
    runs = " or ".join(str(n) for n in planned)
    return f"{block['title']}; mean ± sample standard deviation over n = {runs} seeds, last epoch."


def notes(table: pd.DataFrame) -> list[str]:
    """What is missing in a table and why, and what its runs were trained on."""
    if "weight" in table:
        said = table.loc[table["remark"] != "", ["row", "remark"]].drop_duplicates()
        return [f"{display_name(row)}: {remark}." for row, remark in said.itertuples(index=False)]
    if "median" in table:
        return [f"Measured on {'; and on '.join(dict.fromkeys(table['measured_on']))}."]
    said = [f"Missing: {note}." for note in dict.fromkeys(table["note"][table["note"] != ""])]
    return said + machines(table)


def machines(table: pd.DataFrame) -> list[str]:
    """What the runs of a table, or of the numbers in a figure, were trained on, if there are any"""
    used = [text for cell in table["trained_on"].dropna() for text in cell.split("; ") if text]
    return [f"Trained on {'; and on '.join(dict.fromkeys(used))}."] if used else []


def paper_note(table: pd.DataFrame) -> str:
    """Whose experiment a table is: what to say before its deviations; empty if the paper's.

    The paper has no table of training steps that one could be, and weights are settings.
    """
    if "papers" not in table or table["papers"].all():
        return ""
    if not table["papers"].any():
        return "Not the paper's experiment"
    return "Some cells are not the paper's experiment and have no value of the paper beside them"


def _below(block: dict[str, Any], table: pd.DataFrame) -> list[str]:
    differing = f"{paper_note(table)}: {'; '.join(block['deviations'])}."
    return [*([differing] if paper_note(table) else []), *notes(table)]


def to_markdown(block: dict[str, Any], table: pd.DataFrame) -> str:
    """The whole table as Markdown: heading, grid, notes."""
    text = grid(table).to_markdown(disable_numparse=True)
    lines = [f"## {display_name(block['table'])}", "", heading(block, table), "", text, ""]
    return "\n".join([*lines, *(f"{note}\n" for note in _below(block, table))])


def to_latex(block: dict[str, Any], table: pd.DataFrame) -> str:
    r"""The whole table as a LaTeX `table`, no wider than a line.

    The document needs `\usepackage{booktabs,graphicx}`.
    """
    wide = grid(table)
    wide.columns = (
        pd.MultiIndex.from_tuples(split_columns(table)) if _grouped(table) else wide.columns
    )
    style = wide.style.format(_tex).format_index(_tex, axis=0).format_index(_tex, axis=1)
    aligned = "l" + "r" * wide.shape[1]
    tabular = style.to_latex(hrules=True, column_format=aligned, multicol_align="c")
    below = " ".join(_tex(note) for note in _below(block, table))
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(heading(block, table))}}}\n\\label{{tab:{block['table']}}}\n"
        f"{NO_WIDER}{{!}}{{{tabular.strip()}}}\n"
        f"\\par\\footnotesize {below}\n\\end{{table}}\n"
    )


def split_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """For each column, what it is of (a pair or a network, may be empty) and what is measured."""
    parts = (column.rpartition(" ") for column in dict.fromkeys(table["column"]))
    return [(display_name(head), display_name(measure)) for head, _, measure in parts]


def _grouped(table: pd.DataFrame) -> bool:
    return all(head for head, _ in split_columns(table))


def _tex(text: str) -> str:
    return str(text).translate(TEX)
