"""The command line: one sub-command a rule of the workflow, and `plan`, `schema` for people.

Exit codes: 0 done, 2 something asked for cannot be done (one line says what), 143 stopped by
a signal with all states saved, 141 nobody reads what is printed, 1 anything else.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soteacher import people
from soteacher.errors import RunsFailed, Stopped, UserError

if TYPE_CHECKING:
    from soteacher.training.job import How

log = logging.getLogger("soteacher")


def main(arguments: list[str] | None = None) -> None:
    """Run one sub-command and exit."""
    try:
        _run(_parser().parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read what is printed, as `head` does, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _run(options: argparse.Namespace) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    try:
        if getattr(options, "log", None):
            options.log.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(options.log))
        logging.basicConfig(format="%(asctime)s %(message)s", level="INFO", handlers=handlers)
        logging.getLogger("fontTools").setLevel("WARNING")  # each glyph of a figure's PDF
        options.command(options)
    except UserError as error:
        log.error("soteacher: error: %s", error)
        sys.exit(1 if isinstance(error, RunsFailed) else 2)
    except Stopped as stopped:
        log.warning("soteacher: %s", stopped)
        sys.exit(143)
    except BrokenPipeError:
        raise
    except Exception:
        log.exception("soteacher: unexpected error")  # into the job's log, too
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("soteacher", description="Student-oriented teacher training.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=function)
        return made

    plan = command("plan", _plan, "Check a study file and say what it would train and cost.")
    plan.add_argument("study", type=Path, nargs="+", help="its file, and what lies over it")
    plan.add_argument("--rate", type=float, help="TFLOP/s that one training process sustains")
    plan.add_argument("--parallel", type=int, default=1, help="training processes at once")
    plan.add_argument("--json", action="store_true")

    tables = command("tables", _tables, "Print all tables of a study as far as its runs go by now.")
    tables.add_argument("study", type=Path, nargs="+", help="its file, and what lies over it")

    verify = command("verify", _verify, "Make a study's numbers again, and compare.")
    verify.description = "Measures, tables and the CSVs of figures are compared, pictures are not."
    verify.add_argument("results", type=Path, help="results/<study>")
    verify.add_argument("--store", type=Path, default=Path("results/store"))
    verify.add_argument(
        "--study",
        type=Path,
        nargs="+",
        help="its file, and what lies over it: are these the tables it asks for?",
    )

    command("schema", _schema, "Print the JSON schema of study files.")

    prepare = command("prepare", _prepare, "Make the arrays of a data set in the store.")
    prepare.add_argument("--spec", type=json.loads, required=True)
    prepare.add_argument("--location", type=json.loads, default={}, help="where its images are")

    clock = command("clock", _clock, "Time training steps of teacher methods; train no run.")
    clock.add_argument("--block", type=Path, required=True, help="what to time, JSON")
    clock.add_argument("--data", type=Path, nargs="+", required=True, help="<data set>.json")

    for name, text in (
        ("teach", "Train the teachers of a job, or publish those that the store has."),
        ("distill", "Train the students of a job, or publish those that the store has."),
    ):
        train = command(name, _train, text)
        train.add_argument("--runs", type=Path, required=True, help="what to train, JSON")
        train.add_argument("--data", type=Path, required=True)
        train.add_argument("--teachers", type=Path, nargs="*", default=[])
        train.add_argument("--links", type=Path, required=True)
        train.add_argument("--job", default="1 of 1", help="which of how many, for the log")
        train.add_argument("--attempt", type=int, default=1, help="from 2 on, one run at a time")
        train.add_argument("--save-every", type=float, default=60.0, help="seconds")

    measure = command("measure", _measure, "Measure the runs of a job.")
    measure.add_argument("--runs", type=Path, required=True, help="what was to be trained, JSON")
    measure.add_argument("--manifest", type=Path, required=True)
    measure.add_argument("--data", type=Path, required=True)
    measure.add_argument("--epochs", type=Path, required=True)
    measure.add_argument("--reliability", type=Path, required=True)

    table = command("table", _table, "Make one table, as CSV, Markdown and LaTeX.")
    table.add_argument("--block", type=Path, required=True, help="what it shows, JSON")
    table.add_argument(
        "--measures", type=Path, nargs="*", required=True, help="or steps, and their methods"
    )
    table.add_argument("--markdown", type=Path, required=True)
    table.add_argument("--latex", type=Path, required=True)

    figure = command("figure", _figure, "Make one figure, as PNG, PDF and the CSV behind it.")
    figure.add_argument("--block", type=Path, required=True, help="what it shows, JSON")
    figure.add_argument(
        "--measures", type=Path, nargs="+", required=True, help="each with its like beside it"
    )
    figure.add_argument("--pdf", type=Path, required=True)
    figure.add_argument("--csv", type=Path, required=True)

    page = command("page", _page, "Make the page of a study.")
    page.add_argument("--summary", type=Path, required=True, help="what it says, JSON")
    page.add_argument("--tables", type=Path, nargs="+", required=True)
    page.add_argument(
        "--figures", type=Path, nargs="*", default=[], help="PNG files, each with its CSV beside it"
    )

    for name, made in commands.choices.items():
        if name in ("teach", "distill", "clock"):
            made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
            made.add_argument("--threads", type=int, default=1)
            made.add_argument("--nondeterministic", action="store_true")
            made.add_argument(
                "--jobs-per-gpu", type=int, default=1, help="processes that share one"
            )
            made.add_argument("--allow-cpu", action="store_true", help="even if it takes days")
        if name in ("prepare", "teach", "distill", "clock", "measure"):
            made.add_argument("--store", type=Path, required=True)
        if name not in ("plan", "schema", "tables", "verify"):
            made.add_argument("--out", type=Path, required=True)
            made.add_argument("--log", type=Path)
    people.add_commands(command)
    return parser


def _plan(options: argparse.Namespace) -> None:
    from soteacher.report.forecast import to_text
    from soteacher.study.plan import expand
    from soteacher.study.reader import load
    from soteacher.training.forecast import Forecast

    if options.parallel < 1 or (options.rate is not None and not 0 < options.rate < math.inf):
        raise UserError("--rate must be a number above 0 and --parallel a whole number above 0")
    rate = None if options.rate is None else options.rate * 1e12
    facts = Forecast(expand(load(*options.study)), rate, options.parallel).facts()
    print(json.dumps(facts, indent=1) if options.json else to_text(facts))


def _tables(options: argparse.Namespace) -> None:
    from soteacher.report.so_far import tables_so_far
    from soteacher.study.plan import expand
    from soteacher.study.reader import load

    print(tables_so_far(expand(load(*options.study))))


def _verify(options: argparse.Namespace) -> None:
    from soteacher.report.verify import verify
    from soteacher.study.plan import expand
    from soteacher.study.reader import load

    plan = expand(load(*options.study)) if options.study else None
    differing = verify(options.results, options.store, plan)
    for line in differing:
        log.error("%s", line)
    if differing:
        differences = "difference" if len(differing) == 1 else "differences"
        raise UserError(f"{len(differing)} {differences} from what the records of the runs give")
    log.info("all values are what the records of their runs give")
    if plan is None:
        log.info("what the tables and figures should show was not checked: give --study for that")


def _schema(options: argparse.Namespace) -> None:
    from soteacher.study.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1))


def _prepare(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import prepare

    files.write_json(options.out, prepare(options.spec, options.store, options.location))


def _train(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import open_prepared
    from soteacher.training.job import publish, run_job

    teachers: dict[str, Any] = {}
    for path in options.teachers:
        teachers |= files.read_json(path, "the teachers' manifest")["runs"]
    data = open_prepared(options.data, options.store)
    runs = files.read_json(options.runs, "what to train")
    log.info("job of %s: %s", options.job, ", ".join(sorted(runs)))
    manifest = run_job(runs, data, teachers, _how(options, options.save_every))
    publish(manifest, options.out, options.links, options.store)


def _how(options: argparse.Namespace, save_every: float) -> How:
    from soteacher.training.job import How

    return How(
        store=options.store,
        device=options.device,
        threads=options.threads,
        deterministic=not options.nondeterministic,
        save_every=save_every,
        allow_cpu=options.allow_cpu,
        one_by_one=getattr(options, "attempt", 1) > 1,
        jobs_per_gpu=options.jobs_per_gpu,
    )


def _clock(options: argparse.Namespace) -> None:
    import pandas as pd

    from soteacher import files
    from soteacher.data.prepared import open_prepared

    how = _how(options, save_every=math.inf)
    how.choose_gpu()
    from soteacher.training.overhead import clock

    asked = files.read_json(options.block, "what to time")
    data = {path.stem: open_prepared(path, options.store) for path in options.data}
    steps, methods = clock(asked, data, how)
    beside = options.out.with_suffix(".methods.csv")
    files.write(beside, pd.DataFrame(methods).to_csv(index=False))
    files.write(options.out, pd.DataFrame(steps).to_csv(index=False))


def _measure(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.data.prepared import open_prepared
    from soteacher.measures.collect import COLUMNS, EPOCHS, RELIABILITY, check_planned, measure
    from soteacher.study.plan import sha

    manifest = files.read_json(options.manifest, "the manifest")
    runs = files.read_json(options.runs, "what was to be trained")
    check_planned(manifest, {name: sha(run["spec"]) for name, run in runs.items()})
    found = measure(manifest, open_prepared(options.data, options.store), options.store)
    for path, columns, rows in (
        (options.epochs, EPOCHS, found.epochs),
        (options.reliability, RELIABILITY, found.reliability),
        (options.out, COLUMNS, found.runs),
    ):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.write(path, text.getvalue())


def _table(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.report.making import make
    from soteacher.report.tables import read_measures, to_latex, to_markdown

    block = files.read_json(options.block, "what the table shows")
    table = make(
        block,
        measures=lambda: read_measures(options.measures, block["runs"]),
        steps=next(iter(options.measures), options.out),  # weights need neither
    )
    files.write(options.markdown, to_markdown(block, table))
    files.write(options.latex, to_latex(block, table))
    files.write(options.out, table.to_csv(index=False))


def _figure(options: argparse.Namespace) -> None:
    import pandas as pd

    from soteacher import files
    from soteacher.report.figures import make_figure, save
    from soteacher.report.tables import read_csv, read_measures

    block = files.read_json(options.block, "what the figure shows")
    measures = read_measures(options.measures, block["runs"])
    epochs, reliability = (
        pd.concat([read_csv(path.with_suffix(kind), ("run",)) for path in options.measures])
        for kind in (".epochs.csv", ".reliability.csv")
    )
    figure, drawn = make_figure(block, measures, epochs, reliability)
    files.write(options.csv, drawn.to_csv(index=False))
    save(figure, options.pdf)
    save(figure, options.out)


def _page(options: argparse.Namespace) -> None:
    from soteacher import files
    from soteacher.report.page import make_page
    from soteacher.report.tables import read_csv, read_table

    tables = {path.stem: read_table(path) for path in options.tables}
    figures = {
        path.stem: (path.read_bytes(), read_csv(path.with_suffix(".csv"), ("runs", "trained_on")))
        for path in options.figures
    }
    summary = files.read_json(options.summary, "what the page says")
    files.write(options.out, make_page(summary, tables, figures))
