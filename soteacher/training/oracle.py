"""The artifacts and the record of an oracle, which come from the prepared data without training.

Nothing here imports torch.
"""

from __future__ import annotations

from functools import partial
from typing import BinaryIO

from soteacher.core.errors import UserError
from soteacher.core.lazy import numpy as np
from soteacher.data.prepared import Prepared
from soteacher.models.catalogue import TRUE_LABELS
from soteacher.study.oracle import ORACLE
from soteacher.training import untrained
from soteacher.training.members import Member

IMPOSSIBLE = -10_000.0
"""The logit of a class with probability 0, whose logarithm is not finite. The class keeps exactly
probability 0 in float32 at every temperature up to 96, because exp(-10000 / 96) underflows."""


def logits_of(truth: np.ndarray) -> np.ndarray:
    """Return log p*, (N, K) float32, with `IMPOSSIBLE` for probabilities of 0.

    truth : (N, K), the true label distributions; rows sum to 1.
    """
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(truth), IMPOSSIBLE).astype(np.float32)


def finish(member: Member, data: Prepared) -> None:
    """Write the description, the logits and the record of an oracle.

    The logits are those of any teacher: of the test and training images, in order. Raises
    `UserError` if the plan is of another version.
    """
    revision = member.spec.network.revision
    if revision != ORACLE:
        raise UserError(
            f"the plan needs revision {revision} of {TRUE_LABELS}, but revision {ORACLE} is "
            "installed: rerun snakemake with the version that is installed"
        )
    known = {"test": _of_test(data), "train": data.array("train_truth")}
    artifacts = {
        f"{split}_logits.npy": partial(_save, array=logits_of(truth))
        for split, truth in known.items()
    }
    untrained.finish(member, data, artifacts, {})


def _of_test(data: Prepared) -> np.ndarray:
    """Return what an oracle predicts for test images, (M, K): p*, or the label without p*."""
    if data.has_test_truth:
        return data.array("test_truth")
    return np.eye(data.n_classes)[data.array("test_labels")]


def _save(file: BinaryIO, array: np.ndarray) -> None:
    np.save(file, array)
