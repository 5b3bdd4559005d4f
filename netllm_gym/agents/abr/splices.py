"""Links with a course: pieces of other links, one after the other, each at a level of its own.

A recording of one drive, cell or line has one character; a viewer moves from one to the next, and there are families
whose links are a slow, steady minute and two fast ones. Who has only met links of one character takes a low rate for a
bad link. Splices show characters in any order, and no family's own course.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.worlds import drawn_link, log_uniform
from netllm_gym.traces import NetworkTrace

LENGTH_S = 320.0
# Seconds of a piece; its level over the link's; the link's level in Mbit/s: drawn with uniform logarithms.
PIECE_S, LEVELS, LINK_MBPS = (15.0, 150.0), (0.25, 4.0), (0.5, 8.0)
DRAWN = 0.5  # share of the pieces that come from drawn links: among public ones few are steady
LOWEST_MBPS = 1e-3
_STREAM = 0x5B11CE


def spliced_links(families: Mapping[str, Sequence[NetworkTrace]], count: int, seed: int) -> list[NetworkTrace]:
    """Return `count` links of at least 320 s, spliced from pieces of `families` and of drawn links.

    Args:
        families: name → links of it (never of a test split); each family is drawn from with equal chances.
        count: how many.
        seed: of everything.
    """
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(_STREAM,)))
    sources = [links for links in families.values() if len(links)]
    return [_spliced(sources, rng, f"spliced-{number}") for number in range(count)]


def _spliced(sources: Sequence[Sequence[NetworkTrace]], rng: np.random.Generator, name: str) -> NetworkTrace:
    level, durations, rates, total_s = log_uniform(rng, *LINK_MBPS), [], [], 0.0
    while total_s < LENGTH_S:
        piece_s = log_uniform(rng, *PIECE_S)
        if rng.random() < DRAWN:
            source = drawn_link(rng)
        else:
            family = sources[int(rng.integers(len(sources)))]
            source = family[int(rng.integers(len(family)))]
        seconds, carried = _cut(source, int(rng.integers(len(source.duration_s))), piece_s)
        mean = float((seconds * carried).sum() / seconds.sum())
        if mean <= 0:
            continue
        own = level * log_uniform(rng, *LEVELS)
        durations.append(seconds)
        rates.append(np.maximum(carried / mean * own, LOWEST_MBPS))
        total_s += float(seconds.sum())
    return NetworkTrace(name, np.concatenate(durations), np.concatenate(rates))


def _cut(link: NetworkTrace, first: int, length_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the samples of a link from `first` on that last `length_s`, at most once around."""
    seconds, carried = np.roll(link.duration_s, -first), np.roll(link.throughput_mbps, -first)
    stop = min(len(seconds), int(np.searchsorted(np.cumsum(seconds), length_s)) + 1)
    return seconds[:stop], carried[:stop]
