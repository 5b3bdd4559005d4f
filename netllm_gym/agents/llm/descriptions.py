"""Tasks in words: what a generalist's backbone reads before the first step of an episode.

An environment brings its own by ``metadata["description"]``; these are for the environments of this package. Two or
three plain sentences: what happens, what is seen, what is chosen, what is good.
"""

from __future__ import annotations

from typing import Any

DESCRIPTIONS = {
    "netllm_gym/ABR-v0": (
        "A player streams a video in chunks over a link whose rate changes. It sees recent throughput, its buffer and "
        "the sizes of the next chunk. It chooses a quality: high and steady is good, stalls are bad."
    ),
    "netllm_gym/ViewportPrediction-v0": (
        "A viewer turns the head in a 360 degree video. From the last two seconds of motion the next seconds are "
        "predicted. A small angle between the prediction and the truth is good."
    ),
    "netllm_gym/ViewportStreaming-v0": (
        "A 360 degree video is streamed in tiles over a link whose rate changes. It sees head motion, throughput, "
        "buffer and tile sizes. It chooses a quality for each tile: sharp where the viewer looks, without stalls."
    ),
    "netllm_gym/ClusterScheduling-v0": (
        "Jobs arrive at a cluster. Each job is a graph of stages that wait for one another. It chooses a runnable "
        "stage and how many executors work on it. Jobs that finish early on average are good."
    ),
}


def description_of(env_id: str, metadata: dict[str, Any]) -> str:
    """Words for an environment: its own, or ours, or none."""
    return str(metadata.get("description") or DESCRIPTIONS.get(env_id.rpartition(":")[2], ""))
