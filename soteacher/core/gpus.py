"""The GPUs that this process may use, found without torch.

CUDA reads `CUDA_VISIBLE_DEVICES` only once, when it starts, so a GPU is chosen before torch is
imported. The workflow also counts GPUs, and must not wait for torch.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHOSEN = "CUDA_VISIBLE_DEVICES"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
"""Variables in which schedulers tell a job its id."""
DRIVER = Path("/proc/driver/nvidia")
"""What the driver shows of its GPUs, also in containers without `nvidia-smi`."""

_UUID = r"(?:GPU|MIG)-[0-9A-Za-z][\w/-]*"
_LINE = re.compile(rf"(?:GPU (?P<number>\d+): (?P<model>.*)|\s*MIG .*)\(UUID: (?P<uuid>{_UUID})\)")
"""A line of `nvidia-smi -L`. What else it prints, such as warnings, is no GPU."""


@dataclass(frozen=True)
class Gpu:
    """A GPU or an instance of one (MIG)."""

    name: str
    """What `CUDA_VISIBLE_DEVICES` takes: a UUID, or the number that the user or scheduler gave."""
    uuid: str | None
    """Its UUID, or None if only a number is known."""


@dataclass(frozen=True)
class _Card:
    """A GPU of the machine and the UUIDs of its instances; with instances, it is none itself."""

    number: int
    model: str
    uuid: str
    instances: list[str]

    def gpus(self) -> list[str]:
        return self.instances or [self.uuid]


def usable() -> list[Gpu]:
    """Return the GPUs that this process may use, or an empty list.

    These are the GPUs in `CUDA_VISIBLE_DEVICES` if it is set, and all GPUs of the machine
    otherwise. Numbers are translated to UUIDs where that is certain: CUDA numbers GPUs in the order
    of `nvidia-smi` only with `CUDA_DEVICE_ORDER=PCI_BUS_ID` or if all GPUs are of one model.
    """
    given = os.environ.get(CHOSEN)
    names = None if given is None else _names(given)
    if names == []:
        return []
    cards = _cards()
    if names is None:
        if cards is None:
            return _of_the_driver()
        return [Gpu(uuid, uuid) for card in cards for uuid in card.gpus()]
    if cards == []:  # nvidia-smi says that there is no GPU
        return []
    chosen: dict[str, Gpu] = {}
    for name in names:
        meant = _meant(name, cards or [])
        if not meant:  # CUDA ignores an unknown number and all names after it
            break
        for gpu in meant:
            chosen.setdefault(gpu.uuid or gpu.name, gpu)
    return [*chosen.values()]


def are_hidden() -> bool:
    """Return whether `CUDA_VISIBLE_DEVICES` hides all GPUs from CUDA: it is empty or -1."""
    given = os.environ.get(CHOSEN)
    return given is not None and not _names(given)


def scheduler_job() -> str | None:
    """Return the id of the scheduler's job in which this process runs, or None."""
    return next((os.environ[name] for name in SCHEDULERS if name in os.environ), None)


def _names(given: str) -> list[str]:
    """Return the names in `CUDA_VISIBLE_DEVICES`, up to the first that is none, as CUDA does."""
    names: list[str] = []
    for name in given.split(","):
        name = name.strip()
        if not re.fullmatch(rf"\d+|{_UUID}", name):
            break
        names.append(str(int(name)) if name.isdecimal() else name)
    return names


def _meant(name: str, cards: list[_Card]) -> list[Gpu]:
    """Return the GPUs that a given name means, none for a number that the machine does not have.

    cards : the GPUs of this machine, empty if they are not known.
    """
    if not cards or not name.isdecimal():
        return _with_uuid(name, cards)
    if int(name) not in {card.number for card in cards}:
        return []
    in_bus_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not in_bus_order and len({card.model for card in cards}) > 1:
        return [Gpu(name, None)]
    card = next(card for card in cards if card.number == int(name))
    return [Gpu(uuid, uuid) for uuid in card.instances] or [Gpu(name, card.uuid)]


def _with_uuid(name: str, cards: list[_Card]) -> list[Gpu]:
    """Return the GPU, or the instances of the GPU, whose UUID begins as given, as CUDA accepts."""
    if name.isdecimal():
        return [Gpu(name, None)]
    meant = {card.uuid: card.gpus() for card in cards}
    meant |= {uuid: [uuid] for card in cards for uuid in card.instances}
    matching = [uuids for uuid, uuids in meant.items() if uuid.startswith(name)]
    uuids = matching[0] if len(matching) == 1 else [name]
    return [Gpu(uuid, uuid) for uuid in uuids]


def _cards() -> list[_Card] | None:
    """Return the GPUs that `nvidia-smi` lists; None if it is not installed or fails.

    It alone knows the instances of GPUs, and which GPUs a scheduler's job may use.
    """
    command = ["nvidia-smi", "-L"]
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    cards: list[_Card] = []
    for line in result.stdout.splitlines():
        if match := _LINE.match(line):
            if match["number"]:
                number, model = int(match["number"]), match["model"].strip()
                cards.append(_Card(number, model, match["uuid"], []))
            elif cards:
                cards[-1].instances.append(match["uuid"])
    said = f"{result.stdout}{result.stderr}".lower()
    if not cards and result.returncode and "no devices" not in said:
        return None
    return cards  # also with an error: one GPU of several may be lost, or its infoROM damaged


def _of_the_driver() -> list[Gpu]:
    """Return the GPUs that the driver shows in /proc.

    It shows question marks for the UUID of a GPU that nobody has used. Then numbers are the names.
    """
    uuids = []
    for path in sorted(DRIVER.glob("gpus/*/information")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        facts = dict(re.findall(r"^(.*?):[ \t]*(.*?)[ \t]*$", text, flags=re.MULTILINE))
        if facts.get("GPU Excluded") != "Yes":
            uuids.append(facts.get("GPU UUID", ""))
    if all(re.fullmatch(_UUID, uuid) for uuid in uuids):
        return [Gpu(uuid, uuid) for uuid in uuids]
    return [Gpu(str(number), None) for number in range(len(uuids))]
