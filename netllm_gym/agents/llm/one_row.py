"""A Llama's block for one token of one episode, compiled: one read of the weights, and nothing else that takes time."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.compiled import njit


@njit(cache=True, fastmath=True, nogil=True)
def normed(x: Any, weight: Any, eps: Any) -> Any:
    """The norm of `x` ``[width]`` by its root mean square."""
    squares = np.float32(0.0)
    for value in x:
        squares += value * value
    return x * weight / np.sqrt(squares / np.float32(len(x)) + eps)


@njit(cache=True, fastmath=True, nogil=True)
def _times(weight: Any, x: Any, out: Any) -> None:
    """Write ``weight @ x`` to `out`."""
    fours = len(weight) - len(weight) % 4
    for o in range(0, fours, 4):  # four at once keep more reads of memory under way
        a = b = c = d = np.float32(0.0)
        for i in range(len(x)):
            a += weight[o, i] * x[i]
            b += weight[o + 1, i] * x[i]
            c += weight[o + 2, i] * x[i]
            d += weight[o + 3, i] * x[i]
        out[o], out[o + 1], out[o + 2], out[o + 3] = a, b, c, d
    for o in range(fours, len(weight)):
        a = np.float32(0.0)
        for i in range(len(x)):
            a += weight[o, i] * x[i]
        out[o] = a


@njit(cache=True, fastmath=True, nogil=True)
def pass_block(x: Any, norms: Any, weights: Any, keys: Any, values: Any, cos: Any, sin: Any, at: Any, eps: Any) -> Any:
    """Return what a block makes of the token `x` ``[width]`` at place `at`.

    Args:
        norms: weights of the norms before the attention and before the second half.
        weights: matrices of queries, keys, values, output, gate, up and down.
        keys, values: ``[heads, room, size]``, written at `at`.
        cos, sin: of the position, ``[size]``, the sine signed for a head whose halves are swapped.
        eps: of the norms, float32.
    """
    to_q, to_k, to_v, to_out, to_gate, to_up, to_down = weights
    heads, size = keys.shape[0], keys.shape[2]
    half, width, turned = size // 2, len(to_q), len(to_q) + len(to_k)
    found, h = np.empty(turned + len(to_v), np.float32), normed(x, norms[0], eps)
    _times(to_q, h, found[:width])
    _times(to_k, h, found[width:turned])
    _times(to_v, h, found[turned:])
    for begin in range(0, turned, size):
        for i in range(half):
            low, high = found[begin + i], found[begin + half + i]
            found[begin + i] = low * cos[i] + high * sin[i]
            found[begin + half + i] = high * cos[half + i] + low * sin[half + i]
    keys[:, at] = found[width:turned].reshape(heads, size)
    values[:, at] = found[turned:].reshape(heads, size)
    mixed, weight = np.zeros(width, np.float32), np.empty(at + 1, np.float32)
    for begin in range(0, width, size):
        head = begin * heads // width  # heads of queries share one of keys
        for t in range(at + 1):
            total = np.float32(0.0)
            for i in range(size):
                total += found[begin + i] * keys[head, t, i]
            weight[t] = total / np.sqrt(np.float32(size))
        highest, total = weight.max(), np.float32(0.0)
        for t in range(at + 1):
            weight[t] = np.exp(weight[t] - highest)
            total += weight[t]
        for t in range(at + 1):
            share = weight[t] / total
            for i in range(size):
                mixed[begin + i] += share * values[head, t, i]
    h = np.empty_like(x)
    _times(to_out, mixed, h)
    x = x + h
    h, gate, up = normed(x, norms[1], eps), np.empty(len(to_gate), np.float32), np.empty(len(to_up), np.float32)
    _times(to_gate, h, gate)
    _times(to_up, h, up)
    for i in range(len(gate)):
        gate[i] = gate[i] / (np.float32(1.0) + np.exp(-gate[i])) * up[i]
    _times(to_down, gate, h)
    return x + h
