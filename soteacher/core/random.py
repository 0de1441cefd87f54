"""Random numbers without state: each is a function of what it is for.

A key names a draw by (seed, role, purpose, stage, epoch, step). Whoever knows those can make the
draw again, so nothing has to be saved to go on exactly where a killed run stood. All students of
a seed share their keys, hence their batches and crops, and so do all teachers of a seed; the role
keeps a student from seeing the very views that its teacher was fitted to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from soteacher.core.hashing import canonical_json
from soteacher.core.lazy import numpy as np
from soteacher.core.lazy import torch

Random = Callable[[str], "np.random.Generator"]
"""Purpose to the generator of that draw, where the rest of its key is settled already."""


def key(seed: int, role: str, purpose: str, stage: str = "", epoch: int = 0, step: int = 0) -> int:
    """A 63-bit number that stands for one draw."""
    text = canonical_json([seed, role, purpose, stage, epoch, step])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(number: int, device: str = "cpu") -> torch.Generator:
    """A torch generator at the beginning of the draw that `key` numbered."""
    return torch.Generator(device).manual_seed(number)


def numpy_generator(number: int) -> np.random.Generator:
    """A NumPy generator at the beginning of the draw that `key` numbered."""
    return np.random.Generator(np.random.PCG64(number))


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Library code that draws from torch's global CPU generator draws from this key's instead."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number)
        yield
