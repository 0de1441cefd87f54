"""The command line: one sub-command a rule of the workflow, and `plan`, `schema` for people.

Exit codes: 0 done, 2 something asked for cannot be done (one line says what), 143 stopped by
a signal with all states saved, 1 anything else.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

from soteacher.errors import RunsFailed, Stopped, UserError

log = logging.getLogger("soteacher")


def main(arguments: list[str] | None = None) -> None:
    """Run one sub-command and exit."""
    options = _parser().parse_args(arguments)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    try:
        if getattr(options, "log", None):
            options.log.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(options.log))
        logging.basicConfig(format="%(asctime)s %(message)s", level="INFO", handlers=handlers)
        options.command(options)
    except UserError as error:
        log.error("soteacher: error: %s", error)
        sys.exit(1 if isinstance(error, RunsFailed) else 2)
    except Stopped as stopped:
        log.warning("soteacher: %s", stopped)
        sys.exit(143)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("soteacher", description="Student-oriented teacher training.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=function)
        return made

    plan = command("plan", _plan, "Check a study file and say what it would train.")
    plan.add_argument("study", type=Path)

    command("schema", _schema, "Print the JSON schema of study files.")

    prepare = command("prepare", _prepare, "Make the arrays of a data set in the store.")
    prepare.add_argument("--spec", type=json.loads, required=True)

    for name, text in (
        ("teach", "Train the teachers of a job, or publish those that the store has."),
        ("distill", "Train the students of a job, or publish those that the store has."),
    ):
        train = command(name, _train, text)
        train.add_argument("--runs", type=json.loads, required=True)
        train.add_argument("--data", type=Path, required=True)
        train.add_argument("--teachers", type=Path, nargs="*", default=[])
        train.add_argument("--links", type=Path, required=True)
        train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        train.add_argument("--threads", type=int, default=1)
        train.add_argument("--nondeterministic", action="store_true")
        train.add_argument("--save-every", type=float, default=60.0, help="seconds")

    measure = command("measure", _measure, "Measure the runs of a job.")
    measure.add_argument("--planned", type=json.loads, required=True)
    measure.add_argument("--manifest", type=Path, required=True)
    measure.add_argument("--data", type=Path, required=True)

    table = command("table", _table, "Make one table, as CSV and Markdown.")
    table.add_argument("--block", type=json.loads, required=True)
    table.add_argument("--measures", type=Path, nargs="+", required=True)
    table.add_argument("--markdown", type=Path, required=True)

    page = command("page", _page, "Make the page of a study.")
    page.add_argument("--summary", type=json.loads, required=True)
    page.add_argument("--tables", type=Path, nargs="+", required=True)

    for name, made in commands.choices.items():
        if name in ("prepare", "teach", "distill", "measure"):
            made.add_argument("--store", type=Path, required=True)
        if name not in ("plan", "schema"):
            made.add_argument("--out", type=Path, required=True)
            made.add_argument("--log", type=Path)
    return parser


def _plan(options: argparse.Namespace) -> None:
    from soteacher.study.plan import expand
    from soteacher.study.reader import load

    plan = expand(load(options.study))
    for role, jobs in plan.jobs.items():
        runs = sum(len(job.runs) for job in jobs.values())
        print(f"{runs} {role}s in {len(jobs)} jobs")
    for name, cells in plan.tables.items():
        runs = {run.id for cell in cells for run in cell.runs}
        print(f"{name}: {len(cells)} cells from {len(runs)} runs")


def _schema(options: argparse.Namespace) -> None:
    from soteacher.study.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1))


def _prepare(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import prepare

    files.write_json(options.out, prepare(options.spec, options.store))


def _train(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import open_prepared
    from soteacher.training.job import How, publish, run_job

    how = How(
        store=options.store,
        device=options.device,
        threads=options.threads,
        deterministic=not options.nondeterministic,
        save_every=options.save_every,
    )
    teachers: dict[str, Any] = {}
    for path in options.teachers:
        teachers |= files.read_json(path, "the teachers' manifest")["runs"]
    data = open_prepared(options.data, options.store)
    manifest = run_job(options.runs, data, teachers, how)
    publish(manifest, options.out, options.links, options.store)


def _measure(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import open_prepared
    from soteacher.measures.collect import COLUMNS, check_planned, measure

    manifest = files.read_json(options.manifest, "the manifest")
    check_planned(manifest, options.planned)
    rows = measure(manifest, open_prepared(options.data, options.store), options.store)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(options.out, text.getvalue())


def _table(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.report.tables import make_table, read_measures, to_markdown

    measures = read_measures(options.measures, options.block["runs"])
    table = make_table(options.block, measures)
    files.write(options.markdown, to_markdown(options.block, table))
    files.write(options.out, table.to_csv(index=False))


def _page(options: argparse.Namespace) -> None:
    import pandas as pd

    from soteacher import files
    from soteacher.report.page import make_page

    tables = {
        path.stem: pd.read_csv(path, dtype={"note": str}).fillna({"note": ""})
        for path in options.tables
    }
    files.write(options.out, make_page(options.summary, tables))
