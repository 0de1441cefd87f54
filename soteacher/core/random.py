"""Random numbers without state: each draw is a function of its purpose.

A key identifies a draw by (seed, role, purpose, stage, epoch, step). The same key gives the same
draw again, so a killed run resumes exactly without any saved generator. All students of a seed
share their keys, hence their batches and crops, and so do all teachers of a seed. The role is part
of the key, so a student does not see the same views that its teacher was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from soteacher.core.hashing import canonical_json
from soteacher.core.lazy import numpy as np
from soteacher.core.lazy import torch

Random = Callable[[str], "np.random.Generator"]
"""A function from a purpose to the generator of that draw; the rest of its key is fixed."""


def key(seed: int, role: str, purpose: str, stage: str = "", epoch: int = 0, step: int = 0) -> int:
    """Return the 63-bit number that identifies one draw."""
    text = canonical_json([seed, role, purpose, stage, epoch, step])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(number: int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator, seeded with a number that `key` returned."""
    return torch.Generator(device).manual_seed(number)


def numpy_generator(number: int) -> np.random.Generator:
    """Return a NumPy generator, seeded with a number that `key` returned."""
    return np.random.Generator(np.random.PCG64(number))


@contextmanager
def seeded(number: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch's global generators for the code inside; their states are restored afterwards.

    These are the CPU's generator and, for the device `cuda`, also that of the current GPU.
    """
    on_gpu = device == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(number)
        if on_gpu:
            torch.cuda.manual_seed(number)
        yield
