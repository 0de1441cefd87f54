"""The command line: `soteacher COMMAND`; each command is one file of this folder.

Exit codes: 0 success; 1 unexpected error, or some runs failed; 2 the request cannot be carried out,
and one line gives the reason; 130 interrupted by Ctrl-C while no network is trained; 141 the reader
closed the output; 143 stopped by a signal, states are saved.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from importlib import import_module

from soteacher.cli import output
from soteacher.core.errors import RunsFailed, Stopped, UserError
from soteacher.core.version import VERSION

log = logging.getLogger("soteacher")

COMMANDS = (
    *("plan", "status", "tables", "verify", "forget", "store"),
    *("export", "import-teacher", "methods", "schema"),
)
"""Commands for users, in the order of `--help`."""
WORKFLOW_COMMANDS = (
    *("prepare", "teach", "distill", "measure"),
    *("table", "figure", "runs", "claims", "page", "time-steps"),
)
"""Commands that the workflow's rules run; `--help` lists them in one line."""

FREE = "free disk space, then rerun the same command: finished results are kept"
"""What to do if a disk is full."""
PERMIT = "correct its permissions, then rerun the same command: finished results are kept"
"""What to do if a file may not be read or written."""

ACTIVATE = (
    "activate the environment in which soteacher and its packages are installed, or install them "
    "there with `pip install '.[workflow]'`"
)
"""What to do if a package is missing."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit.

    arguments : those of the command line if None. Only then may the process be restarted.
    """
    if arguments is None:
        output.use_utf8()
        if any(option.startswith("e") for option in sys.warnoptions):
            # PYTHONWARNINGS=error: a warning of a library is no reason to stop a run of days
            warnings.simplefilter("default")
    output.escape_unprintable()
    try:
        given = sys.argv[1:] if arguments is None else arguments
        _run(_parser(given).parse_args(given))
    except ModuleNotFoundError as error:
        package = (error.name or __package__).partition(".")[0]
        if package == __package__.partition(".")[0]:
            raise
        log.error("soteacher: error: %s has no package '%s'; %s", sys.executable, package, ACTIVATE)
        sys.exit(2)
    except BrokenPipeError:  # the reader of the output, for example `head`, has closed it
        output.discard()
        sys.exit(128 + signal.SIGPIPE)


def _run(options: argparse.Namespace) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if getattr(options, "log", None):
        handlers[0].setLevel("INFO")  # epochs and other details only go to the log
        handlers.append(output.LogFile(options.log))
    logging.basicConfig(format="%(asctime)s %(message)s", level="INFO", handlers=handlers)
    log.setLevel("DEBUG")
    logging.getLogger("fontTools").setLevel("WARNING")  # it logs each glyph of a figure's PDF
    try:
        options.run(options)
        output.flush()
    except UserError as error:
        log.error("soteacher: error: %s", error)
        sys.exit(1 if isinstance(error, RunsFailed) else 2)
    except Stopped as stopped:
        log.warning("soteacher: %s", stopped)
        sys.exit(143)
    except KeyboardInterrupt:  # Ctrl-C while no network is trained
        log.warning("soteacher: interrupted; rerun the same command to continue")
        sys.exit(128 + signal.SIGINT)
    except (BrokenPipeError, ModuleNotFoundError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in output.NO_SPACE:
            output.discard()
            where = error.filename or "the output"
            log.error("soteacher: error: cannot write %s: %s; %s", where, error.strerror, FREE)
            sys.exit(2)
        if isinstance(error, OSError) and error.errno in output.REFUSED:
            where = error.filename2 or error.filename
            log.error("soteacher: error: cannot use %s: %s; %s", where, error.strerror, PERMIT)
            sys.exit(2)
        log.exception("soteacher: unexpected error")  # this also writes to the job's log
        sys.exit(1)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """Return the parser; if the first argument is a command, only that one is imported."""
    parser = argparse.ArgumentParser(
        "soteacher",
        description="Student-oriented teacher training for knowledge distillation.",
        epilog="`soteacher COMMAND --help` describes a command. The rules of the workflow also run "
        f"these commands: {', '.join(WORKFLOW_COMMANDS)}.",
    )
    parser.add_argument("--version", action="version", version=f"soteacher {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    every = (*COMMANDS, *WORKFLOW_COMMANDS)
    for name in [name for name in every if [name] == arguments[:1]] or every:
        module = import_module(f"soteacher.cli.{name.replace('-', '_')}")
        shown = {"help": module.HELP} if name in COMMANDS else {}  # without help, it is not listed
        command = commands.add_parser(
            name, description=getattr(module, "DESCRIPTION", module.HELP), **shown
        )
        command.set_defaults(run=getattr(module, "run", None))
        module.add_arguments(command)
    return parser
