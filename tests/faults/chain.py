"""The commands of the workflow's rules for a small study, one after the other, in this process."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from soteacher.cli import main
from soteacher.core.hashing import canonical_json
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.study.plan import Plan
from soteacher.study.requests import Request
from soteacher.study.summary import block_record, page_summary

STUDY = {
    "study": "small",
    "seeds": [0],
    "device": "cpu",
    "data": {
        "d": {"source": "generated", "n_train": 48, "n_test": 20, "size": 8, "n_classes": 4},
        "e": {"source": "generated", "n_train": 40, "n_test": 20, "size": 8, "n_classes": 4},
    },
    "recipes": {"r": {"epochs": 2, "batch": 16, "lr": 0.05, "decay_at": [1], "keep_every": 1}},
    "pairs": {
        "wrn_10_1/wrn_10_1": {"data": "d", "teacher_recipe": "r", "student_recipe": "r"},
        "e": {
            "teacher": "wrn_10_1",
            "student": "wrn_10_1",
            "data": "e",
            "teacher_recipe": "r",
            "student_recipe": "r",
        },
    },
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}}},
    "distillers": {"kd": {}, "ft": {"prepare_epochs": 1}},
    "tables": {
        "one": {
            "kind": "accuracy",
            "teachers": ["standard", "soteacher"],
            "distillers": ["kd"],
            "pairs": ["wrn_10_1/wrn_10_1"],
        },
        "two": {
            "kind": "accuracy",
            "teachers": ["standard"],
            "distillers": ["ft"],
            "pairs": ["e"],
        },
    },
}
FIGURES = {"bins": {"kind": "reliability", "teachers": ["standard"]}}

RESULTS = Path("results/small")
STORE = Path("results/store")
QUESTIONS = (
    ("status", "study.yaml"),
    ("tables", "study.yaml"),
    ("plan", "study.yaml"),
    ("store", "list"),
    ("verify", RESULTS, "--study", "study.yaml"),
)
"""Commands for people that only read."""


@dataclass
class Ended:
    """How a command ended: its exit code, and what it logged as warnings and errors."""

    code: int
    lines: list[str] = field(default_factory=list)
    traceback: bool = False

    @property
    def said(self) -> str:
        """All lines together."""
        return "\n".join(self.lines)


class _Lines(logging.Handler):
    """Collects warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def say(*arguments: object) -> Ended:
    """Give a command in this process."""
    lines, code = _Lines(), 0
    logging.getLogger("soteacher").addHandler(lines)
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        logging.getLogger("soteacher").removeHandler(lines)
    shown = [record.getMessage() for record in lines.records]
    return Ended(code, shown, any(record.exc_info for record in lines.records))


def write_study(values: dict | None = None) -> None:
    """Write the study file into the working directory."""
    Path("study.yaml").write_text(yaml.safe_dump(values or STUDY), encoding="utf-8")


def the_plan() -> Plan:
    """The plan of the study file in the working directory."""
    return expand(load(Path("study.yaml")))


def commands(save_every: float = 0) -> list[list[object]]:
    """The commands of all rules, in an order in which each finds its inputs.

    Their request files are written, as Snakemake does before it starts the jobs.
    """
    plan, asked = the_plan(), RESULTS / "asked"
    prepare: list[list[object]] = [
        [
            *("prepare", "--spec", plan.data_spec(name).canonical),
            *("--location", canonical_json(plan.data_location(name)), "--store", STORE),
            *("--out", RESULTS / f"data/{name}.json"),
        ]
        for name in plan.study.data
    ]
    train, measure = [], []
    for role, command in (("teacher", "teach"), ("student", "distill")):
        for name, job in plan.jobs[role].items():
            runs = Request.of(asked, f"{role}s-{name}", job.request).write()
            manifest = RESULTS / f"runs/{role}s/{name}.json"
            data = RESULTS / f"data/{job.data}.json"
            taught = plan.jobs_of(run.teacher for run in job.runs if run.teacher)
            teachers = [RESULTS / f"runs/teachers/{one.name}.json" for one in taught]
            train.append(
                [
                    *(command, "--runs", runs, "--data", data, "--store", STORE),
                    *("--device", "cpu", "--links", RESULTS / f"{role}s", "--out", manifest),
                    *("--save-every", save_every),
                    *(["--teachers", *teachers] if teachers else []),
                ]
            )
        for name, job in plan.measure_jobs[role].items():
            requests = [Request.of(asked, f"{role}s-{one.name}", one.request) for one in job.jobs]
            stem = RESULTS / f"measures/{role}s/{name}"
            measure.append(
                [
                    *("measure", "--runs", *(request.path for request in requests), "--manifests"),
                    *(RESULTS / f"runs/{role}s/{one.name}.json" for one in job.jobs),
                    *("--data", RESULTS / f"data/{job.data}.json", "--store", STORE),
                    *("--epochs", f"{stem}.epochs.csv", "--reliability", f"{stem}.reliability.csv"),
                    *("--disagreement", f"{stem}.disagreement.csv", "--out", f"{stem}.csv"),
                ]
            )
    report = []
    for name in plan.study.blocks:
        block = Request.of(asked, name, block_record(plan, name)).write()
        jobs = plan.measure_jobs_of(plan.runs_of(name))
        paths = [str(RESULTS / f"measures/{job.role}s/{job.name}.csv") for job in jobs]
        measures = Request.of(asked, f"measures-{name}", paths).write()
        if name in plan.study.tables:
            stem = RESULTS / f"tables/{name}"
            forms = ["--markdown", f"{stem}.md", "--latex", f"{stem}.tex", "--out", f"{stem}.csv"]
            report.append(["table", "--block", block, "--measures", measures, *forms])
        else:
            stem = RESULTS / f"figures/{name}"
            forms = [
                part for form in ("pdf", "svg", "csv") for part in (f"--{form}", f"{stem}.{form}")
            ]
            forms += ["--out", f"{stem}.png"]
            report.append(["figure", "--block", block, "--measures", measures, *forms])
    summary = Request.of(asked, "page", page_summary(plan)).write()
    page = [
        *("page", "--summary", summary, "--out", RESULTS / "report.html"),
        *("--tables", *(RESULTS / f"tables/{name}.csv" for name in plan.study.tables)),
        *("--figures", *(RESULTS / f"figures/{name}.png" for name in plan.study.figures)),
    ]
    return [*prepare, *train, *measure, *report, page]


def run_all(save_every: float = 0) -> Ended:
    """Give all commands until one fails; return how the last one ended."""
    ended = Ended(0)
    for command in commands(save_every):
        ended = say(*command)
        if ended.code:
            break
    return ended


def content() -> dict[str, bytes]:
    """The bytes of all results that hold numbers, and of all networks, by their paths."""
    kept = [*RESULTS.glob("tables/*"), *RESULTS.glob("measures/*/*"), *RESULTS.glob("runs/*/*")]
    kept += [*RESULTS.glob("figures/*.csv"), *RESULTS.glob("data/*"), *STORE.glob("data/*/*.npy")]
    kept += [path for path in STORE.glob("runs/*/*") if path.suffix in (".npy", ".safetensors")]
    return {str(path): path.read_bytes() for path in kept if path.is_file()}


def copy(tree: Path, to: Path) -> None:
    """Make `to` a copy of a working directory, in place of what it holds."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(tree, to, symlinks=True)
