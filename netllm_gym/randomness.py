"""Libraries that draw from global generators, kept from changing the user's."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def borrowed_generators(seed: int | None = None) -> Iterator[None]:
    """Give the block the global generators of Python, NumPy and (where it is loaded) torch, and restore them after.

    Args:
        seed: what they are seeded with inside the block; ``None`` leaves them as they are.
    """
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state()
    state = torch.random.get_rng_state() if torch else None
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            if torch:
                torch.manual_seed(seed)
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch and state is not None:
            torch.random.set_rng_state(state)
