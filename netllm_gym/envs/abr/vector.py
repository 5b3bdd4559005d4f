"""Many ABR episodes at once, in compiled code: the vector entry point of ``netllm_gym/ABR-v0``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from netllm_gym.compiled import COMPILED
from netllm_gym.envs.abr import vector_kernel, vector_numpy
from netllm_gym.envs.abr.draws import Streams
from netllm_gym.envs.abr.env import ABREnv
from netllm_gym.envs.abr.vector_arrays import (
    BUFFER_S,
    CHUNK,
    LAST,
    TERMS,
    TRACE,
    Rules,
    State,
    Written,
    blank_output,
    blank_state,
    flat_links,
)
from netllm_gym.envs.abr.vector_infos import Teller
from netllm_gym.envs.actions import whole_numbers
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.reset_options import reset_options
from netllm_gym.errors import ConfigError

_log = logging.getLogger(__name__)

# Arguments of the single environment that the batched one follows; others must keep their defaults.
_FOLLOWED = {
    "traces", "split", "video", "qoe", "stall_weight", "switch_weight", "first_quality", "random_start", "delay_noise",
    "rtt_s", "payload", "buffer_cap_s", "sleep_quantum_s", "decision_latency_s",
}  # fmt: skip
# Of these, what the batched one takes only as a number.
_CONSTANT = ("rtt_s", "decision_latency_s")


def _refuse(kwargs: dict[str, Any]) -> None:
    """Refuse what only the single environment can do."""
    instead = "use vectorization_mode='sync'"
    defaults = inspect.signature(ABREnv).parameters
    for name, value in kwargs.items():
        if name in defaults and name not in _FOLLOWED and value != defaults[name].default:
            raise ConfigError(f"the batched environment has no {name}; {instead}")
        if name in _CONSTANT and not isinstance(value, Real):
            raise ConfigError(f"the batched environment takes {name} only as a number, got {value!r}; {instead}")


def _kernel(backend: str | None) -> Any:
    """The module to advance the episodes with."""
    if backend not in (None, "numba", "numpy"):
        raise ConfigError(f"backend is 'numba', 'numpy' or None (the faster one there is), got {backend!r}")
    if backend == "numba" and not COMPILED:
        raise ConfigError("backend='numba' needs numba, which is missing or disabled (NUMBA_DISABLE_JIT)")
    if backend is None and not COMPILED:
        _log.warning("numba is missing or disabled: batched ABR runs on NumPy, the same numbers, several times slower")
    return vector_kernel if backend == "numba" or (backend is None and COMPILED) else vector_numpy


def _levels(actions: ArrayLike) -> NDArray[np.int64]:
    levels = whole_numbers(actions)
    if levels is None:
        raise ConfigError(f"actions are whole numbers, one for each environment, got {repr(actions)[:80]}")
    return levels


AUTORESET = ("next_step", "same_step")


def _metadata(mode: str) -> dict[str, Any]:
    metadata = dict(ABREnv.metadata)
    modes = getattr(gym.vector, "AutoresetMode", None)  # Gymnasium >= 1.1; 1.0 has no such names
    if modes is not None:
        metadata["autoreset_mode"] = modes[mode.upper()]
    return metadata


def _autoreset(mode: Any) -> str:
    """The name of a mode, also of a member of Gymnasium's ``AutoresetMode``."""
    name = str(getattr(mode, "name", mode)).lower()
    if name not in AUTORESET:
        raise ConfigError(f"autoreset_mode is {' or '.join(AUTORESET)}, got {mode!r}")
    return name


class ABRVectorEnv(gym.vector.VectorEnv[dict[str, Any], NDArray[Any], NDArray[Any]]):
    """``num_envs`` independent episodes of :class:`ABREnv`, advanced together.

    Arguments, spaces, rewards and random draws are those of the single environment: episode ``i`` of
    ``reset(seed=s)`` is the episode of ``ABREnv.reset(seed=s + i)``, to the last bit, noise included. Memory for
    traces does not depend on ``num_envs``.

    An episode that has ended begins anew at the next step (Gymnasium's next-step autoreset): that step ignores its
    action, pays 0 and returns the first observation of the new episode, with ``trace``, ``trace_group``, ``groups``,
    ``video`` and ``startup_s`` in the infos, marked by ``_trace`` and so on. With ``autoreset_mode="same_step"`` the
    new episode begins within the step that ended the old one, whose last observation and infos stand in
    ``infos["final_obs"]`` and ``infos["final_info"]``, marked by ``_final_obs``. ``reset`` takes ``seed`` (an int, or
    one per environment) and ``options={"trace": ..., "start_s": ...}``, each a number for all or one per environment.

    Every call returns fresh arrays.

    Args:
        num_envs: number of episodes.
        backend: ``numba``, or ``numpy`` where nothing can be compiled: the same numbers to 1e-9. By default what is
            there; the log says when that is NumPy.
        autoreset_mode: ``next_step`` or ``same_step``, or a member of ``gymnasium.vector.AutoresetMode``.
        tell: fill the infos. Without, they hold only ``final_obs``: for learners that read none.
        **kwargs: of the single environment. Options that only it has are refused; of the latencies `rtt_s` and
            `decision_latency_s` must be constant.

    Raises:
        ConfigError: as the single environment, or an option that only the single environment has.
    """

    metadata: dict[str, Any] = _metadata("next_step")

    @checked
    def __init__(
        self,
        num_envs: int = 1,
        *,
        backend: str | None = None,
        autoreset_mode: Any = "next_step",
        tell: bool = True,
        **kwargs: Any,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        _refuse(kwargs)
        self._kernel = _kernel(backend)
        self._same_step, self._tell = _autoreset(autoreset_mode) == "same_step", tell
        self.metadata = _metadata(_autoreset(autoreset_mode))
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
            np.ascontiguousarray(self.qoe.per_chunk(self.video.chunks)),
            np.asarray(self.video.bitrates_kbps, dtype=np.float64) / 1000.0,
            float(self.qoe.stall_weight),
            float(self.qoe.switch_weight),
            float(single.rtt_s),
            float(self.video.chunk_s),
            float(single.buffer_cap_s),
            float(single.sleep_quantum_s),
            float(single.options.decision_latency_s),  # type: ignore[arg-type]  # a number, see _refuse
            -1 if single.first_quality is None else single.first_quality,
        )
        self._state = blank_state(num_envs)
        self._over = np.ones(num_envs, np.bool_)
        self._any_over = True
        self._starts = np.zeros(num_envs)
        self._no_noise = np.ones(num_envs)
        self._totals = np.array([trace.total_s for trace in self.traces])
        self._defaults = np.array([trace.start_s for trace in self.traces])
        self._teller = Teller(num_envs, self.traces, self.video, float(single.options.decision_latency_s))  # type: ignore[arg-type]
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
        options = reset_options(options, ("trace", "start_s"), copies=True)
        seeds = [int(seed) + i for i in range(self.num_envs)] if isinstance(seed, Integral) else seed
        generators = self.np_randoms
        if seeds is not None:
            if not isinstance(seeds, Sequence | np.ndarray) or isinstance(seeds, str):
                raise ConfigError(f"seed is a whole number, or one for each environment, got {seeds!r}")
            if len(seeds) != self.num_envs:
                raise ConfigError(f"{len(seeds)} seeds for {self.num_envs} environments")
            for i, own in enumerate(seeds):
                if own is not None:
                    generators[i] = seeding.np_random(int(own) if isinstance(own, Integral) else own)[0]
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
        self._state.indices[:, TRACE] = traces
        self._starts[:] = starts
        self._over[:] = self._any_over = True
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
        levels = _levels(actions)
        if levels.shape != (self.num_envs,):
            raise ConfigError(f"actions must have shape ({self.num_envs},), got {levels.shape}")
        wrong = self._kernel.first_illegal(levels, self._over, self.video.levels)
        if wrong >= 0:
            raise ConfigError(
                f"action {levels[wrong]} is not a level of {self.video.name} (0 to {self.video.levels - 1})"
            )
        if self._any_over:
            which = np.flatnonzero(self._over)
            traces, positions = self._draw(which)
            self._state.indices[which, TRACE] = traces
            self._starts[which] = self._start_of(traces, positions)
        return self._advance(levels)

    def _advance(self, levels: NDArray[np.int64]) -> tuple[Any, ...]:
        begins, noise = self._over, self._no_noise
        if self._single.delay_noise:
            fetching = ~begins if self._single.first_quality is None else np.ones_like(begins)
            noise = self._noise(np.flatnonzero(fetching))
        out = blank_output(self.num_envs, self.video.levels)
        begun, ended = self._kernel.advance(
            levels, begins, self._starts, noise, self.links, self.rules, self._state, out
        )
        self._over, self._any_over = out.terminated.copy(), ended > 0
        infos = self._teller.stepped(out, begins, begun, self._state.indices[:, TRACE]) if self._tell else {}
        if self._same_step and ended:
            infos = self._renew(out, infos)
        return self._observation(out), out.reward, out.terminated, np.zeros(self.num_envs, np.bool_), infos

    def _renew(self, out: Written, infos: dict[str, Any]) -> dict[str, Any]:
        """Begin anew where an episode has just ended; the new observations go to `out`, the old into the infos."""
        over, which = self._over.copy(), np.flatnonzero(self._over)
        told: dict[str, Any] = {"final_obs": {k: v.copy() for k, v in self._observation(out).items()}}
        told["final_obs"] |= {f"_{key}": over.copy() for key in list(told["final_obs"])}
        told["_final_obs"] = over
        traces, positions = self._draw(which)
        part = State(*(array[which] for array in self._state))  # type: ignore[arg-type]
        part.indices[:, TRACE] = traces
        starts = self._start_of(traces, positions)
        begins, noise = np.ones(len(which), np.bool_), np.ones(len(which))
        if self._single.delay_noise and self._single.first_quality is not None:
            noise = self._noise(which)[which]
        fresh = blank_output(len(which), self.video.levels)
        self._kernel.advance(np.zeros(len(which), np.int64), begins, starts, noise, self.links, self.rules, part, fresh)
        whole: Any
        for whole, some in zip(self._state, part, strict=True):
            whole[which] = some
        if self._tell:
            terms = np.zeros((len(TERMS), self.num_envs))
            terms[:, which] = fresh.terms
            told |= self._teller.renewed(infos, over, terms, self._state.indices[:, TRACE])
        for whole, some in zip(out[:6], fresh[:6], strict=True):
            whole[which] = some
        self._over[:] = False
        self._any_over = False
        return told

    def _present(self) -> Written:
        """The observation of the present state, in fresh arrays."""
        out, state = blank_output(self.num_envs, self.video.levels), self._state
        out.throughputs[:], out.delays[:] = state.throughputs, state.delays
        out.buffer[:, 0], out.last[:] = state.clock[:, BUFFER_S], state.indices[:, LAST]
        out.next_bytes[:] = self.rules.next_bytes[state.indices[:, CHUNK]]
        out.left[:, 0] = self.video.chunks - state.indices[:, CHUNK].astype(np.int64)
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
        if self._streams is None or self._any_over:
            raise ConfigError("call reset before rollout")
        left = int(self.video.chunks - self._state.indices[:, CHUNK].max())
        if callable(choice) and self._kernel is vector_kernel and not hasattr(choice, "py_func"):
            raise ConfigError("a rule is compiled with the environments: decorate it with numba.njit")
        table = None if callable(choice) else np.ascontiguousarray(_levels(choice))
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
            if not self._kernel.play_rule(
                choice, table, self._over, self._starts, noise, self.links, self.rules, self._state, out, rewards
            ):
                self._over[:] = self._any_over = True  # some episodes are a chunk ahead of others: only a reset helps
                raise ConfigError(f"the rule chose a level that {self.video.name} does not have")
        else:
            self._kernel.play_table(
                table, self._over, self._starts, noise, self.links, self.rules, self._state, out, rewards
            )
        self._over = self._state.indices[:, CHUNK] >= self.video.chunks
        self._any_over = bool(self._over.any())
        return rewards, table
