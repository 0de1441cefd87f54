"""GPU slots: they choose a GPU for a training process if no scheduler has chosen one.

A GPU has one slot per process that may share it. A slot is a kernel lock on a file; the kernel
releases it when the process ends, in whatever way it ends. Nothing here imports torch, because CUDA
reads `CUDA_VISIBLE_DEVICES` only once.
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
"""The file descriptor of this process's slot; it is closed only when the process ends."""


def take(per_gpu: int) -> None:
    """Take a free slot, and make its GPU the only one that CUDA sees; wait if all are taken.

    GPUs without a process come first. The function does nothing if `CUDA_VISIBLE_DEVICES` is set,
    in a Slurm job, on a machine without `nvidia-smi`, or if the process has a slot already.
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
                "waiting for a free GPU slot: %d GPUs with %d slots each, all taken",
                len(gpus),
                per_gpu,
            )
        time.sleep(POLL_SECONDS)


def _gpus() -> list[str]:
    """Return the GPUs' UUIDs: CUDA's numbers of GPUs may differ from those of nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return result.stdout.split()


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
            "folder, or choose the GPU with CUDA_VISIBLE_DEVICES"
        ) from None
    return folder


def _locked(path: Path) -> int | None:
    """Lock the file and return its descriptor, or None if another process holds the lock."""
    try:
        slot = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"cannot take a GPU slot: {path}: {error.strerror or error}; delete that file, or "
            "choose the GPU with CUDA_VISIBLE_DEVICES"
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
