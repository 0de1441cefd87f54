"""The files of runs in the store: the description, the artifacts and the record."""

from __future__ import annotations

import logging
from typing import Any

from soteacher.core import registry
from soteacher.core.errors import GpuLost, UserError
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared
from soteacher.models import catalogue
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import KINDS, PreparationSpec, RunSpec, fingerprint
from soteacher.training import device as devices
from soteacher.training.code_hash import code_sha256
from soteacher.training.failures import loses_gpu
from soteacher.training.learner import Diverged, Learner
from soteacher.training.members import Member
from soteacher.training.writers import Writer, array_writer, history_writer, weights_writer

log = logging.getLogger("soteacher")


def describe(
    folder: RunFolder, spec: RunSpec | PreparationSpec, member: Member, data: Prepared
) -> None:
    """Write the description of a run into its folder, before the run is trained."""
    facts = {"id": folder.id, "spec": spec.to_json(), "data_sha256": data.sha256}
    if isinstance(spec, RunSpec) and spec.role == "student" and _packages_or_files(spec):
        # which preparation the run may need is known without the method, which may be gone later
        facts["preparation"] = {"fingerprint": fingerprint(PreparationSpec(spec), data.sha256)}
    folder.describe(facts | member.taught_by)


def _packages_or_files(spec: RunSpec) -> bool:
    return any(name not in registry.shipped(KINDS[spec.role]) for name in spec.terms)


def of_network(name: str, data: Prepared) -> dict[str, Any]:
    """Return the entries of a record without which its network could not be built again."""
    if catalogue.is_shipped(name):
        return {}
    return {"image_size": [data.outline.height, data.outline.width]}


def finish(
    learner: Learner, divergence: Diverged | None, data: Prepared, device: str, precision: str
) -> None:
    """Write the artifacts and the record of a run that has ended."""
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
    network = facts["spec"].get("network")  # a preparation has none
    if network is not None:
        facts |= of_network(network["name"], data)
    scored = [row["test_top1"] for row in learner.history if "test_top1" in row]
    if scored:
        facts |= {"last_test_top1": scored[-1], "best_test_top1": max(scored)}
        if learner.best is not None:
            best = learner.best
            facts["early_stop"] = {"epoch": best.epoch, "held_out_nll": best.nll}
            facts["last_test_top1"] = scored[best.epoch - 1]  # of the weights that are kept
    # a diverged run keeps the history of its finished epochs
    artifacts = {"history.csv": history_writer(learner.history)}
    if divergence is not None:
        facts["diverged"] = divergence.where
        folder.finish("diverged", artifacts, facts, learner.checkpoints)
    else:
        folder.finish("done", artifacts | _results(learner, data), facts, learner.checkpoints)
    log.debug("%s: %s", folder.id, "diverged" if divergence else "finished")


def _results(learner: Learner, data: Prepared) -> dict[str, Writer]:
    """Return file name to writer: the weights, and the logits of a network."""
    if learner.network is None:
        return {"weights.safetensors": weights_writer(learner.parts)}
    writers = {"weights.safetensors": weights_writer(learner.network)}
    for split in ("test", "train") if data.has_truth else ("test",):
        writers[f"{split}_logits.npy"] = array_writer(learner.logits(split))
    return writers


def report_failure(folders: list[RunFolder], error: Exception) -> None:
    """Log why runs failed, with a traceback unless it is a `UserError`; note it in each folder.

    Raises `GpuLost` if the process cannot use its GPU any more. Then only a single run has the
    note: of several, nothing says which one is the cause.
    """
    unexpected = not isinstance(error, UserError)
    text = f"{type(error).__name__}: {error}" if unexpected else str(error)
    names = ", ".join(folder.id for folder in folders)
    lost = loses_gpu(error)
    others = "the GPU cannot be used any more" if lost else "the other runs of this job continue"
    log.error("%s: failed; %s: %s", names, others, text, exc_info=unexpected)
    for folder in folders if not lost or len(folders) == 1 else ():
        try:
            folder.note_failure(" ".join(text.split()))
        except (OSError, UserError) as full:  # a full disk may also be the cause of the failure
            log.warning("%s: the failure could not be recorded: %s", folder.id, full)
    if lost:
        raise GpuLost(
            f"a CUDA error in {names} ends this process: {' '.join(text.split())}; the other runs "
            "of this job keep their last saved states: rerun the same command to resume them (CUDA "
            "reports errors late: CUDA_LAUNCH_BLOCKING=1 shows which operation failed)",
            retry=True,
        ) from error
