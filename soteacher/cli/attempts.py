"""Attempts of a job: Snakemake retries every job that fails, but some errors would only come again.

Snakemake cannot tell errors apart. So an attempt that ends with an error that no retry helps leaves
a note beside its log, and the next attempt ends at once with the same line and the same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from soteacher.core import files
from soteacher.core.errors import Damaged, RunsFailed, Stopped, Unreadable, UserError


@contextmanager
def attempt(number: int, log_file: Path | None) -> Iterator[None]:
    """Carry out an attempt of a job, or end it if an attempt before shows that it is in vain.

    number : 1 for the first attempt.
    log_file : the log of all attempts, or None if this command is not run by the workflow.
    """
    if log_file is None:
        yield
        return
    note, kept = log_file.with_suffix(".in-vain.json"), log_file.with_suffix(".in-vain.log")
    if number > 1:
        _check(note, number)
    with suppress(OSError):
        note.unlink(missing_ok=True)
        kept.unlink(missing_ok=True)
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        from soteacher.training.failures import retry_helps

        if not retry_helps(error):
            with suppress(OSError, UserError):  # without the note, Snakemake tries again
                _keep(log_file, kept)
                expected = isinstance(error, UserError)
                text = str(error) if expected else f"{type(error).__name__}: {error}"
                code = 2 if expected and not isinstance(error, RunsFailed) else 1
                facts = {"attempt": number, "code": code, "text": text, "log": str(kept)}
                files.write_json(note, facts)
        raise


def _check(note: Path, number: int) -> None:
    """Raise the error of an earlier attempt if it left a note; a damaged note is none."""
    with suppress(Damaged, Unreadable, LookupError, TypeError):
        facts = files.read_json(note, "the note of an attempt")
        text = (
            f"{facts['text']} (attempt {number} ended at once, because it would fail in the same "
            f"way as attempt {facts['attempt']}; the log of that one is {facts['log']})"
        )
        raise UserError(text) if facts["code"] == 2 else RunsFailed(text)


def _keep(log_file: Path, kept: Path) -> None:
    """Keep a log, into which the error is still to be written: Snakemake deletes it at a retry."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log_file.touch()
    os.link(log_file, kept)
