"""What runs leave in the store: their description, their artifacts and their record."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import KINDS, PreparationSpec, RunSpec, fingerprint
from soteacher.training import device as devices
from soteacher.training.learner import Diverged, Learner
from soteacher.training.members import Member
from soteacher.training.writers import Writer, array_writer, history_writer, weights_writer

log = logging.getLogger("soteacher")


def describe(
    folder: RunFolder, spec: RunSpec | PreparationSpec, member: Member, data: Prepared
) -> None:
    """Write what a folder is for, before its run is trained."""
    facts = {"id": folder.id, "spec": spec.to_json(), "data_sha256": data.sha256}
    if isinstance(spec, RunSpec) and spec.role == "student" and _packages_or_files(spec):
        # which preparation the run may need is known without the method, which may be gone later
        facts["preparation"] = {"fingerprint": fingerprint(PreparationSpec(spec), data.sha256)}
    folder.describe(facts | member.taught_by)


def _packages_or_files(spec: RunSpec) -> bool:
    return any(name not in registry.shipped(KINDS[spec.role]) for name in spec.terms)


def finish(
    learner: Learner, divergence: Diverged | None, data: Prepared, device: str, precision: str
) -> None:
    """Write the artifacts of a run that ended, and its record."""
    folder = learner.folder
    facts: dict[str, Any] = {
        **folder.description(),
        "seconds": round(learner.seconds, 3),
        "images_per_second": learner.images_per_second,
        "peak_memory_mb": devices.peak_memory_mb(device),
        "trained_on": devices.facts(device, precision),
        "code_sha256": code_sha256(),
        "soteacher": VERSION,
    }
    outside = [registry.outside(type(term)) for term in learner.terms]
    packages = {one.name: one.source for one in outside if one and one.code_sha256 is None}
    if packages:
        facts["method_packages"] = packages
    scored = [row["test_top1"] for row in learner.history if "test_top1" in row]
    if scored:
        facts |= {"last_test_top1": scored[-1], "best_test_top1": max(scored)}
    # a diverged run leaves its finished epochs, too
    artifacts = {"history.csv": history_writer(learner.history)}
    if divergence is not None:
        facts["diverged"] = divergence.where
        folder.finish("diverged", artifacts, facts)
    else:
        folder.finish("done", artifacts | _results(learner, data), facts)
    log.info("%s: %s", folder.id, "diverged" if divergence else "finished")


def _results(learner: Learner, data: Prepared) -> dict[str, Writer]:
    """File name to writer: the weights, and the logits of a network."""
    if learner.network is None:
        return {"weights.safetensors": weights_writer(learner.parts)}
    made = {"weights.safetensors": weights_writer(learner.network)}
    assert learner.evaluator is not None
    for split in ("test", "train") if data.has_truth else ("test",):
        made[f"{split}_logits.npy"] = array_writer(learner.evaluator.logits(learner.network, split))
    return made


def report_failure(folders: list[RunFolder], error: Exception) -> None:
    """Log why runs failed, with where it happened unless a user can mend it; note it with each."""
    unexpected = not isinstance(error, UserError)
    text = f"{type(error).__name__}: {error}" if unexpected else str(error)
    names = ", ".join(folder.id for folder in folders)
    log.error("%s: failed; the others of this job go on: %s", names, text, exc_info=unexpected)
    for folder in folders:
        try:
            folder.note_failure(" ".join(text.split()))
        except (OSError, UserError) as full:  # what the disk refuses may be what went wrong
            log.warning("%s: that it failed is not noted: %s", folder.id, full)


@cache
def code_sha256() -> str:
    """One hash of this package's Python files: recorded, no part of what a run is."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
