"""Which GPU of a machine a training process takes, where no scheduler has chosen one for it.

A GPU has as many slots as processes may share it. A slot is a lock of the kernel's on a file: it
ends with the process that holds it, however that ends. Nothing here imports torch, since CUDA reads
`CUDA_VISIBLE_DEVICES` once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from soteacher.core import files
from soteacher.core.errors import UserError

log = logging.getLogger("soteacher")

POLL_SECONDS = 0.5
_held: int | None = None
"""The descriptor of this process's slot; closed by its end alone."""


def take(per_gpu: int) -> None:
    """Take a free slot, and let CUDA see that GPU alone; wait while all are taken.

    Empty GPUs come first. Nothing is done where `CUDA_VISIBLE_DEVICES` is set, in a Slurm job, on
    a machine without `nvidia-smi`, or in a process that has a slot.
    """
    global _held
    if _held is not None or {"CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"} & os.environ.keys():
        return
    gpus = _gpus()
    if not gpus:
        return
    slots = [(gpu, number) for number in range(per_gpu) for gpu in gpus]
    waiting = False
    while True:
        for gpu, number in slots:
            _held = _locked(_folder() / f"{gpu}.{number}")
            if _held is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                log.info("on GPU %s, slot %d of %d", gpu, number + 1, per_gpu)
                return
        if not waiting:
            waiting = True
            log.info(
                "waiting for a free slot of a GPU: %d GPUs with %d each, all taken",
                len(gpus),
                per_gpu,
            )
        time.sleep(POLL_SECONDS)


def _gpus() -> list[str]:
    """UUIDs: they mean the same GPU to CUDA, whose own numbers may differ from nvidia-smi's."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return said.stdout.split()


def _folder() -> Path:
    """One folder for all users of the machine, on its own disk."""
    folder = Path(tempfile.gettempdir()) / "soteacher-gpu-slots"
    try:
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(stat.S_ISVTX | 0o777)
    except OSError as error:
        raise UserError(
            f"cannot take a slot of a GPU: {folder}: {error.strerror or error}; set TMPDIR, or "
            "choose the GPU by CUDA_VISIBLE_DEVICES"
        ) from None
    return folder


def _locked(path: Path) -> int | None:
    """A descriptor that owns the file, or None if another process owns it."""
    try:
        slot = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"cannot take a slot of a GPU: {path}: {error.strerror or error}; delete that file, or "
            "choose the GPU by CUDA_VISIBLE_DEVICES"
        ) from None
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(slot)
        return None
    if os.fstat(slot).st_uid == os.getuid():
        os.fchmod(slot, 0o666)  # the umask took it from the other users
    os.ftruncate(slot, 0)
    os.write(slot, files.process().encode())
    return slot
