"""The finished epochs of a run as a file that can be read while the run trains."""

from __future__ import annotations

from typing import Any

from soteacher.store.run_folder import RunFolder
from soteacher.training.writers import history_text


class ProgressFile:
    """Keeps `progress.csv` in a run's folder equal to what `history.csv` would be by now.

    `RunFolder.finish` deletes it when `history.csv` is there. It is written without waiting for the
    disk: after a crash, it is written again from the history of the saved state.
    """

    def __init__(self, folder: RunFolder, history: list[dict[str, Any]]) -> None:
        """Write the epochs from which a run resumes; without any, delete what an attempt left.

        history : rows of the finished epochs.
        """
        self._path, self._text = folder.progress_file, ""
        if history:
            self._replace(history_text(history))
        else:
            self._path.unlink(missing_ok=True)

    def end_epoch(self, history: list[dict[str, Any]]) -> None:
        """Append the last row; if it has a column that the file lacks, write all rows again.

        history : rows of the finished epochs.
        """
        text = history_text(history)
        if text.startswith(self._text):
            with open(self._path, "a", encoding="utf-8", newline="") as file:
                file.write(text[len(self._text) :])
            self._text = text
        else:  # the first epoch of another stage, for example
            self._replace(text)

    def close(self) -> None:
        """Do nothing: the file is closed after each epoch."""

    def _replace(self, text: str) -> None:
        """Write into the file that is there, so that `tail -f` continues to follow it."""
        with open(self._path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        self._text = text
