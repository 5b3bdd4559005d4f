"""The single ABR environment: one video over one network trace."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import traces as trace_room
from netllm_gym.envs.abr.kernel import download, link_arrays
from netllm_gym.envs.abr.observation import Memory, observation_space
from netllm_gym.envs.abr.options import REQUEST, Fetched, Options, Player
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.envs.actions import whole, whole_pair
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.rendering import Rendered, check_render_mode
from netllm_gym.envs.reset_options import reset_options
from netllm_gym.errors import ConfigError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest


class ABREnv(Rendered, gym.Env[dict[str, Any], Any]):
    """Adaptive bitrate streaming: choose the quality of each chunk of a video while the network changes.

    ## Description
    A player downloads a video chunk by chunk over a network trace and plays it at the same time. Chunks wait in a
    buffer; when it runs dry, playback stalls. Chunk semantics are Pensieve's (SIGCOMM 2017, section 5.1), exactly:
    the results of its simulator are reproduced to 1e-9.

    ## Action Space
    `Discrete(L)`: the quality level of the next chunk, 0 the lowest. All levels are always legal.

    ## Observation Space
    `Dict`:

    | key | shape | unit | meaning |
    |---|---|---|---|
    | `throughput_mbps` | [8] | Mbit/s | size / delay of the last 8 chunks (newest last), zeros before the first |
    | `download_time_s` | [8] | s | their delay from request to arrival |
    | `buffer_s` | [1] | s | video waiting to be played |
    | `last_quality` | Discrete(L) | level | quality of the last chunk |
    | `next_chunk_bytes` | [L] | bytes | size of the next chunk at each level, zeros after the last |
    | `chunks_left` | [1] | chunks | chunks not yet requested |

    ## Rewards
    QoE of the chunk: `quality − μ·stall_s − λ·|quality − last quality|`; see `qoe`.

    ## Starting State
    Buffer empty, trace at `start_s`. With `first_quality` set (default 0, as in NetLLM and Genet; Pensieve used 1) the
    first chunk is downloaded in `reset` at that level and never rewarded, as published numbers leave it out; its
    start-up delay is in `info["startup_s"]`. With `first_quality=None` the agent chooses the first chunk and pays
    for its start-up delay as a stall.

    ## Episode End
    1. Termination: the last chunk has arrived.
    2. Truncation: never. A trace shorter than the video starts again from its beginning.

    ## Information
    `reset`: `trace`, `trace_group`, `groups`, `video`, `startup_s`.
    Both: `action_mask` (int8 [L], all ones), `wall_time_s`.
    `step`: the reward's terms `quality`, `stall_s`, `switch`, and `reward`, `bitrate_mbps`, `level`, `buffer_s`,
    `sleep_s`, `download_time_s`, `throughput_mbps`, `chunk`.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `traces` | `"abr/synthetic"` | catalog name, path, or `TraceSet` of `NetworkTrace` |
    | `split` | `"test"` | split of the catalog entry |
    | `video` | `"synthetic"` | catalog name of a video, or a `VideoManifest` |
    | `qoe` | `"lin"` | `lin`, `log`, `hd`, or a quality table of the video (`vmaf`, …), which needs both weights |
    | `stall_weight`, `switch_weight` | None | replace single weights of `qoe` |
    | `first_quality` | 0 | level of the unrewarded first chunk, or `None` |
    | `random_start` | False | start anywhere in the trace (training) instead of at its own start |
    | `delay_noise` | 0.0 | the delay is multiplied by U(1−x, 1+x) (Pensieve trains with 0.1, tests with 0) |
    | `rtt_s` | 0.08 | request latency per chunk; it does not consume trace time |
    | `payload` | 0.95 | share of the link's bytes that is video |
    | `buffer_cap_s`, `sleep_quantum_s` | 60, 0.5 | above the cap the player waits in steps of the quantum |

    Off by default, and none of it is in published numbers (see docs/envs/abr.md):

    | name | default | meaning |
    |---|---|---|
    | `rtt_s=(mean, std)` | - | each request draws its latency from a lognormal distribution |
    | `initial_window_bytes` | 0 | slow start: this much in the first round trip, doubling until the link limits |
    | `decision_latency_s` | 0.0 | s, `(low, high)` uniform, or `"measured"`: the request leaves that much later |
    | `startup_buffer_s` | 0.0 | playback begins only with so much buffer; until then waiting is start-up, not stall |
    | `startup_weight` | None | QoE lost per second of start-up delay in `step`; by default the stall weight |
    | `live_latency_s` | None | live: chunk n (from 0) can be had (n+1)·chunk − this many seconds after joining |
    | `latency_weight` | 0.0 | live: QoE lost per second behind the target latency, at each chunk |
    | `abandon` | False | Sabre's rule: a download that would take over 1.8 chunks is asked for again lower |
    | `falling_weight` | None | λ of changes for the worse; by default `switch_weight` serves for both |
    | `buffer_targets_s` | () | action `(level, i)`: wait before the request until the buffer is down to target i |
    | `throughput` | `"request"` | `"first-byte"`: counted without the request's latency, as deployed players do |
    | `latency_on_trace` | False | the trace goes on during the request latency, as a real link does (docs/testbed.md) |

    With one of them on, `info` of `step` also carries `startup_s`, `wait_s`, `decision_latency_s`, `abandoned`,
    `wasted_bytes` and `penalty` (start-up and latency costs in the reward), live also `latency_s`; `level` is what
    arrived. Wall clock = downloads + decisions + waits + sleeps = video played + stalls + start-up delay.

    `reset(options={"trace": i, "start_s": t})` picks a trace and a start; otherwise the trace is drawn at random.

    ## Version History
    * v0: initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's convention)
        "render_modes": ["rgb_array", "human"],
        "render_fps": 4,
        "modalities": {
            "throughput_mbps": "series",
            "download_time_s": "series",
            "buffer_s": "scalar",
            "last_quality": "category",
            "next_chunk_bytes": "series",
            "chunks_left": "scalar",
        },
        "scales": {
            "throughput_mbps": 3.0,
            "download_time_s": 5.0,
            "buffer_s": 20.0,
            "next_chunk_bytes": 1e6,
            "chunks_left": 48.0,
        },
        "metric": {"name": "qoe", "aggregate": "mean", "better": "higher"},
        "reward_terms": {
            "quality": {"aggregate": "mean", "unit": "QoE/chunk", "better": "higher"},
            "stall_s": {"aggregate": "sum", "unit": "s", "better": "lower"},
            "switch": {"aggregate": "mean", "unit": "QoE/chunk", "better": "lower"},
        },
    }

    @checked
    def __init__(
        self,
        traces: str | Path | TraceSet = "abr/synthetic",
        split: str = "test",
        video: str | Path | VideoManifest = "synthetic",
        qoe: str = "lin",
        stall_weight: float | None = None,
        switch_weight: float | None = None,
        first_quality: int | None = 0,
        random_start: bool = False,
        delay_noise: float = 0.0,
        rtt_s: float | tuple[float, float] = 0.08,
        payload: float = 0.95,
        buffer_cap_s: float = 60.0,
        sleep_quantum_s: float = 0.5,
        initial_window_bytes: float = 0.0,
        decision_latency_s: float | tuple[float, float] | str = 0.0,
        startup_buffer_s: float = 0.0,
        startup_weight: float | None = None,
        live_latency_s: float | None = None,
        latency_weight: float = 0.0,
        abandon: bool = False,
        falling_weight: float | None = None,
        buffer_targets_s: Sequence[float] = (),
        throughput: str = REQUEST,
        latency_on_trace: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.traces: TraceSet[NetworkTrace] = trace_room.load(traces, split)
        if not isinstance(self.traces[0], NetworkTrace):
            raise ConfigError(f"{self.traces.name} holds {type(self.traces[0]).__name__}s, ABR needs network traces")
        self.video = trace_room.load_video(video) if isinstance(video, str | Path) else video
        weights = (stall_weight, switch_weight, startup_weight, latency_weight, falling_weight)
        if any(weight is not None and np.isinf(weight) for weight in weights):
            raise ConfigError("QoE weights must be finite")
        self.qoe = QoE.preset(qoe, self.video, stall_weight, switch_weight, falling_weight)
        levels = self.video.levels
        if first_quality is not None and not 0 <= first_quality < levels:
            raise ConfigError(f"first_quality {first_quality} is not a level of {self.video.name} (0 to {levels - 1})")
        if not 0 <= delay_noise < 1:
            raise ConfigError(f"delay_noise must lie in [0, 1), got {delay_noise}")
        if not 0 < payload <= 1 or sleep_quantum_s <= 0 or buffer_cap_s < max(self.video.chunk_s, startup_buffer_s):
            raise ConfigError(
                "0 < payload ≤ 1, sleep_quantum_s > 0 and buffer_cap_s ≥ one chunk and the start-up buffer are needed"
            )
        if live_latency_s is not None and not self.video.chunk_s <= live_latency_s < np.inf:
            raise ConfigError(f"live_latency_s must be at least one chunk ({self.video.chunk_s:g} s), and finite")
        if latency_weight < 0 or (startup_weight is not None and startup_weight < 0):
            raise ConfigError("QoE weights must not be negative")
        self.options = Options(
            rtt_s, initial_window_bytes, decision_latency_s, startup_buffer_s, live_latency_s, abandon,
            tuple(map(float, buffer_targets_s)), throughput, latency_on_trace,
        )  # fmt: skip
        self._plain = self.options.plain
        self.startup_weight = self.qoe.stall_weight if startup_weight is None else startup_weight
        self.latency_weight = latency_weight
        if first_quality is not None and self.video.chunks < 2:
            raise ConfigError("a video of one chunk leaves nothing to decide; set first_quality=None")
        self.first_quality = first_quality
        self.random_start = random_start
        self.delay_noise = delay_noise
        self.rtt_s, self.payload = self.options.mean_rtt_s, payload
        self.buffer_cap_s, self.sleep_quantum_s = buffer_cap_s, sleep_quantum_s
        self.observation_space = observation_space(levels)
        targets = len(buffer_targets_s)
        self.action_space: Any = spaces.MultiDiscrete([levels, targets]) if targets else spaces.Discrete(levels)
        # Python floats are faster to read one by one than array cells.
        self._quality = self.qoe.per_chunk(self.video.chunks).tolist()
        self._sizes = self.video.chunk_bytes.tolist()
        self._mbps = (np.asarray(self.video.bitrates_kbps, dtype=np.float64) / 1000.0).tolist()
        self._levels, self._chunks, self._targets = levels, self.video.chunks, targets
        self._chunk_s = float(self.video.chunk_s)
        self._stall_weight, self._rising, self._falling = (
            self.qoe.stall_weight,
            self.qoe.switch_weight,
            self.qoe.falling,
        )
        self._memory = Memory(self.video)
        self._all_legal = np.ones(levels + targets, np.int8)
        self._links: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.trace_index = 0

    def static_info(self) -> dict[str, Any]:
        """Public facts of the episode: the manifest, the QoE, the latency and the buffer rule."""
        return {
            "video": self.video,
            "qoe": self.qoe,
            "rtt_s": self.rtt_s,
            "buffer_cap_s": self.buffer_cap_s,
            "throughput": self.options.throughput,
        }

    def action_masks(self) -> np.ndarray:
        """Which actions are legal now: all, bool ``[L]``."""
        return self._all_legal.astype(bool)

    def action_values(self, horizon: int = 12) -> np.ndarray:
        """Hindsight value of each action now, given the trace's true future, float64 ``[L]`` (an oracle's view).

        See :func:`netllm_gym.envs.abr.planner.action_values`.
        """
        from netllm_gym.envs.abr.planner import action_values

        return action_values(self, horizon)

    def fork(self) -> ABREnv:
        """Return an independent copy of the episode in progress, which will meet the same draws; traces are shared."""
        twin = copy.copy(self)
        twin._np_random = copy.deepcopy(self._np_random)
        twin._memory = self._memory.copy()
        return twin

    def require_plannable(self) -> None:
        """Refuse to plan with physics the planners do not know.

        Raises:
            ConfigError: another option than live video or the kind of throughput is on.
        """
        self.options.require_plannable()

    @property
    def link(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Arrays of the current trace for :mod:`netllm_gym.envs.abr.kernel`."""
        if self.trace_index not in self._links:
            self._links[self.trace_index] = link_arrays(self.traces[self.trace_index], self.payload)
        return self._links[self.trace_index]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see the class for `options`."""
        super().reset(seed=seed)
        options = reset_options(options, ("trace", "start_s"))
        # Always drawn, so that picking a trace does not change the noise that follows.
        drawn_trace = int(self.np_random.integers(len(self.traces)))
        drawn_start = float(self.np_random.random())
        self.trace_index = int(options.get("trace", drawn_trace))
        if not 0 <= self.trace_index < len(self.traces):
            raise ConfigError(f"trace {self.trace_index} is out of range: {self.traces.name} has {len(self.traces)}")
        trace = self.traces[self.trace_index]
        start = options.get("start_s", drawn_start * trace.total_s if self.random_start else trace.start_s)
        if not 0 <= start < trace.total_s:
            raise ConfigError(f"start_s {start:g} lies outside {trace.name} ({trace.total_s:g} s)")
        self.offset_s = float(start)
        self.buffer_s = 0.0
        self.chunk = 0
        self.last_quality = 0
        self.wall_time_s = 0.0
        self._playing = self.options.startup_buffer_s <= 0.0
        self._memory.clear()
        self._drawn: list[dict[str, Any]] = []
        self._link = self.link
        startup = 0.0
        if self.first_quality is not None:
            if self._plain:
                startup = self._fetch(self.first_quality)[1]
            else:
                first = self._fetch_with_options(self.first_quality, decided=False, measured_s=0.0)
                startup = first.stall + first.startup
        info = {
            "trace": trace.name,
            "trace_group": trace.group,
            "groups": {"recording": trace.group},
            "video": self.video.name,
            "startup_s": startup,
            "wall_time_s": self.wall_time_s,
            "action_mask": self._all_legal.copy(),
        }
        observation = self._memory.observe(self.chunk, self.buffer_s, self.last_quality)
        if self.render_mode is not None:
            self.show()
        self._returned = time.perf_counter()
        return observation, info

    def _fetch(self, level: int) -> tuple[float, float, float]:
        """Download the next chunk; return its delay, stall and the sleep after it (s)."""
        noise = 1.0
        if self.delay_noise:
            noise += self.delay_noise * (2.0 * self.np_random.random() - 1.0)
        size = self._sizes[self.chunk][level]
        delay, stall, self.buffer_s, sleep, self.offset_s = download(
            *self._link,
            self.offset_s,
            size,
            self.buffer_s,
            self.rtt_s,
            noise,
            self._chunk_s,
            self.buffer_cap_s,
            self.sleep_quantum_s,
        )
        self.wall_time_s += delay + sleep
        self._remember(level, size, delay, delay)
        return delay, stall, sleep

    def _fetch_with_options(self, level: int, decided: bool, measured_s: float, target: int = 0) -> Fetched:
        """Decide, download the next chunk and wait, with whatever options are on."""
        options, link = self.options, self.link
        player = Player(self.offset_s, self.buffer_s, self.wall_time_s, self._playing)
        decision = options.draw_decision(self.np_random, measured_s) if decided else 0.0
        stall, startup = player.pass_time(link[0], decision)
        waited = Fetched(level, 0.0)
        if decided:
            options.linger(link, player, waited, target)
        noise = 1.0 + self.delay_noise * (2.0 * self.np_random.random() - 1.0) if self.delay_noise else 1.0
        chunk_s = self.video.chunk_s
        found = options.download(link, player, self._sizes[self.chunk], level, chunk_s, noise, self.np_random)
        found.decision = decision
        found.stall += stall
        found.startup += startup
        found.wait += waited.wait
        counted = found.delay if options.throughput == REQUEST else found.transfer
        self._remember(found.level, found.size + found.wasted, found.delay, counted)
        options.settle(
            link, player, found, self.chunk, self.video.chunks, chunk_s, self.buffer_cap_s, self.sleep_quantum_s
        )
        self.offset_s, self.buffer_s, self.wall_time_s = player.offset_s, player.buffer_s, player.wall_s
        self._playing = player.playing
        return found

    def _remember(self, level: int, size: float, delay: float, counted_s: float) -> None:
        """Note a finished download for the coming observations; its throughput is over `counted_s`."""
        self.last_quality = level
        self.throughput_mbps = size * 8e-6 / counted_s
        self._memory.add(self.chunk, self.throughput_mbps, delay)
        self.chunk += 1

    def _both(self, action: Any) -> tuple[int, int]:
        """Split an action of level and buffer target."""
        pair = whole_pair(action)
        if pair is None or not 0 <= pair[1] < self._targets:
            raise ConfigError(f"action {action} is no level with one of the {self._targets} buffer targets")
        return pair

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Download the next chunk at level `action`."""
        level, target = (whole(action), 0) if self._targets == 0 else self._both(action)
        if level is None or not 0 <= level < self._levels:
            raise ConfigError(f"action {action} is not a level of {self.video.name} (0 to {self.video.levels - 1})")
        if self.chunk >= self._chunks:
            raise ConfigError("the video is over; call reset")
        chunk, before = self.chunk, self.last_quality
        more: dict[str, Any] = {}
        if self._plain:
            delay, stall, sleep = self._fetch(level)
            penalty = 0.0
        else:
            found = self._fetch_with_options(level, True, time.perf_counter() - self._returned, target)
            level, delay, stall, sleep = found.level, found.delay, found.stall, found.sleep
            player = Player(self.offset_s, self.buffer_s, self.wall_time_s)
            weights = self.startup_weight, self.latency_weight
            penalty, more = self.options.account(found, *weights, self.chunk, self._chunk_s, player)
        quality = self._quality[chunk][level]
        switch = 0.0
        if chunk > 0:
            change = quality - self._quality[chunk - 1][before]
            switch = self._rising * change if change >= 0 else -self._falling * change
        reward = quality - self._stall_weight * stall - switch - penalty
        info = {
            "reward": reward,
            "quality": quality,
            "stall_s": stall,
            "switch": switch,
            "level": level,
            "bitrate_mbps": self._mbps[level],
            "buffer_s": self.buffer_s,
            "sleep_s": sleep,
            "download_time_s": delay,
            "throughput_mbps": self.throughput_mbps,
            "chunk": chunk,
            "wall_time_s": self.wall_time_s,
            "action_mask": self._all_legal.copy(),
        }
        observation = self._memory.observe(self.chunk, self.buffer_s, level)
        if self.render_mode is not None:
            self._drawn.append(info)
            self.show()
        if more:
            info.update(more)
            self._returned = time.perf_counter()
        return observation, reward, self.chunk >= self._chunks, False, info

    def frame(self) -> np.ndarray:
        """Draw throughput, bitrate, buffer and stalls so far, RGB ``[400, 720, 3]``."""
        from netllm_gym.envs.abr.draw import draw_timeline

        return draw_timeline(self._drawn, self._mbps, self.buffer_cap_s, self._chunks * self._chunk_s)
