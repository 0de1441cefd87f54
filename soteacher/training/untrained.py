"""The record of a teacher that is not trained here: an oracle, or an imported one.

Nothing here imports torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared
from soteacher.training.code_hash import code_sha256
from soteacher.training.members import Member

log = logging.getLogger("soteacher")

NOT_TRAINED = {"device": "", "device_type": "none", "threads": 0, "versions": {"torch": ""}}
"""The entries of a record that say on what a run was trained, for one that was not trained."""


def finish(
    member: Member,
    data: Prepared,
    artifacts: Mapping[str, Callable[[BinaryIO], object]],
    known: Mapping[str, Any],
) -> None:
    """Write the description, the artifacts and the record of a run without training.

    Its history is empty, because it has no epochs.   known : further entries of the record.
    """
    folder, spec = member.folder, member.spec
    folder.describe({"id": folder.id, "spec": spec.to_json(), "data_sha256": data.sha256})
    facts: dict[str, Any] = {
        **folder.description(),
        "seconds": 0.0,
        "images_per_second": None,
        "peak_memory_mb": None,
        "trained_on": NOT_TRAINED | {"precision": spec.precision},
        "code_sha256": code_sha256(),
        "soteacher": VERSION,
        **known,
    }
    folder.finish("done", {**artifacts, "history.csv": _write_no_epochs}, facts, {})
    log.info("%s: finished, without training", folder.id)


def _write_no_epochs(file: BinaryIO) -> None:
    file.write(b"stage,epoch,lr,train_top1,test_top1\n")
