"""`soteacher` as it is, but the process ends where the first training step would begin."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from soteacher.cli import main
from soteacher.training.learner import Learner


def _end(learner: Learner, batch: Any, teacher: Any) -> NoReturn:
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    Learner.step = _end  # type: ignore[assignment, method-assign]
    main(sys.argv[1:])
    sys.exit("no training step was begun")
