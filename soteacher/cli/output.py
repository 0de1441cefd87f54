"""The texts that a command writes to the terminal and to its log: always UTF-8, never fatal."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("soteacher")

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors for a full disk and for a used-up quota."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Numbers of the errors for missing permission and for a disk that may only be read."""


def use_utf8() -> None:
    """Restart this process in Python's UTF-8 mode if the locale has another encoding.

    Python translates file names with the locale's encoding. Without a restart, a folder of images
    would have another name, and therefore another class, than in a UTF-8 locale.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def escape_unprintable() -> None:
    """Print characters that the terminal cannot show as escape sequences, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if it is closed
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what standard output has in its buffer."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard() -> None:
    """Discard what standard output has in its buffer; Python would write it when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LogFile(logging.FileHandler):
    """A log file; if it cannot be written, one line says so and the command continues without."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self.path = path
        self.given_up = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if self.given_up:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            super().emit(record)
        except OSError as error:
            self.given_up = True
            why = error.strerror or error
            log.warning("cannot write the log %s: %s; continuing without it", self.path, why)

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave a failure to write to `emit`; logging would print a traceback for each message."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise error
        super().handleError(record)
