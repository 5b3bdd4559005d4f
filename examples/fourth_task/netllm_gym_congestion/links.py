"""A kind of traces: links that competing flows take and leave."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from netllm_gym import register_trace_kind
from netllm_gym.traces import NetworkTrace


@register_trace_kind("shared-link")
def shared_links(name: str, entry: dict[str, Any], as_published: bool) -> dict[str, tuple[NetworkTrace, ...]]:
    """Draw every split: a capacity, shared with a number of flows that changes at exponential intervals."""
    splits = {}
    for number, (split, count) in enumerate(entry["counts"].items()):
        links = []
        for index in range(count):
            key = (zlib.crc32(name.encode()), number, index)
            rng = np.random.default_rng(np.random.SeedSequence(entry["seed"], spawn_key=key))
            capacity = rng.uniform(*entry["capacity_mbps"])
            durations = np.maximum(rng.exponential(entry["stay_s"], entry["changes"]), 0.1)
            flows = 1 + rng.poisson(entry["rivals"], entry["changes"])
            links.append(NetworkTrace(f"{name}/{split}/{index:03d}", durations, capacity / flows))
        splits[split] = tuple(links)
    return splits
