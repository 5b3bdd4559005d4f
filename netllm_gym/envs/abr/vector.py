"""Many ABR episodes at once, in compiled code: the vector entry point of ``netllm_gym/ABR-v0``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from netllm_gym.envs.abr.draws import Streams
from netllm_gym.envs.abr.env import HISTORY, ABREnv
from netllm_gym.envs.abr.vector_kernel import (
    TERMS,
    Rules,
    Written,
    advance,
    blank_output,
    blank_state,
    first_illegal,
    flat_links,
    play_rule,
    play_table,
)
from netllm_gym.errors import ConfigError

# Arguments of the single environment that the batched one follows; others must keep their defaults.
_FOLLOWED = {
    "traces", "split", "video", "qoe", "stall_weight", "switch_weight", "first_quality", "random_start", "delay_noise",
    "rtt_s", "payload", "buffer_cap_s", "sleep_quantum_s",
}  # fmt: skip


def _metadata() -> dict[str, Any]:
    metadata = dict(ABREnv.metadata)
    modes = getattr(gym.vector, "AutoresetMode", None)  # Gymnasium >= 1.1; 1.0 knows no other mode
    if modes is not None:
        metadata["autoreset_mode"] = modes.NEXT_STEP
    return metadata


class ABRVectorEnv(gym.vector.VectorEnv[dict[str, Any], NDArray[Any], NDArray[Any]]):
    """``num_envs`` independent episodes of :class:`ABREnv`, advanced together.

    Arguments, spaces, rewards and random draws are those of the single environment: episode ``i`` of
    ``reset(seed=s)`` is the episode of ``ABREnv.reset(seed=s + i)``, to the last bit, noise included. Memory for
    traces does not depend on ``num_envs``.

    An episode that has ended begins anew at the next step (Gymnasium's next-step autoreset): that step ignores its
    action, pays 0 and returns the first observation of the new episode, with ``trace``, ``trace_group``, ``video``
    and ``startup_s`` in the infos, marked by ``_trace`` and so on. ``reset`` takes ``seed`` (an int, or one per
    environment) and ``options={"trace": ..., "start_s": ...}``, each a number for all or one per environment.

    Every call returns fresh arrays.

    Raises:
        ConfigError: as the single environment, or an option that only the single environment has.
    """

    metadata: dict[str, Any] = _metadata()

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        defaults = inspect.signature(ABREnv).parameters
        for name, value in kwargs.items():
            if name in defaults and name not in _FOLLOWED and value != defaults[name].default:
                raise ConfigError(f"the batched environment has no {name}; use vectorization_mode='sync'")
        self._single = single = ABREnv(**kwargs)
        self.num_envs = num_envs
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space: spaces.Space[Any] = batch_space(self.single_action_space, num_envs)
        self.traces, self.video, self.qoe = single.traces, single.video, single.qoe
        self.links = flat_links(single.traces, single.payload)
        self.rules = Rules(
            np.ascontiguousarray(self.video.chunk_bytes, dtype=np.float64),
            np.vstack([self.video.chunk_bytes, np.zeros(self.video.levels)]).astype(np.float32),
            self.qoe.quality,
            np.asarray(self.video.bitrates_kbps, dtype=np.float64) / 1000.0,
            float(self.qoe.stall_weight),
            float(self.qoe.switch_weight),
            float(single.rtt_s),
            float(self.video.chunk_s),
            float(single.buffer_cap_s),
            float(single.sleep_quantum_s),
            -1 if single.first_quality is None else single.first_quality,
        )
        self._state = blank_state(num_envs, HISTORY)
        self._over = np.ones(num_envs, np.bool_)
        self._starts = np.zeros(num_envs)
        self._no_noise = np.ones(num_envs)
        self._totals = np.array([trace.total_s for trace in self.traces])
        self._defaults = np.array([trace.start_s for trace in self.traces])
        self._names = np.array([trace.name for trace in self.traces], dtype=object)
        self._groups = np.array([trace.group for trace in self.traces], dtype=object)
        self._streams: Streams | None = None

    def static_info(self) -> dict[str, Any]:
        """Public facts of the episodes, as :meth:`ABREnv.static_info`."""
        return self._single.static_info()

    @property
    def np_randoms(self) -> list[np.random.Generator]:
        """The generator of each environment."""
        if self._streams is None:
            self._streams = Streams([seeding.np_random()[0] for _ in range(self.num_envs)])
        return self._streams.generators

    def _draw(self, which: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Trace and position in ``[0, 1)`` of the next episode of each environment in `which`; always both."""
        assert self._streams is not None
        return self._streams.integers(which, len(self.traces)), self._streams.uniforms(which)

    def _start_of(self, traces: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where playbacks of `traces` begin (s)."""
        return positions * self._totals[traces] if self._single.random_start else self._defaults[traces]

    def _noise(self, which: NDArray[np.int64]) -> NDArray[np.float64]:
        """Factor on the delay of each environment's next download, drawn for those in `which`."""
        if not self._single.delay_noise or not len(which):
            return self._no_noise
        assert self._streams is not None
        noise = np.ones(self.num_envs)
        noise[which] += self._single.delay_noise * (2.0 * self._streams.uniforms(which) - 1.0)
        return noise

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode in every environment; see the class for `seed` and `options`."""
        options = options or {}
        unknown = set(options) - {"trace", "start_s"}
        if unknown:
            raise ConfigError(f"unknown reset option {sorted(unknown)[0]!r}; known: trace, start_s")
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        generators = self.np_randoms
        if seeds is not None:
            if len(seeds) != self.num_envs:
                raise ConfigError(f"{len(seeds)} seeds for {self.num_envs} environments")
            for i, own in enumerate(seeds):
                if own is not None:
                    generators[i] = seeding.np_random(own)[0]
            self._streams = Streams(generators)
        every = np.arange(self.num_envs)
        traces, positions = self._draw(every)
        if "trace" in options:
            traces = self._per_env(options["trace"], np.int64)
            wrong = (traces < 0) | (traces >= len(self.traces))
            if wrong.any():
                raise ConfigError(
                    f"trace {traces[wrong][0]} is out of range: {self.traces.name} has {len(self.traces)}"
                )
        starts = self._start_of(traces, positions)
        if "start_s" in options:
            starts = self._per_env(options["start_s"], np.float64)
            wrong = ~((starts >= 0) & (starts < self._totals[traces]))
            if wrong.any():
                trace = self.traces[int(traces[wrong][0])]
                raise ConfigError(f"start_s {starts[wrong][0]:g} lies outside {trace.name} ({trace.total_s:g} s)")
        self._state.trace[:] = traces
        self._starts[:] = starts
        self._over[:] = True
        return self._advance(np.zeros(self.num_envs, np.int64))[::4]

    def _per_env(self, value: ArrayLike, kind: Any) -> NDArray[Any]:
        try:
            return np.array(np.broadcast_to(np.asarray(value, dtype=kind), self.num_envs))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"a reset option is one number, or one for each of the {self.num_envs} environments"
            ) from error

    def step(
        self, actions: ArrayLike
    ) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Download the next chunk of every episode at the levels `actions`, shape ``[n]``."""
        if self._streams is None:
            raise ConfigError("call reset before step")
        levels = np.asarray(actions).astype(np.int64, copy=False)
        if levels.shape != (self.num_envs,):
            raise ConfigError(f"actions must have shape ({self.num_envs},), got {levels.shape}")
        wrong = first_illegal(levels, self._over, self.video.levels)
        if wrong >= 0:
            raise ConfigError(
                f"action {levels[wrong]} is not a level of {self.video.name} (0 to {self.video.levels - 1})"
            )
        if self._over.any():
            which = np.flatnonzero(self._over)
            traces, positions = self._draw(which)
            self._state.trace[which] = traces
            self._starts[which] = self._start_of(traces, positions)
        return self._advance(levels)

    def _advance(self, levels: NDArray[np.int64]) -> tuple[Any, ...]:
        begins = self._over
        fetching = ~begins if self._single.first_quality is None else np.ones_like(begins)
        noise = self._noise(np.flatnonzero(fetching)) if self._single.delay_noise else self._no_noise
        out = blank_output(self.num_envs, HISTORY, self.video.levels)
        advance(levels, begins, self._starts, noise, self.links, self.rules, self._state, out)
        self._over = out.terminated.copy()
        infos = self._infos(out, begins)
        return self._observation(out), out.reward, out.terminated, np.zeros(self.num_envs, np.bool_), infos

    def _present(self) -> Written:
        """The observation of the present state, in fresh arrays."""
        out, state = blank_output(self.num_envs, HISTORY, self.video.levels), self._state
        out.throughputs[:], out.delays[:] = state.throughputs, state.delays
        out.buffer[:, 0], out.last[:] = state.buffer, state.last
        out.next_bytes[:] = self.rules.next_bytes[state.chunk]
        out.left[:, 0] = self.video.chunks - state.chunk
        return out

    @staticmethod
    def _observation(out: Written) -> dict[str, Any]:
        return {
            "throughput_mbps": out.throughputs,
            "download_time_s": out.delays,
            "buffer_s": out.buffer,
            "last_quality": out.last,
            "next_chunk_bytes": out.next_bytes,
            "chunks_left": out.left,
        }

    def _infos(self, out: Written, begins: NDArray[np.bool_]) -> dict[str, Any]:
        """Infos in Gymnasium's form: arrays, and under ``_key`` which environments have the key at this step."""
        every = np.ones(self.num_envs, np.bool_)
        infos: dict[str, Any] = {
            "action_mask": np.ones((self.num_envs, self.video.levels), np.int8),
            "_action_mask": every,
            "wall_time_s": out.terms[TERMS.index("wall_time_s")],
            "_wall_time_s": every,
        }
        started = begins.any()
        if not begins.all():
            stepped = ~begins
            for row, name in enumerate(TERMS[:-1]):
                infos[name], infos["_" + name] = out.terms[row], stepped
            infos["level"], infos["chunk"] = out.level, out.chunk
            infos["_level"] = infos["_chunk"] = stepped
        if started:
            which = np.flatnonzero(begins)
            startup = np.zeros(self.num_envs)
            stall = out.terms[TERMS.index("stall_s")]
            startup[which] = stall[which]
            stall[which] = 0.0
            infos["startup_s"] = startup
            for name, values in (("trace", self._names), ("trace_group", self._groups)):
                column = np.full(self.num_envs, None, dtype=object)
                column[which] = values[self._state.trace[which]]
                infos[name] = column
            infos["video"] = np.full(self.num_envs, None, dtype=object)
            infos["video"][which] = self.video.name
            for name in ("startup_s", "trace", "trace_group", "video"):
                infos["_" + name] = begins
        return infos

    def rollout(
        self, choice: ArrayLike | Callable[..., int], steps: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Play on from here without returning to Python: for benchmarks, searches and calibration.

        All episodes must have `steps` chunks left; none begins anew. Observations are written at every step as
        ``step`` writes them, into arrays that are used again; infos are not made.

        Args:
            choice: a table of levels ``[T, n]``, or a ``numba.njit`` rule ``(throughputs, delays, buffer_s, last,
                next_bytes, chunks_left) -> level`` that reads an episode's observation.
            steps: how many chunks, for a rule; default: to the end.

        Returns:
            ``(rewards, levels)``, both ``[T, n]``.
        """
        if self._streams is None or self._over.any():
            raise ConfigError("call reset before rollout")
        left = int(self.video.chunks - self._state.chunk.max())
        table = None if callable(choice) else np.ascontiguousarray(choice, dtype=np.int64)
        if table is not None and (table.ndim != 2 or table.shape[1] != self.num_envs):
            raise ConfigError(f"a table of levels must have shape [T, {self.num_envs}], got {list(table.shape)}")
        steps = len(table) if table is not None else left if steps is None else steps
        if not 0 < steps <= left:
            raise ConfigError(f"{steps} steps asked for, 1 to {left} are left")
        if table is not None and (table.min() < 0 or table.max() >= self.video.levels):
            raise ConfigError(f"a level of the table is not one of {self.video.name} (0 to {self.video.levels - 1})")
        noise = np.ones((steps, self.num_envs))
        if self._single.delay_noise:
            every = np.arange(self.num_envs)
            for t in range(steps):
                noise[t] = self._noise(every)
        out = self._present()
        rewards = np.empty((steps, self.num_envs))
        if table is None:
            table = np.empty((steps, self.num_envs), np.int64)
            if not play_rule(
                choice, table, self._over, self._starts, noise, self.links, self.rules, self._state, out, rewards
            ):
                self._over[:] = True  # some episodes are a chunk ahead of others: only a reset helps
                raise ConfigError(f"the rule chose a level that {self.video.name} does not have")
        else:
            play_table(table, self._over, self._starts, noise, self.links, self.rules, self._state, out, rewards)
        self._over = self._state.chunk >= self.video.chunks
        return rewards, table
