"""Loggers of other projects that a study can name: TensorBoard, and Weights & Biases.

They get what `history.csv` gets, under the names of its columns. Nothing here imports torch or the
loggers' packages, until a run is logged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from soteacher.core.errors import UserError
from soteacher.store.run_folder import RunFolder
from soteacher.training.watchers import History, Watcher

TIMEOUT = 30.0
"""Seconds to wait for the server of Weights & Biases before a run is trained without it."""


def check(names: Sequence[str]) -> None:
    """Raise `UserError` if the package of a logger is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(
            f"the study has loggers: [{', '.join(names)}], but {' and '.join(missing)} cannot be "
            f"imported; install it with `pip install {' '.join(missing)}`, or remove it from "
            "`loggers`"
        )


class TensorBoard:
    """A folder of events of one run: a scalar per column, and the settings as text."""

    def __init__(self, folder: RunFolder, history: History, results: Path) -> None:
        """Open the run; events after the epochs from which it resumes are not shown any more."""
        from torch.utils.tensorboard import SummaryWriter

        place = results / "tensorboard" / folder.id
        self._writer = SummaryWriter(str(place), purge_step=len(history) + 1)
        settings = json.dumps(settings_of(folder), indent=2, sort_keys=True)
        indented = "\n".join(f"    {line}" for line in settings.splitlines())  # code in Markdown
        self._writer.add_text("settings", indented, len(history) + 1)

    def end_epoch(self, history: History) -> None:
        """Write the numbers of the last row; the step is the number of finished epochs."""
        for name, value in history[-1].items():
            if name != "stage":
                self._writer.add_scalar(name, value, len(history))
        self._writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, in the project with the study's name; offline by default."""

    def __init__(self, folder: RunFolder, history: History, results: Path) -> None:
        """Open the run; a resumed run continues the logged run."""
        import wandb

        results.mkdir(parents=True, exist_ok=True)
        # without a key, an online run is an error: a job must not wait for an answer on a terminal
        wandb.setup(settings=wandb.Settings(silent=True))
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", results.name),
            name=folder.id,
            id=folder.path.name,
            resume="allow",
            reinit="create_new",  # the runs of a pass are logged at the same time
            dir=results,  # which gets the folder wandb
            config=settings_of(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # nothing leaves the machine unasked
            # console="off": the log is of all runs of the job
            settings=wandb.Settings(console="off", silent=True, init_timeout=TIMEOUT),
        )

    def end_epoch(self, history: History) -> None:
        """Log the last row; the step is the number of finished epochs."""
        self._run.log(history[-1], step=len(history))

    def close(self) -> None:
        """End the logged run."""
        self._run.finish()


def settings_of(folder: RunFolder) -> dict[str, Any]:
    """Return what a logged run says about itself: the description in the run's folder."""
    description = folder.description()
    return {key: description[key] for key in ("id", "fingerprint", "spec", "data_sha256")}


LOGGERS: dict[str, Callable[[RunFolder, History, Path], Watcher]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
"""The name of each logger, which is also that of its package."""
