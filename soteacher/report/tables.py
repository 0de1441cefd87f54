"""Tables: mean and standard deviation over seeds, with the paper's value where it may stand."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.errors import UserError
from soteacher.report.labels import label

PERCENT = {"top1", "top5", "agreement"}
"""Measures that are shares in [0, 1], and are shown in percent."""
VERSIONS = ("torch", "soteacher")
NUMBERS = ("mean", "sd", "best_mean", "best_sd", "paper_mean", "paper_sd", "difference")
"""Columns of a table that may be empty where others have numbers."""


def read_csv(path: Path, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """A CSV of this workflow; `UserError` if it is no CSV, or one of these columns is missing."""
    try:
        read = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
    else:
        missing = [name for name in columns if name not in read]
        if not missing:
            return read
        why = f"no column '{missing[0]}'"
    raise UserError(
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
        machines = dict.fromkeys(_trained_on(run) for _, run in done.iterrows())
        scale = 100 if cell["measure"] in PERCENT else 1
        values = pd.to_numeric(runs[cell["measure"]]) * scale
        best = f"best_{cell['measure']}"
        bests = pd.to_numeric(done[best]) * scale if best in done else values[:0]
        where = (block["table"], cell["row"], cell["column"])
        known = cell["papers"] and where in paper.index
        rows.append(
            {
                "row": cell["row"],
                "column": cell["column"],
                "measure": cell["measure"],
                "mean": values.mean(),
                "sd": values.std(ddof=1),
                "n": len(done),
                "n_planned": len(runs),
                "best_mean": bests.mean(),
                "best_sd": bests.std(ddof=1),
                "papers": cell["papers"],
                "paper_mean": paper.loc[where, "mean"] if known else float("nan"),
                "paper_sd": paper.loc[where, "sd"] if known else float("nan"),
                "note": "; ".join(dict.fromkeys(runs["note"][runs["note"] != ""])),
                "role": cell["role"],
                "runs": " ".join(cell["runs"]),
                "values": " ".join(repr(float(value)) for value in values),
                "status": " ".join(runs["status"]),
                "trained_on": "; ".join(machines),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(12, "difference", table["mean"] - table["paper_mean"])
    return table


def _trained_on(run: pd.Series) -> str:
    threads = "1 thread" if int(run["threads"]) == 1 else f"{int(run['threads'])} threads"
    versions = ", ".join(f"{name} {run[name]}" for name in VERSIONS)
    return f"{run['device']} ({threads}), {run['precision']}, {versions}"


def read_table(path: Path) -> pd.DataFrame:
    """A table as `make_table` made it, from its CSV."""
    return read_csv(
        path,
        ("row", "column", "measure", "role", "papers", "runs", "values", "status"),
        dtype={"values": str},
        keep_default_na=False,  # a text that is empty, or `nan`, is that text
        na_values={name: [""] for name in NUMBERS},
    )


def number(value: float, measure: str) -> str:
    """A value as it is printed: two decimals in percent, three otherwise."""
    return f"{value:.2f}" if measure in PERCENT else f"{value:.3f}"


def shown(cell: pd.Series) -> str:
    """A cell's text: mean ± sd, the paper's value if it may stand, n where runs are missing."""
    measure = cell["measure"]
    if cell["n"] == 0:
        text = "none"
    elif cell["n"] == 1:
        text = number(cell["mean"], measure)
    else:
        text = f"{number(cell['mean'], measure)} ± {number(cell['sd'], measure)}"
    if pd.notna(cell["paper_mean"]):
        paper, deviation = (number(cell[name], measure) for name in ("paper_mean", "paper_sd"))
        text += f" (paper {paper} ± {deviation})"
    if cell["n"] < cell["n_planned"]:
        text += f" (n = {cell['n']} of {cell['n_planned']})"
    return text


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read: methods down, columns across, texts in the cells."""
    texts = table.assign(text=table.apply(shown, axis=1))
    wide = texts.pivot(index="row", columns="column", values="text")
    wide = wide.loc[list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["column"]))]
    return wide.rename(index=label, columns=label).rename_axis(index=None, columns=None)


def heading(block: dict[str, Any], table: pd.DataFrame) -> str:
    """What the table shows, with its n, in one sentence."""
    planned = sorted(set(table["n_planned"]))
    if planned == [1]:
        return f"{block['title']}; one seed (n = 1), last epoch."
    runs = " or ".join(str(n) for n in planned)
    return f"{block['title']}; mean ± sample standard deviation over n = {runs} seeds, last epoch."


def notes(table: pd.DataFrame) -> list[str]:
    """What is missing in a table and why, and what its runs were trained on."""
    said = [f"Missing: {note}." for note in dict.fromkeys(table["note"][table["note"] != ""])]
    used = [text for cell in table["trained_on"] for text in cell.split("; ") if text]
    if used:
        said.append(f"Trained on {'; and on '.join(dict.fromkeys(used))}.")
    return said


def whose(table: pd.DataFrame) -> str:
    """Whose experiment a table is: what to say before its deviations; empty if the paper's."""
    if table["papers"].all():
        return ""
    if not table["papers"].any():
        return "Not the paper's experiment"
    return "Some cells are not the paper's experiment and have no value of the paper beside them"


def _below(block: dict[str, Any], table: pd.DataFrame) -> list[str]:
    differing = f"{whose(table)}: {'; '.join(block['deviations'])}."
    return [*([differing] if whose(table) else []), *notes(table)]


def to_markdown(block: dict[str, Any], table: pd.DataFrame) -> str:
    """The whole table as Markdown: heading, grid, notes."""
    text = grid(table).to_markdown(disable_numparse=True)
    lines = [f"## {label(block['table'])}", "", heading(block, table), "", text, ""]
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
    return [(label(head), label(measure)) for head, _, measure in parts]


def _grouped(table: pd.DataFrame) -> bool:
    return all(head for head, _ in split_columns(table))


NO_WIDER = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}"
"""Shrinks what follows to a line's width if it is wider."""
TEX = str.maketrans(
    {"±": r"$\pm$", "λ": r"$\lambda$", "–": "--"}
    | {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


def _tex(text: str) -> str:
    return str(text).translate(TEX)
