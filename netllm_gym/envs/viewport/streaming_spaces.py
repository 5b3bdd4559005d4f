"""What a player of tiles sees and may ask: the spaces of `ViewportStreaming-v0`, and actions read into levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.envs.actions import finite_numbers, whole, whole_numbers
from netllm_gym.errors import ConfigError

HISTORY = 8
MODES = ("tiles", "pair", "view")
# Observation → modality and scale, for encoders.
SHOWN: dict[str, tuple[str, float]] = {
    "history_deg": ("series", 90.0),
    "motion_deg": ("series", 20.0),
    "throughput_mbps": ("series", 16.0),
    "download_time_s": ("series", 1.0),
    "buffer_s": ("scalar", 3.0),
    "horizon_steps": ("scalar", 20.0),
    "tile_bytes": ("image", 5e4),
    "last_levels": ("series", 5.0),
    "held_levels": ("image", 5.0),
    "deadline_s": ("series", 3.0),
    "chunks_left": ("scalar", 60.0),
    "crowd_deg": ("series", 90.0),
    "crowd_mask": ("image", 1.0),
}


def modalities_and_scales(keys: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metadata of an environment that shows `keys`."""
    return {"modalities": {key: SHOWN[key][0] for key in keys}, "scales": {key: SHOWN[key][1] for key in keys}}


def observation_space(levels: int, tiles: int, history: int) -> spaces.Dict:
    """Return what is shown where a step fetches the next chunk of `levels` × `tiles`, after `history` head samples."""
    box = spaces.Box
    return spaces.Dict(
        {
            "history_deg": box(-np.inf, np.inf, (history, 3), np.float32),
            "motion_deg": box(-np.inf, np.inf, (history, 3), np.float32),
            "throughput_mbps": box(0, np.inf, (HISTORY,), np.float32),
            "download_time_s": box(0, np.inf, (HISTORY,), np.float32),
            "buffer_s": box(0, np.inf, (1,), np.float32),
            "horizon_steps": box(0, np.inf, (2,), np.float32),
            "tile_bytes": box(0, np.inf, (levels, tiles), np.float32),
            "last_levels": box(-1, levels - 1, (tiles,), np.float32),
            "chunks_left": box(0, np.inf, (1,), np.float32),
        }
    )


def action_space(mode: str, levels: int, tiles: int, future: int, window: int | None = None) -> spaces.Space:
    """Return what may be asked in `mode`; with `window`, for tiles of one of so many chunks.

    Args:
        mode: of :data:`MODES`.
        levels, tiles: of a chunk.
        future: head samples that a view is predicted for.
        window: open chunks, where single tiles are asked for.
    """
    if window is not None:
        return spaces.MultiDiscrete(np.append(window, np.full(tiles, levels + 1)))
    if mode == "tiles":
        return spaces.MultiDiscrete(np.full(tiles, levels + 1))
    if mode == "pair":
        return spaces.Discrete((levels + 1) * levels)
    motion = spaces.Box(-3600.0, 3600.0, (future, 3), np.float32)
    return spaces.Dict({"motion_deg": motion, "level": spaces.Discrete(levels)})


def read_tiles(action: Any, levels: int, tiles: int) -> NDArray[np.int64]:
    """Return the level of each tile, -1 = skipped.

    Raises:
        ConfigError: the action is not one number from 0 to `levels` a tile.
    """
    chosen = whole_numbers(action)
    if chosen is None or chosen.shape != (tiles,) or chosen.min() < 0 or chosen.max() > levels:
        raise ConfigError(f"the action must be {tiles} numbers from 0 to {levels}")
    return chosen - 1


def read_pair(action: Any, levels: int) -> tuple[int, int]:
    """Return the level of tiles in view and that of others (-1 = skipped), never above it.

    Raises:
        ConfigError: the action is no pair.
    """
    pair = whole(action)
    if pair is None or not 0 <= pair < levels * (levels + 1):
        raise ConfigError(f"action {action} is not a pair (0 to {levels * (levels + 1) - 1})")
    inside, outside = divmod(pair, levels + 1)
    return inside, min(outside - 1, inside)


def read_view(action: Any, levels: int, future: int) -> tuple[NDArray[np.float64], int]:
    """Return the predicted motion, degrees ``[future, 3]``, and the level that gives the budget.

    Raises:
        ConfigError: the motion is of another shape or not finite, or there is no such level.
    """
    given = action if isinstance(action, Mapping) else {}
    motion, level = finite_numbers(given.get("motion_deg"), (future, 3)), whole(given.get("level"))
    if motion is None or level is None or not 0 <= level < levels:
        raise ConfigError("the action needs finite motion_deg of the space's shape and a level of the ladder")
    return motion, level
