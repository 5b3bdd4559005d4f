"""Which network traces are, in part, the same measurement: equal runs at any offset, and near copies at any shift.

Two files with different digests may still be one recording: cut at another second, shifted, or rounded again. A model
that has trained on one of them has seen the other.

- *Shared run*: at least :data:`RUN_SAMPLES` consecutive samples of equal throughput (rounded to 1 bit/s), whatever
  their position. Found with a rolling hash over all traces at once, then compared in full.
- *Near copy*: Lin's concordance (1989) of at least :data:`NEAR` over some shift that overlaps by 60 samples and by half
  of the shorter trace. Concordance is a correlation that also asks for equal level and scale; a plain correlation
  calls any two links with one step alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from netllm_gym.traces.network.trace import NetworkTrace

RUN_SAMPLES = 60
SHORT_RUN_SAMPLES = 12
# A link at rest or at its cap repeats one value for minutes; such a run identifies nothing.
LEAST_DISTINCT = 0.25
NEAR = 0.99
LEAST_OVERLAP_SAMPLES = 60
# An overlap whose variance is below this share of the whole trace's shows no shape to compare.
LEAST_VARIANCE = 0.1

Pair = tuple[int, int]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD1342543DE82EF95)


def run_length(traces: Sequence[NetworkTrace]) -> int:
    """Samples an equal run must have: 60, or half the shortest trace (at least 12) in sets of short traces."""
    return max(SHORT_RUN_SAMPLES, min(RUN_SAMPLES, min(len(trace) for trace in traces) // 2))


def shared_runs(traces: Sequence[NetworkTrace], samples: int | None = None) -> set[Pair]:
    """Return the pairs ``(i, j)``, ``i < j``, of traces that share a run of equal samples.

    Args:
        traces: any number of them; cost grows with their total number of samples.
        samples: least length of the run; :func:`run_length` when not given.
    """
    if len(traces) < 2:
        return set()
    length = samples or run_length(traces)
    rates = [np.rint(trace.throughput_mbps * 1e6).astype(np.int64) for trace in traces]
    hashes, owners, starts = [], [], []
    for index, values in enumerate(rates):
        if len(values) < length:
            continue
        found = _window_hashes(values, length)
        distinct = _distinct_in_window(values, length) >= max(2, LEAST_DISTINCT * length)
        where = np.flatnonzero(distinct)
        hashes.append(found[where])
        owners.append(np.full(len(where), index))
        starts.append(where)
    if not hashes:
        return set()
    key, owner, start = np.concatenate(hashes), np.concatenate(owners), np.concatenate(starts)
    order = np.lexsort((owner, key))
    key, owner, start = key[order], owner[order], start[order]
    pairs: set[Pair] = set()
    # Neighbours in a bucket suffice: sharing a run is then carried on by the clusters.
    for at in np.flatnonzero((key[1:] == key[:-1]) & (owner[1:] != owner[:-1])):
        pair = (int(owner[at]), int(owner[at + 1]))
        if pair not in pairs:
            first, second = (rates[o][s : s + length] for o, s in zip(pair, start[at : at + 2], strict=True))
            if np.array_equal(first, second):
                pairs.add(pair)
    return pairs


def _window_hashes(values: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
    """Polynomial hash, modulo 2^64, of every window of `length` values, shape ``[n - length + 1]``, by doubling."""
    mixed = values.astype(np.uint64) * _MIX
    mixed ^= mixed >> np.uint64(29)
    count = len(values) - length + 1
    total, covered = np.zeros(count, dtype=np.uint64), 0
    block, size, power = mixed, 1, _BASE  # hash of windows of `size` values, and BASE^size
    with np.errstate(over="ignore"):
        while covered < length:
            if length & size:
                total = total * power + block[covered : covered + count]
                covered += size
            if covered < length:
                block = block[:-size] * power + block[size:]
                size, power = 2 * size, power * power
    return total


def _distinct_in_window(values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """How many values of each window differ from the value before them, counted once per change."""
    changes = np.concatenate([[1], (np.diff(values) != 0).astype(np.int64)])
    total = np.concatenate([[0], np.cumsum(changes)])
    return total[length:] - total[:-length]


def near_copies(traces: Sequence[NetworkTrace], least: float = NEAR) -> dict[Pair, float]:
    """Return the pairs ``(i, j)``, ``i < j``, whose concordance at the best shift reaches `least`, with that value.

    Traces are resampled at the median piece length of the set, at least 1 s; those shorter than
    :data:`LEAST_OVERLAP_SAMPLES` steps are left out: by chance alone, short stretches of two links look alike.
    Cost: six FFTs a pair, of a size that fits the two.
    """
    if len(traces) < 2:
        return {}
    step = max(1.0, float(np.median(np.concatenate([trace.duration_s for trace in traces]))))
    rates = [trace.resampled(step) for trace in traces]
    lengths = np.array([len(values) for values in rates])
    variances = np.array([values.var() for values in rates])
    centre = float(np.mean([values.mean() for values in rates]))
    # From short to long, so that those which fit one FFT size stand together.
    order = [int(i) for i in np.argsort(lengths, kind="stable") if lengths[i] >= LEAST_OVERLAP_SAMPLES]
    spectra: dict[int, NDArray[np.complex128]] = {}
    found: dict[Pair, float] = {}
    for position, i in enumerate(order):
        earlier = np.array(order[:position], dtype=np.int64)
        sizes = 2 ** np.ceil(np.log2(lengths[earlier] + lengths[i])).astype(np.int64)
        for size in np.unique(sizes).tolist():
            if size not in spectra:
                spectra[size] = _spectra([rates[j][:size] for j in order], centre, size)
            for part in np.array_split(np.flatnonzero(sizes == size), 1 + size * len(earlier) // 2**22):
                others = earlier[part]
                needed = np.maximum(LEAST_OVERLAP_SAMPLES, np.minimum(lengths[i], lengths[others]) / 2)
                floor = LEAST_VARIANCE * np.minimum(variances[i], variances[others])
                best = _best_concordance(spectra[size][:, position], spectra[size][:, part], size, needed, floor)
                for j, value in zip(others.tolist(), best.tolist(), strict=True):
                    if value >= least:
                        found[min(i, j), max(i, j)] = value
    return found


def _spectra(rows: Sequence[NDArray[np.float64]], centre: float, size: int) -> NDArray[np.complex128]:
    """Transforms of mask, values and squares, shape ``[3, traces, size // 2 + 1]``."""
    padded = np.zeros((3, len(rows), size))
    for index, row in enumerate(rows):
        shifted = row - centre  # keeps the sums small, so that the transforms lose few digits
        padded[:, index, : len(row)] = np.ones(len(row)), shifted, shifted**2
    return fft.rfft(padded, axis=-1)


def _best_concordance(
    one: NDArray[np.complex128],
    many: NDArray[np.complex128],
    size: int,
    needed: NDArray[np.float64],
    floor: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Best concordance over all shifts of one trace with each of many, shape ``[many]``; -1 where none qualifies."""

    def overlap(a: int, b: int) -> NDArray[np.float64]:
        return fft.irfft(one[a] * np.conj(many[b]), n=size, axis=-1)

    count = np.rint(overlap(0, 0))
    enough = count >= needed[:, None]
    count = np.maximum(count, 1.0)
    mean_x, mean_y = overlap(1, 0) / count, overlap(0, 1) / count
    var_x = overlap(2, 0) / count - mean_x**2
    var_y = overlap(0, 2) / count - mean_y**2
    covariance = overlap(1, 1) / count - mean_x * mean_y
    scale = var_x + var_y + (mean_x - mean_y) ** 2
    enough &= (np.minimum(var_x, var_y) > np.maximum(floor[:, None], 1e-9)) & (scale > 0)
    concordance = np.where(enough, 2 * covariance / np.where(scale > 0, scale, 1.0), -1.0)
    return np.asarray(concordance.max(axis=-1))


def clusters(count: int, pairs: set[Pair]) -> list[int]:
    """Return the cluster of each of `count` items when paired items belong together: the least index among them."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    return [root(item) for item in range(count)]
