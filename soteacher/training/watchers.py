"""What follows a run while it trains, and can neither change nor stop its training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

log = logging.getLogger("soteacher")

History = list[dict[str, Any]]
"""Rows of a run's finished epochs, with the columns of `history.csv`."""


class Watcher(Protocol):
    """What is told about each epoch of one run."""

    def end_epoch(self, history: History) -> None:
        """Take the last row of the history."""

    def close(self) -> None:
        """End, because the run is not trained any more in this process."""


class Watchers:
    """The watchers of one run. One that fails is left out, with one warning.

    watchers : name to function that opens the watcher.
    failed : names of the watchers that could not be opened for a run of this job; they are not
        tried again, because each try may wait for a server.
    """

    def __init__(
        self, run_id: str, watchers: Mapping[str, Callable[[], Watcher]], failed: set[str]
    ) -> None:
        self._run_id = run_id
        self._open: dict[str, Watcher] = {}
        for name, opened in watchers.items():
            if name not in failed:
                failed.add(name)
                with self._guarded(name):
                    self._open[name] = opened()
                    failed.discard(name)

    def end_epoch(self, history: History) -> None:
        """Tell all watchers that an epoch has ended."""
        for name, watcher in list(self._open.items()):
            with self._guarded(name):
                watcher.end_epoch(history)

    def close(self) -> None:
        """Close all watchers."""
        for name, watcher in list(self._open.items()):
            with self._guarded(name):
                watcher.close()
        self._open.clear()

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            why = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning("%s: %s failed, training continues without it: %s", self._run_id, name, why)
