"""Random draws for many generators at once, each the very number its NumPy generator would have given.

The batched environment keeps one ``numpy.random.Generator`` per episode, so that each episode meets the draws it
would meet alone. Asking them one by one from Python costs more than the simulation; here compiled code asks their
PCG64 streams through NumPy's documented C interface. Where nothing can be compiled they are asked one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import COMPILED, njit

# The functions are the same for every PCG64; only the addresses of the states differ.
_interface = np.random.PCG64(0).ctypes
_next_double = _interface.next_double
_next_uint32 = _interface.next_uint32


@njit
def _uniforms(states: Any, which: Any, out: Any) -> None:
    for k in range(len(which)):
        out[k] = _next_double(states[which[k]])


@njit
def _integers(states: Any, which: Any, below: Any, out: Any) -> None:
    """Lemire's method as NumPy applies it to ranges below 2**32 (ACM TOMACS 29, 2019)."""
    for k in range(len(which)):
        state = states[which[k]]
        product = np.uint64(_next_uint32(state)) * np.uint64(below)
        if np.uint32(product) < np.uint32(below):
            threshold = np.uint32((np.uint64(4294967296) - np.uint64(below)) % np.uint64(below))
            while np.uint32(product) < threshold:
                product = np.uint64(_next_uint32(state)) * np.uint64(below)
        out[k] = np.int64(product >> np.uint64(32))


class Streams:
    """One generator per environment, drawn from together.

    Args:
        generators: NumPy generators over PCG64; they advance with every draw.
    """

    def __init__(self, generators: list[np.random.Generator]) -> None:
        self.generators = generators
        self._states = np.empty(len(generators), np.int64)
        for i in range(len(generators)):
            self.replace(i, generators[i])

    def replace(self, i: int, generator: np.random.Generator) -> None:
        """Let environment `i` draw from another generator."""
        self.generators[i] = generator
        state: Any = generator.bit_generator.ctypes
        self._states[i] = state.state_address

    def uniforms(self, which: NDArray[np.int64]) -> NDArray[np.float64]:
        """``generator.random()`` of each environment in `which`."""
        if not COMPILED:
            return np.array([self.generators[i].random() for i in which])
        out = np.empty(len(which))
        _uniforms(self._states, which, out)
        return out

    def integers(self, which: NDArray[np.int64], below: int) -> NDArray[np.int64]:
        """``generator.integers(below)`` of each environment in `which`; `below` under 2**32."""
        if not COMPILED:
            return np.array([self.generators[i].integers(below) for i in which], np.int64)
        out = np.zeros(len(which), np.int64)
        if below > 1:  # NumPy draws nothing when there is nothing to choose
            _integers(self._states, which, below, out)
        return out
