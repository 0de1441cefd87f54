"""GPU slots: they choose one GPU of those that a training process may use.

A GPU has one slot per process that may share it. A slot is a kernel lock on a file; the kernel
releases it when the process ends, in whatever way it ends. Nothing here imports torch, because CUDA
reads `CUDA_VISIBLE_DEVICES` only once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import tempfile
import time
from pathlib import Path

from soteacher.core import files, gpus
from soteacher.core.errors import UserError

log = logging.getLogger("soteacher")

POLL_SECONDS = 0.5
SAME_NAMES = "it is shared correctly only with processes that were given GPUs by their numbers"
"""What the log says about a GPU whose number could not be translated to a UUID."""
_held: int | None = None
"""The file descriptor of this process's slot; it is closed only when the process ends."""


def take(per_gpu: int) -> None:
    """Take a free slot, and make its GPU the only one that CUDA sees; wait if all are taken.

    GPUs without a process come first. The GPUs are those in `CUDA_VISIBLE_DEVICES`, or all GPUs of
    the machine. The function does nothing without GPUs, if a scheduler gave this job a single GPU,
    or if the process has a slot already.
    """
    global _held
    if _held is not None:
        return
    job = gpus.scheduler_job()
    usable = gpus.usable()
    if not usable or (job and gpus.CHOSEN in os.environ and len(usable) == 1):
        return
    slots = [(gpu, number) for number in range(per_gpu) for gpu in usable]
    waiting = False
    while True:
        for gpu, number in slots:
            _held = _locked(_folder() / f"{_name(gpu, job)}.{number}")
            if _held is not None:
                os.environ[gpus.CHOSEN] = gpu.name
                unknown = "" if gpu.uuid else f" (its UUID is unknown: {SAME_NAMES})"
                log.info("on GPU %s, slot %d of %d%s", gpu.name, number + 1, per_gpu, unknown)
                return
        if not waiting:
            waiting = True
            log.info(
                "waiting for a free GPU slot: %d GPUs with %d slots each, all taken",
                len(usable),
                per_gpu,
            )
        time.sleep(POLL_SECONDS)


def _name(gpu: gpus.Gpu, job: str | None) -> str:
    """Return the file name of a GPU's slots; a scheduler may number the GPUs of each job from 0."""
    name = gpu.uuid or (f"{job}-{gpu.name}" if job else gpu.name)
    return re.sub(r"[^\w-]", "_", name)


def _folder() -> Path:
    """Return the folder of the locks: one for all users of the machine, on a local disk."""
    folder = Path(tempfile.gettempdir()) / "soteacher-gpu-slots"
    try:
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(stat.S_ISVTX | 0o777)
    except OSError as error:
        raise UserError(
            f"cannot take a GPU slot: {folder}: {error.strerror or error}; set TMPDIR to another "
            "folder, the same for all processes that share the GPUs"
        ) from None
    return folder


def _locked(path: Path) -> int | None:
    """Lock the file and return its descriptor, or None if another process holds the lock."""
    try:
        slot = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"cannot take a GPU slot: {path}: {error.strerror or error}; delete that file, or "
            "set TMPDIR to another folder, the same for all processes that share the GPUs"
        ) from None
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(slot)
        return None
    if os.fstat(slot).st_uid == os.getuid():
        os.fchmod(slot, 0o666)  # the umask may have removed the permissions of other users
    os.ftruncate(slot, 0)
    os.write(slot, files.process().encode())
    return slot
