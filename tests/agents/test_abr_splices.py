"""Links spliced from pieces of others: as long as promised, from every source, at levels of their own."""

from __future__ import annotations

import numpy as np

from netllm_gym.agents.abr.splices import DRAWN, LENGTH_S, LEVELS, LINK_MBPS, PIECE_S, spliced_links
from netllm_gym.traces import NetworkTrace


def _steady(name: str, mbps: float, samples: int = 40) -> NetworkTrace:
    return NetworkTrace(name, np.full(samples, 10.0), np.full(samples, mbps))


def test_the_same_seed_gives_the_same_links_whatever_their_number() -> None:
    families = {"slow": [_steady("a", 0.2)], "fast": [_steady("b", 50.0), _steady("c", 80.0)], "none": []}
    few, many, other = (spliced_links(families, *how) for how in ((3, 7), (9, 7), (3, 8)))
    for one, same, another in zip(few, many, other, strict=False):
        np.testing.assert_array_equal(one.throughput_mbps, same.throughput_mbps)
        assert not np.array_equal(one.throughput_mbps, another.throughput_mbps)


def test_a_link_is_pieces_of_the_stated_lengths_and_levels() -> None:
    links = spliced_links({"steady": [_steady("a", 3.0)]}, 60, 0)
    lowest, highest = (LINK_MBPS[end] * LEVELS[end] for end in (0, 1))
    steady = 0
    for link in links:
        assert LENGTH_S <= link.total_s < LENGTH_S + PIECE_S[1] + 10.0
        # The steady source's pieces are known by their samples of ten seconds; their level is all that they keep.
        ten = link.duration_s == 10.0
        assert ((link.throughput_mbps[ten] >= 0.999 * lowest) & (link.throughput_mbps[ten] <= 1.001 * highest)).all()
        edges = np.flatnonzero(np.diff(np.concatenate([[False], ten, [False]]).astype(int)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            levels = np.unique(np.round(link.throughput_mbps[begin:end], 9))
            steady += len(levels)
            assert end - begin >= 2
    assert steady / len(links) > DRAWN


def test_no_link_is_without_a_rate() -> None:
    dead = NetworkTrace("dead", [100.0, 100.0], [0.0, 1.0])
    for link in spliced_links({"mostly dead": [dead]}, 20, 1):
        assert link.throughput_mbps.min() > 0 and np.isfinite(link.throughput_mbps).all()
