"""What an ABR policy was trained on, and whether an episode lies outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from netllm_gym.errors import ConfigError


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of each fact of an episode that a policy was trained on.

    Attributes:
        levels: of a ladder.
        chunk_s: seconds of a chunk.
        chunks: of a video.
        buffer_cap_s: of the player.
        stall: stall weight × chunk length, in ranges of the ladder's quality.
        switch: switch weight.
        ladder: size of a chunk at the top level over that at the lowest.
        rtt_s: request latency.
    """

    levels: tuple[float, float] = (3, 10)
    chunk_s: tuple[float, float] = (1.0, 6.0)
    chunks: tuple[float, float] = (30, 300)
    buffer_cap_s: tuple[float, float] = (8.0, 60.0)
    stall: tuple[float, float] = (0.3, 20.0)
    switch: tuple[float, float] = (0.0, 2.0)
    ladder: tuple[float, float] = (4.0, 40.0)
    rtt_s: tuple[float, float] = (0.01, 0.2)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, list | tuple) and len(value) == 2 and value[0] <= value[1]):
                raise ConfigError(f"range {field.name} must be (low, high), got {value!r}")
            object.__setattr__(self, field.name, tuple(value))

    def to_json(self) -> dict[str, list[float]]:
        """Return a JSON-able dict; :meth:`from_json` is its inverse."""
        return {key: list(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ranges:
        """Rebuild.

        Raises:
            ConfigError: another name, or not a pair of numbers.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"ranges: {error}") from None

    def outside(self, static: Mapping[str, Any]) -> str:
        """Say in a phrase what of an episode lies outside; empty where nothing does.

        Args:
            static: public facts of the episode, see :meth:`netllm_gym.envs.abr.env.ABREnv.static_info`.
        """
        odd = []
        for name, value in facts(static).items():
            low, high = getattr(self, name)
            # Sizes are rounded to bytes, weights computed: a per cent is not outside.
            if not low * 0.99 <= value <= high * 1.01:
                odd.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
        return ", ".join(odd)


def facts(static: Mapping[str, Any]) -> dict[str, float]:
    """Return what :class:`Ranges` bounds, of one episode."""
    video, qoe = static["video"], static["qoe"]
    sizes = np.asarray(video.chunk_bytes).mean(axis=0)
    unit = float(np.max(qoe.quality) - np.min(qoe.quality)) or 1.0
    return {
        "levels": video.levels,
        "chunk_s": video.chunk_s,
        "chunks": video.chunks,
        "buffer_cap_s": static["buffer_cap_s"],
        "stall": qoe.stall_weight * video.chunk_s / unit,
        "switch": qoe.switch_weight,
        "ladder": float(sizes[-1] / sizes[0]),
        "rtt_s": static["rtt_s"],
    }
