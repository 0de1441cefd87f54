"""A second attempt of a job ends at once if the first one ended with an error that would return."""

from __future__ import annotations

import pytest
import torch

from soteacher.cli.attempts import attempt
from soteacher.core.errors import RunsFailed, Stopped, UserError


def tried(number, log, error=None):
    """Carry out an attempt that ends with an error or none; whether its work was started."""
    started = []
    try:
        with attempt(number, log):
            started.append(number)
            if error:
                raise error
    except Exception as ended:
        return bool(started), ended
    return bool(started), None


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "logs/teach/job.log"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("the data are gone"), UserError),
        (RunsFailed("1 of 2 runs failed"), RunsFailed),
        (ValueError("a mistake"), RunsFailed),
    ],
)
def test_an_error_that_would_return_is_repeated_at_once(log, error, kind):
    log.write_text("what was trained\n")
    assert tried(1, log, error) == (True, error)
    with log.open("a") as file:  # as the command line does, after the attempt
        file.write("soteacher: error\n")
    log.unlink()  # as Snakemake does
    for number in (2, 3):
        started, ended = tried(number, log)
        assert not started
        assert type(ended) is kind
        assert str(error) in str(ended)
        assert f"attempt {number} ended at once" in str(ended) and "attempt 1;" in str(ended)
    assert log.with_suffix(".in-vain.log").read_text() == "what was trained\nsoteacher: error\n"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RunsFailed("1 of 2 runs failed", retry=True),
        Stopped("by SIGTERM"),
    ],
)
def test_what_a_retry_helps_is_tried_again(log, error):
    assert tried(1, log, error) == (True, error)
    assert tried(2, log) == (True, None)


def test_a_killed_attempt_is_tried_again(log):
    with pytest.raises(KeyboardInterrupt):  # nothing is written, as after SIGKILL
        tried(1, log, KeyboardInterrupt())
    assert tried(2, log) == (True, None)


def test_a_new_call_of_snakemake_tries_again(log):
    error = UserError("the data are gone")
    tried(1, log, error)
    assert tried(1, log) == (True, None)
    assert tried(2, log) == (True, None)
    assert not [*log.parent.glob("*.in-vain.*")]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"code": 2}'])
def test_a_damaged_note_is_none(log, text):
    log.with_suffix(".in-vain.json").write_text(text)
    assert tried(2, log) == (True, None)


def test_without_a_log_nothing_is_noted(tmp_path):
    error = UserError("the data are gone")
    assert tried(1, None, error) == (True, error)
    assert tried(2, None) == (True, None)
