"""Tiled 360-degree streaming: one viewer, one video, one network; what is buffered was chosen before he
looked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import traces as trace_room
from netllm_gym.envs.abr.kernel import download, link_arrays
from netllm_gym.envs.actions import whole_numbers
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.rendering import Rendered, check_render_mode
from netllm_gym.envs.reset_options import reset_options
from netllm_gym.envs.viewport.allocate import inside_outside, knapsack
from netllm_gym.envs.viewport.prediction import earlier_viewers, load_head_traces
from netllm_gym.envs.viewport.qoe import PlayedChunks, ViewQoE, level_utility
from netllm_gym.envs.viewport.streaming_spaces import (
    HISTORY,
    MODES,
    SHOWN,
    action_space,
    modalities_and_scales,
    observation_space,
    read_pair,
    read_tiles,
    read_view,
)
from netllm_gym.envs.viewport.tile_requests import TilePlayer, open_window, slot_spaces
from netllm_gym.envs.viewport.tiled_videos import TiledVideos
from netllm_gym.envs.viewport.windows import WindowProtocol
from netllm_gym.errors import ConfigError
from netllm_gym.traces import TraceSet
from netllm_gym.traces.head.geometry import unwrap_to_last

MAX_HISTORY = 10_000
REQUESTS = ("chunk", "tiles")


class ViewportStreamingEnv(Rendered, gym.Env[dict[str, Any], Any]):
    """Stream a tiled 360-degree video to where its viewer will look.

    ## Description
    Each step downloads the next chunk, a quality per tile, over a network trace while earlier chunks play.
    The head log stops at the *playhead*: the fuller the buffer, the further ahead the view must be predicted.
    With ``requests="tiles"`` a step is a slot of downloading instead: it asks for tiles of any chunk that has not begun
    to play, so that a chunk in the buffer is upgraded when its view is known better
    (:class:`~netllm_gym.envs.viewport.tile_requests.TilePlayer`).
    A large buffer protects from stalls and costs accuracy; ``buffer_s`` sets the target above which the
    player waits. During a stall the video and the head stand still. Tiles that were skipped show as holes.

    ## Action Space
    By `action_mode`:

    - `tiles`: `MultiDiscrete([L + 1] * T)`: 0 skips a tile, q + 1 fetches it at level q.
    - `pair`: `Discrete((L + 1) * L)`: level `a // (L + 1)` for tiles in view if the head stays where it is,
      `a % (L + 1)` (0 = skip, q + 1 = level q, capped at the inner level) for the others.
    - `view`: `Dict(motion_deg: Box[F, 3], level: Discrete(L))`: predicted motion from the last head sample for each
      sample until the chunk has played (the first `horizon_steps[0]` entries count), and a budget: the bytes
      of the expected view at that level and of the rest at the lowest; the environment spends it tile by
      tile. A pure viewport predictor can so be scored in QoE.

    With ``requests="tiles"``: `MultiDiscrete([W] + [L + 1] * T)`: which of the next W chunks (0 plays next), then for
    each tile 0 = nothing, q + 1 = level q, ignored unless above the level held. Asking for nothing, or for a chunk
    that the mask forbids (counted as `illegal_actions`), waits ``slot_s``. A tile that is not complete when its chunk
    begins to play is dropped; playback does not wait for it. It waits where nothing at all of a chunk is there, until
    the step after has ended.

    ## Observation Space
    `Dict`: `history_deg` [h, 3] and `motion_deg` [h, 3] (head up to the playhead, newest last, see
    `ViewportPrediction-v0`), `throughput_mbps` [8], `download_time_s` [8], `buffer_s` [1], `horizon_steps`
    [2] (samples from the newest head sample to the chunk's end and beginning), `tile_bytes` [L, T] of
    the next chunk, `last_levels` [T] (-1 = skipped or none), `chunks_left` [1].
    With ``requests="tiles"``: `horizon_steps` [W, 2] and `tile_bytes` [W, L, T] of the next W chunks (zeros beyond the
    last), `held_levels` [W, T] (-1 = none) and `deadline_s` [W], seconds until they begin to play (the first is 0
    where playback waits); `buffer_s` ends at the first chunk of which nothing is there, `last_levels` are on the
    screen, and `throughput_mbps` counts from the first byte to the last.

    ## Rewards
    QoE (:class:`ViewQoE`, MANSY's form) of the chunks whose playback *ended* in the step, from the true view,
    minus the stall during the step. The last step also plays out the buffer. A hole is worth the same whether its tile
    was late or never asked for.

    ## Starting State
    Buffer empty, playhead at 0, the network trace at its start (or at `start_s`); the head has been still before.

    ## Episode End
    Termination: all chunks fetched and played (``requests="tiles"``: the last has begun). Never truncated.

    ## Information
    Reward terms, summed over the chunks played in the step: `quality`, `spatial`, `change`, `blank`,
        `stall_s`; also
    `played` (how many), `bytes`, `wasted_bytes` (fetched tiles never in view, of played chunks), `hit_rate`
    (share of the view that was fetched), `buffer_s`, `download_time_s`, `reward`, `wall_time_s`.
    With ``requests="tiles"`` also `action_mask` (int8, flat), `replaced_bytes` (fetched again at a higher level) and
        `late_bytes` (of tiles that came too late), both part of `wasted_bytes`, `late_tiles`, `illegal_actions`.
    `reset`: `trace`, `trace_group`, `groups`, `user`, `video`, `network`.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `traces`, `split` | `"viewport/synthetic"`, `"test"` | head traces (canonical reading) |
    | `network` | `"streaming/synthetic-4g"` | network traces; the split is the same |
    | `tiles` | `"synthetic"` | tile sizes: the embedded model, or a path for `read_tile_table` |
    | `action_mode` | `"tiles"` | see above |
    | `grid`, `chunk_s` | `(8, 8)`, 1.0 | rows and columns of tiles, and seconds of a chunk, of the embedded model |
    | `projection` | `"equirectangular"` | of the frame that is cut into tiles, or `"cubemap"` (:class:`TileGrid`) |
    | `fov_deg` | `(100, 100)` | width and height of the view |
    | `utility` | `"rate"` | what levels are worth: `"log"`, or numbers such as VMAF (:func:`level_utility`) |
    | `qoe` | `"balanced"` | MANSY's preferences: balanced, quality, stall, smooth, quality-stall |
    | `buffer_target_s` | 3.0 | the player waits above it |
    | `history` | 10 | head samples shown |
    | `rtt_s` | 0.05 | latency of a request |
    | `max_chunks` | None | play only the first so many chunks |
    | `requests` | `"chunk"` | a step fetches the next chunk; `"tiles"`: it asks for tiles of any open chunk |
    | `slot_s` | 0.1 | seconds of a step of `"tiles"` that asks for nothing |
    | `crowd`, `crowd_gap_s` | 0, 0.0 | show earlier viewers, as `ViewportPrediction-v0` does |

    `reset(options={"trace": i, "network": j, "start_s": t})` picks viewer, network trace and its start.

    ## Version History
    * v0: initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's convention)
        "render_modes": ["rgb_array", "human"],
        "render_fps": 2,
        **modalities_and_scales(SHOWN),
        "metric": {"name": "qoe", "aggregate": "sum", "better": "higher"},
        "reward_terms": {
            "quality": {"aggregate": "sum", "unit": "QoE", "better": "higher"},
            "stall_s": {"aggregate": "sum", "unit": "s", "better": "lower"},
            "spatial": {"aggregate": "sum", "unit": "QoE", "better": "lower"},
            "change": {"aggregate": "sum", "unit": "QoE", "better": "lower"},
            "blank": {"aggregate": "sum", "unit": "QoE", "better": "lower"},
            "wasted_bytes": {"aggregate": "sum", "unit": "B", "better": "lower"},
        },
    }

    @checked
    def __init__(
        self,
        traces: str | Path | TraceSet = "viewport/synthetic",
        split: str = "test",
        network: str | Path | TraceSet = "streaming/synthetic-4g",
        tiles: str | Path = "synthetic",
        grid: tuple[int, int] = (8, 8),
        chunk_s: float = 1.0,
        projection: str = "equirectangular",
        fov_deg: tuple[float, float] = (100.0, 100.0),
        utility: str | Sequence[float] = "rate",
        action_mode: str = "tiles",
        qoe: str | ViewQoE = "balanced",
        buffer_target_s: float = 3.0,
        history: int = 10,
        rtt_s: float = 0.05,
        max_chunks: int | None = None,
        crowd: int = 0,
        crowd_gap_s: float = 0.0,
        requests: str = "chunk",
        slot_s: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        self.traces = load_head_traces(traces, split)
        if self.traces[0].reading != "canonical":
            raise ConfigError("streaming needs the canonical reading of head traces, not as-published angles")
        self.networks = trace_room.load(network, split)
        if action_mode not in MODES:
            raise ConfigError(f"action_mode must be one of {', '.join(MODES)}, got {action_mode!r}")
        if requests not in REQUESTS:
            raise ConfigError(f"requests must be one of {', '.join(REQUESTS)}, got {requests!r}")
        if requests == "tiles" and action_mode != "tiles":
            raise ConfigError(f"requests of tiles need action_mode='tiles', got {action_mode!r}")
        if not 0 < slot_s < np.inf:
            raise ConfigError(f"slot_s must be positive and finite, got {slot_s}")
        check_render_mode(render_mode)
        if not (2 <= history <= MAX_HISTORY and 0 <= rtt_s < np.inf):
            raise ConfigError(f"history from 2 to {MAX_HISTORY} and a finite rtt_s ≥ 0 are needed")
        if max_chunks is not None and max_chunks < 2:
            raise ConfigError(f"max_chunks must be at least 2, got {max_chunks}")
        self.hz = self.traces[0].hz
        self.videos = TiledVideos(self.traces, tiles, grid, chunk_s, projection, fov_deg)
        self.max_chunks = max_chunks
        first = self.videos.manifest(0)
        if not first.chunk_s <= buffer_target_s < np.inf:
            raise ConfigError(f"buffer_target_s must hold at least one chunk ({first.chunk_s:g} s) and be finite")
        self.view = self.videos.view
        if not isinstance(qoe, str | ViewQoE):
            raise ConfigError(f"qoe is the name of preferences, or a ViewQoE, got {qoe!r}")
        self.qoe = ViewQoE.preset(qoe) if isinstance(qoe, str) else qoe
        self.utility = level_utility(utility, first.ladder_kbps)
        self.action_mode, self.requests, self.render_mode = action_mode, requests, render_mode
        self.buffer_target_s, self.rtt_s, self.slot_s = float(buffer_target_s), float(rtt_s), float(slot_s)
        self.protocol = WindowProtocol(
            history, self.max_horizon(buffer_target_s, first.chunk_s), first=history, margin=10**6
        )
        self._links: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        levels, count = first.levels, first.tiles
        shown = observation_space(levels, count, history).spaces
        self.player: TilePlayer | None = None
        self.window = open_window(buffer_target_s, first.chunk_s)
        if requests == "tiles":
            shown.update(slot_spaces(self.window, levels, count))
        self.paths = earlier_viewers(self.traces, crowd, crowd_gap_s)
        if self.paths is not None:
            shown.update(self.paths.spaces(history + self.protocol.future))
        self.observation_space = spaces.Dict(shown)
        self.metadata = {**self.metadata, **modalities_and_scales(shown)}
        window = self.window if requests == "tiles" else None
        self.action_space = action_space(action_mode, levels, count, self.protocol.future, window)
        self.trace_index = self.network_index = 0
        self._predicted: np.ndarray | None = None

    def max_horizon(self, buffer_target_s: float, chunk_s: float) -> int:
        """Samples from the playhead to the end of a chunk requested with a full buffer."""
        return int(np.ceil((buffer_target_s + chunk_s) * self.hz)) + 1

    def static_info(self) -> dict[str, Any]:
        """Public facts: the manifest, the QoE, the view, the buffer rule and the rates."""
        return {
            "traces": self.traces.name,
            "reading": "canonical",
            "hz": self.hz,
            "protocol": self.protocol,
            "user": self.traces[self.trace_index].user,
            "video": self.traces[self.trace_index].video,
            "crowd": None,
            "manifest": self.manifest,
            "utility": self.utility,
            "qoe": self.qoe,
            "view": self.view,
            "buffer_target_s": self.buffer_target_s,
            "rtt_s": self.rtt_s,
            "action_mode": self.action_mode,
            "requests": self.requests,
            "slot_s": self.slot_s,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see the class for `options`."""
        super().reset(seed=seed)
        options = reset_options(options, ("trace", "network", "start_s"))
        drawn = (
            int(self.np_random.integers(len(self.traces))),
            int(self.np_random.integers(len(self.networks))),
        )
        self.trace_index = int(options.get("trace", drawn[0]))
        self.network_index = int(options.get("network", drawn[1]))
        for index, members, what in (
            (self.trace_index, self.traces, "trace"),
            (self.network_index, self.networks, "network"),
        ):
            if not 0 <= index < len(members):
                raise ConfigError(f"{what} {index} is out of range: {members.name} has {len(members)}")
        self.trace, link = self.traces[self.trace_index], self.networks[self.network_index]
        self.manifest = self.videos.manifest(self.trace_index)
        self.share = self.videos.share(self.trace_index)
        self.chunks = min(len(self.share), self.manifest.chunks, self.max_chunks or 10**9)
        if self.chunks < 2:
            raise ConfigError(f"{self.trace.name} is shorter than two chunks")
        start = float(options.get("start_s", link.start_s))
        if not 0 <= start < link.total_s:
            raise ConfigError(f"start_s {start:g} lies outside {link.name} ({link.total_s:g} s)")
        if self.network_index not in self._links:
            self._links[self.network_index] = link_arrays(link, 1.0)
        self.offset_s, self.buffer_s, self.wall_time_s = start, 0.0, 0.0
        self.chunk = 0
        sizes = self.manifest.tile_bytes[: self.chunks]
        self.levels = np.full((self.chunks, self.manifest.tiles), -1, np.int64)
        self._screen = PlayedChunks(self.qoe, self.utility, self.share, sizes)
        if self.requests == "tiles":
            chunk_s, link_now = self.manifest.chunk_s, self._links[self.network_index]
            self.player = TilePlayer(sizes, chunk_s, link_now, start, self.rtt_s, self.slot_s, self.buffer_target_s)
            self.levels = self.player.levels
            self._illegal = 0
        self._throughputs = np.zeros(HISTORY, np.float32)
        self._delays = np.zeros(HISTORY, np.float32)
        self._predicted = None
        info = {
            "trace": self.trace.name,
            "trace_group": self.trace.group,
            "groups": {"video": self.trace.video, "user": self.trace.user, "link": link.group},
            "user": self.trace.user,
            "video": self.trace.video,
            "network": link.name,
            "time_s": 0.0,
            "wall_time_s": 0.0,
            **self._mask(),
        }
        self.show()
        return self._observe(), info

    @property
    def playhead(self) -> int:
        """Newest head sample the player knows: the one at the playhead."""
        played_s = self.chunk * self.manifest.chunk_s - self.buffer_s
        if self.player is not None:
            played_s = self.player.position_s
        return min(int(played_s * self.hz + 1e-6), len(self.trace) - 1)

    def horizon(self, ahead: int = 0) -> tuple[int, int]:
        """Samples from the newest head sample to the last and to the first of the next chunk, or one further ahead."""
        first, chunk = self.videos.first_sample, self.chunk + ahead
        return first(chunk + 1) - 1 - self.playhead, first(chunk) - self.playhead

    def action_masks(self) -> np.ndarray:
        """Return what is legal, all factors one after the other, as sb3-contrib's MaskablePPO wants it."""
        legal = np.ones(spaces.flatdim(self.action_space), bool)
        if self.player is not None:
            legal[: self.window] = self.player.mask()
        return legal

    def _mask(self) -> dict[str, Any]:
        return {} if self.player is None else {"action_mask": self.action_masks().astype(np.int8)}

    def _history(self) -> np.ndarray:
        newest, length = self.playhead, self.protocol.history
        index = np.maximum(np.arange(newest - length + 1, newest + 1), 0)  # before the start the head stood still
        return unwrap_to_last(self.trace.angles_deg[index])

    def _observe(self) -> dict[str, Any]:
        history = self._history()
        over = self.chunk >= self.chunks
        shape = (self.manifest.levels, self.manifest.tiles)
        last = self.levels[self.chunk - 1] if self.chunk else np.full(shape[1], -1)
        crowd = {}
        if self.paths is not None:
            now = self.playhead + 1 + round(self.trace.start_s * self.hz)
            crowd = self.paths.observe(self.trace, now, self.protocol.history, self.protocol.future)
        return {
            "history_deg": history.astype(np.float32),
            "motion_deg": (history - history[-1]).astype(np.float32),
            "throughput_mbps": self._throughputs.copy(),
            "download_time_s": self._delays.copy(),
            "buffer_s": np.array([self.buffer_s], np.float32),
            "horizon_steps": np.zeros(2, np.float32) if over else np.array(self.horizon(), np.float32),
            "tile_bytes": (np.zeros(shape) if over else self.manifest.tile_bytes[self.chunk]).astype(np.float32),
            "last_levels": last.astype(np.float32),
            "chunks_left": np.array([self.chunks - self.chunk], np.float32),
            **crowd,
            **({} if self.player is None else self.player.observe(self.horizon)),
        }

    def _tile_levels(self, action: Any) -> np.ndarray:
        """Turn an action of any mode into a level per tile, -1 = skipped."""
        levels = self.manifest.levels
        if self.action_mode == "tiles":
            return read_tiles(action, levels, self.manifest.tiles)
        if self.action_mode == "pair":
            inside, outside = read_pair(action, levels)
            self._predicted = self.trace.angles_deg[self.playhead][None]
            return inside_outside(self.view.visible(self._predicted[0]), inside, outside)
        motion, level = read_view(action, levels, self.protocol.future)
        last, first = self.horizon()
        ahead = np.vstack([np.zeros((1, 3)), motion])[first : last + 1]
        self._predicted = self.trace.angles_deg[self.playhead] + ahead
        weight = self.view.weights(self._predicted).mean(axis=0)
        sizes = self.manifest.tile_bytes[self.chunk]
        budget = float(np.where(weight > 0, sizes[level], sizes[0]).sum())
        return knapsack(weight, sizes, self.utility, budget, 0)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Fetch the next chunk, or tiles of any open one, and play meanwhile."""
        if self.chunk >= self.chunks:
            raise ConfigError("the video is over; call reset")
        info = self._fetch_chunk(self._tile_levels(action)) if self.player is None else self._fetch_tiles(action)
        q = self.qoe
        reward = (
            q.quality * info["quality"]
            - q.stall * info["stall_s"]
            - q.variation * (info["spatial"] + info["change"])
            - q.blank * info["blank"]
        )
        info |= {
            "reward": reward,
            "buffer_s": self.buffer_s,
            "wall_time_s": self.wall_time_s,
            "time_s": self.playhead / self.hz,
            **self._mask(),
        }
        self.show()
        return self._observe(), reward, self.chunk >= self.chunks, False, info

    def _fetch_chunk(self, chosen: np.ndarray) -> dict[str, Any]:
        """Fetch the next chunk; return the terms of what has been played meanwhile."""
        sizes = self.manifest.tile_bytes[self.chunk]
        fetched = np.flatnonzero(chosen >= 0)
        size = float(sizes[chosen[fetched], fetched].sum())
        chunk_s = self.manifest.chunk_s
        self.levels[self.chunk] = chosen
        delay, stall, self.buffer_s, sleep, self.offset_s = download(
            *self._links[self.network_index],
            self.offset_s,
            size,
            self.buffer_s,
            self.rtt_s,
            1.0,
            chunk_s,
            self.buffer_target_s,
            0.05,
        )
        self.wall_time_s += delay + sleep
        self.chunk += 1
        rate = size * 8e-6 / delay if size else (float(self._throughputs[-1]))
        self._note(rate, delay)
        over = self.chunk >= self.chunks
        until = self.chunks if over else int((self.chunk * chunk_s - self.buffer_s) / chunk_s + 1e-9)
        info = self._screen.until(until, self.levels)
        if over:
            self.wall_time_s += self.buffer_s
            self.buffer_s = 0.0
        last = {"stall_s": stall, "bytes": size, "download_time_s": delay, "throughput_mbps": rate}
        return info | last | {"chunk": self.chunk - 1}

    def _fetch_tiles(self, action: Any) -> dict[str, Any]:
        """Play one slot; return the terms of what has been played meanwhile."""
        player, numbers = self.player, whole_numbers(action)
        assert player is not None
        if numbers is None or numbers.shape != self.action_space.shape or not 0 <= numbers[0] < self.window:
            raise ConfigError(f"the action must be a chunk, 0 to {self.window - 1}, and {self.manifest.tiles} numbers")
        chosen, chunk = self._tile_levels(numbers[1:]), self.chunk + int(numbers[0])
        if not player.may_ask(chunk):
            self._illegal += 1
            chosen, chunk = np.full_like(chosen, -1), self.chunk
        slot = player.slot(chunk, chosen)
        rate = float(self._throughputs[-1])
        if slot.received:
            rate = slot.received * 8e-6 / slot.transfer_s
            self._note(rate, slot.seconds)
        self.chunk = player.open
        self.wall_time_s += slot.seconds
        self.buffer_s = max(player.first_empty() * self.manifest.chunk_s - player.position_s, 0.0)
        if player.over:
            self.wall_time_s += self.buffer_s
            self.buffer_s = 0.0
        info = self._screen.until(self.chunks if player.over else player.ended, player.levels)
        info["wasted_bytes"] += slot.replaced + slot.late
        last = {"illegal_actions": self._illegal, "throughput_mbps": rate, "chunk": chunk}
        return info | slot.info() | last

    def _note(self, rate_mbps: float, seconds: float) -> None:
        """Keep what a download took."""
        self._throughputs = np.append(self._throughputs[1:], np.float32(rate_mbps))
        self._delays = np.append(self._delays[1:], np.float32(seconds))

    def frame(self) -> np.ndarray:
        """Draw the chunk on the screen: tiles by quality, the true view (red) and what was predicted next (yellow)."""
        from netllm_gym.envs.viewport.draw import draw, tile_legend, with_legend

        shown = min(int(self.playhead / self.hz / self.manifest.chunk_s), max(self.chunk - 1, 0))
        image = draw(
            self.view.grid,
            self.levels[shown],
            self.manifest.levels,
            self.trace.angles_deg[self.playhead],
            None if self._predicted is None else self._predicted[-1],
            self.view.fov_deg,
        )
        return with_legend(image, tile_legend(self.manifest.levels, self._predicted is not None))
