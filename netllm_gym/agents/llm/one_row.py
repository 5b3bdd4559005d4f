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
def _products(x: Any, weights: Any) -> Any:
    """``weight @ x`` of each weight, one after the other."""
    length = 0
    for weight in weights:
        length += len(weight)
    out = np.empty(length, np.float32)
    place = 0
    for weight in weights:
        fours = len(weight) - len(weight) % 4
        for o in range(0, fours, 4):  # four at once keep more reads of memory under way
            a = b = c = d = np.float32(0.0)
            for i in range(len(x)):
                a += weight[o, i] * x[i]
                b += weight[o + 1, i] * x[i]
                c += weight[o + 2, i] * x[i]
                d += weight[o + 3, i] * x[i]
            out[place + o], out[place + o + 1], out[place + o + 2], out[place + o + 3] = a, b, c, d
        for o in range(fours, len(weight)):
            a = np.float32(0.0)
            for i in range(len(x)):
                a += weight[o, i] * x[i]
            out[place + o] = a
        place += len(weight)
    return out


@njit(cache=True, fastmath=True, nogil=True)
def pass_block(x: Any, block: Any, keys: Any, values: Any, cos: Any, sin: Any, at: Any, eps: Any) -> Any:
    """Return what a block makes of the token `x` ``[width]`` at place `at`.

    Args:
        block: norm, norm of the second half, and the matrices of queries, keys and values, of the output, of gate and
            up, and of down, each a tuple.
        keys, values: ``[heads, room, size]``, written at `at`.
        cos, sin: of the position, ``[size]``, the sine signed for a head whose halves are swapped.
        eps: of the norms, float32.
    """
    norm, norm2, qkv, out, gate_up, down = block
    heads, size = keys.shape[0], keys.shape[2]
    half, found = size // 2, _products(normed(x, norm, eps), qkv)
    queries = len(found) - 2 * heads * size
    for begin in range(0, queries + heads * size, size):
        for i in range(begin, begin + half):
            low, high = found[i], found[i + half]
            found[i] = low * cos[i - begin] + high * sin[i - begin]
            found[i + half] = high * cos[i - begin + half] + low * sin[i - begin + half]
    keys[:, at] = found[queries : queries + heads * size].reshape(heads, size)
    values[:, at] = found[queries + heads * size :].reshape(heads, size)
    mixed, weight = np.zeros(queries, np.float32), np.empty(at + 1, np.float32)
    for begin in range(0, queries, size):
        head = begin * heads // queries  # heads of queries share one of keys
        for t in range(at + 1):
            total = np.float32(0.0)
            for i in range(size):
                total += found[begin + i] * keys[head, t, i]
            weight[t] = total / np.sqrt(np.float32(size))
        weight = np.exp(weight - weight.max())
        weight /= weight.sum()
        for t in range(at + 1):
            for i in range(size):
                mixed[begin + i] += weight[t] * values[head, t, i]
    x = x + _products(mixed, out)
    found = _products(normed(x, norm2, eps), gate_up)
    gate, up = found[: len(found) // 2], found[len(found) // 2 :]
    return x + _products(gate / (np.float32(1.0) + np.exp(-gate)) * up, down)
