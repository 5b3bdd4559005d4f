"""One episode: the only loop of the package in which an agent decides and an environment answers.

Collecting, evaluating, labelling and the learners that play all use it, so latency, failures and what is refused mean
the same everywhere. :func:`play` is the door for one episode and one agent; :func:`lockstep` plays several episodes at
once, for agents that decide in batches.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import gymnasium as gym

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.answers import (
    IllegalActionError,
    ObservationError,
    is_foreign,
    legal_action,
    require_finite,
    require_mask,
    reset_answer,
    short,
    step_answer,
    total,
    with_mask,
)
from netllm_gym.envs.actions import FlatActions, with_flat_actions
from netllm_gym.envs.declared import undeclared
from netllm_gym.errors import NetLLMGymError, printable

# Observations and infos of all episodes (None where an episode is over) -> an action for each.
Decide = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]


ENDLESS = 100_000  # decisions after which somebody should hear that an episode does not end


class DecisionTimeoutError(NetLLMGymError):
    """An agent that took longer for a decision than it was given."""


@dataclass(slots=True)
class Step:
    """One decision and what came of it.

    Attributes:
        slot: number of the episode among those played in lock-step; 0 when it is played alone.
        index: number of the decision in its episode, from 0.
        observation, info: what the agent decided on.
        chosen: what the agent answered.
        action: what was played; it differs from `chosen` where an override replaced it.
        reward: what it brought.
        terminated, truncated: as the environment returned them.
        next_observation, next_info: what the environment shows now.
        seconds: wall-clock time of the decision; a batch is shared by the episodes in it.
    """

    slot: int
    index: int
    observation: Any
    info: dict[str, Any]
    chosen: Any
    action: Any
    reward: float
    terminated: bool
    truncated: bool
    next_observation: Any
    next_info: dict[str, Any]
    seconds: float


class Play:
    """An episode in progress, and its record when it is over.

    Iterating plays it to its end and yields each :class:`Step`; :meth:`run` does so in one call. Whoever stops
    iterating leaves the episode where it stands.

    Args:
        env: reset here, with `seed` and `options`.
        agent: who decides; ``None`` when the caller decides through :func:`lockstep` or :meth:`advance`.
        seed: of the environment's draws.
        options: of ``env.reset``.
        agent_seed: of the agent's draws; by default `seed`, or 0.
        override: called with this episode and the agent's action before each step; returns the action to be played.
        record_errors: write what goes wrong into `failure` and end the episode, instead of raising it.
        timeout_s: seconds that a decision may take. A decision is broken off in the main thread; elsewhere it is
            refused when it comes too late.

    Attributes:
        observation, info: the latest.
        first_info: of the reset.
        steps: decisions so far.
        rewards: float of each decision.
        seconds: wall-clock time of each decision.
        terminated, truncated: how the episode ended.
        over: whether it has ended, by itself or by a failure.
        failure: why it could not go on, as one line; empty when nothing went wrong.
        error: the exception behind `failure`.

    Raises:
        ObservationError: what ``reset`` answers cannot be used (unless `record_errors`).
    """

    def __init__(
        self,
        env: gym.Env,
        agent: Agent | None = None,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
        *,
        agent_seed: int | None = None,
        override: Callable[[Play, Any], Any] | None = None,
        record_errors: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        env = with_flat_actions(env)
        self._begin(env, agent, None, {}, override, record_errors, timeout_s)
        self.agent_seed = agent_seed if agent_seed is not None else (seed or 0)
        with self._recorded():
            self.observation, info = reset_answer(env.reset(seed=seed, options=options))
            self.info = with_mask(env, self.observation, info)
            self.first_info = dict(self.info)
            self._look()

    @classmethod
    def going_on(cls, env: gym.Env, observation: Any, info: dict[str, Any], agent: Agent | None = None) -> Play:
        """Take up an episode that somebody else began: `env` now shows `observation` and `info`."""
        play = cls.__new__(cls)
        play._begin(env, agent, observation, info, None, False, None)
        return play

    def _begin(
        self,
        env: gym.Env,
        agent: Agent | None,
        observation: Any,
        info: dict[str, Any],
        override: Callable[[Play, Any], Any] | None,
        record_errors: bool,
        timeout_s: float | None,
    ) -> None:
        self.env, self.agent = env, agent
        self.observation, self.info, self.first_info = observation, info, dict(info)
        self.override, self.record_errors, self.timeout_s = override, record_errors, timeout_s
        self.agent_seed = 0
        # Environments of this package mend masked factors themselves, and show what their spaces declare.
        self.foreign = is_foreign(env)
        self._undeclared: dict[str, str] = {}
        self.rewards: list[float] = []
        self.seconds: list[float] = []
        self.terminated = self.truncated = self.over = False
        self.failure = ""
        self.error: Exception | SystemExit | None = None
        self.slot = 0

    @property
    def steps(self) -> int:
        """Number of decisions so far."""
        return len(self.rewards)

    @property
    def agent_info(self) -> dict[str, Any]:
        """What the agent is told beside the observation: `info`, and as ``reward`` what its last action earned.

        Agents that play for a return count down what is left of it, in environments too whose ``info`` does not say.
        """
        return {**self.info, "reward": self.rewards[-1]} if self.rewards else self.info

    @property
    def total_reward(self) -> float:
        """Undiscounted return so far; infinite where no float holds it."""
        return total(self.rewards)

    def env_info(self, privileged: bool = False) -> EnvInfo:
        """Describe the episode for an agent; privileged ones are handed the simulator."""
        return EnvInfo.of(self.env, self.agent_seed, privileged)

    @property
    def notice(self) -> str:
        """What a reader should know of somebody else's environment: what it showed that its space does not declare."""
        return ", ".join(self._undeclared.values())

    def _look(self) -> None:
        try:
            require_finite(self.observation)
        except RecursionError:
            raise ObservationError("the observation holds itself, or is nested too deeply") from None
        if not self.foreign:
            return
        if not self.over:
            require_mask(self.env.action_space, self.info)
        for fault, phrase in undeclared(self.env.observation_space, self.observation):
            self._undeclared.setdefault(fault, phrase)

    def fail(self, error: Exception | SystemExit) -> None:
        """End the episode for this reason."""
        self.over, self.failure, self.error = True, reason_of(error), error

    @contextlib.contextmanager
    def _recorded(self) -> Iterator[None]:
        """Let what goes wrong in the block fail the episode, where errors are recorded."""
        try:
            yield
        except (Exception, SystemExit) as error:  # what an agent or environment does wrong fails its episode
            if not self.record_errors:
                raise
            self.fail(error)

    def played(self, chosen: Any) -> Any:
        """Return an action as the environment plays it now.

        Raises:
            IllegalActionError, ObservationError: see :func:`~netllm_gym.answers.legal_action`.
        """
        flat = self.env.flat(chosen) if isinstance(self.env, FlatActions) else chosen
        return legal_action(self.env.action_space, flat, self.info, self.foreign)

    def advance(self, chosen: Any, seconds: float = 0.0) -> Step | None:
        """Play one action; ``None`` when it failed and `record_errors` is set.

        Raises:
            IllegalActionError: the action is not in the space, or forbidden by ``info["action_mask"]``.
            ObservationError: the environment's answer cannot be used.
        """
        self.seconds.append(seconds)
        observation, info = self.observation, self.info
        with self._recorded():
            action = self.played(chosen if self.override is None else self.override(self, chosen))
            answer = step_answer(self.env.step(action))
            self.observation, reward, self.terminated, self.truncated, told = answer
            self.over = self.terminated or self.truncated
            self.info = with_mask(self.env, self.observation, told, self.over)
            self.rewards.append(reward)
            if len(self.rewards) == ENDLESS:
                warnings.warn(
                    f"an episode has {ENDLESS:,} steps and no end yet; max_episode_steps=N among the arguments of the "
                    "environment cuts episodes off",
                    stacklevel=2,
                )
            self._look()
            return Step(
                self.slot, len(self.rewards) - 1, observation, info, chosen, action, reward,
                self.terminated, self.truncated, self.observation, self.info, seconds,
            )  # fmt: skip
        return None

    def __iter__(self) -> Iterator[Step]:
        if self.agent is None:
            raise ValueError("this episode has no agent; play it with lockstep")
        for steps in lockstep([self], self.agent):
            yield from steps

    def run(self) -> Play:
        """Play to the end and return this record."""
        for _ in self:
            pass
        return self


def play(
    env: gym.Env,
    agent: Agent,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    *,
    agent_seed: int | None = None,
    override: Callable[[Play, Any], Any] | None = None,
    record_errors: bool = False,
    timeout_s: float | None = None,
) -> Play:
    """Begin one episode of `agent` in `env`; iterate over the result, or call its :meth:`~Play.run`.

    Args: see :class:`Play`.

    Example:
        >>> import gymnasium, netllm_gym
        >>> env = gymnasium.make("netllm_gym/ABR-v0")
        >>> episode = netllm_gym.play(env, netllm_gym.make_agent("abr/bba"), seed=1)
        >>> for step in episode:
        ...     pass
        >>> len(episode.rewards) == episode.steps
        True
    """
    return Play(
        env, agent, seed, options,
        agent_seed=agent_seed, override=override, record_errors=record_errors, timeout_s=timeout_s,
    )  # fmt: skip


def lockstep(plays: Sequence[Play], agent: Agent | Decide) -> Iterator[list[Step]]:
    """Play several episodes at once; yield, after each round of decisions, the steps of the episodes still open.

    Args:
        plays: episodes just begun (or gone on with). Their slots are set to their places here.
        agent: a :class:`BatchAgent`, which is reset first; a plain agent when there is one episode; or a function of
            (observations, infos) that returns one action per episode, with ``None`` in place of those that are over.

    Nobody knows which episode broke a batched decision: all open ones fail with it.
    """
    decide, decided = _decider(plays, agent)
    for slot, play in enumerate(plays):
        play.slot = slot
    while decided and (running := [play for play in plays if not play.over]):
        begin = time.perf_counter()
        try:
            with time_limit(running[0].timeout_s, len(running)):
                actions = decide(
                    [None if play.over else play.observation for play in plays],
                    [None if play.over else play.agent_info for play in plays],
                )
            if len(actions) != len(plays):
                raise IllegalActionError(f"illegal batch: {len(actions)} actions for {len(plays)} episodes")
        except (Exception, SystemExit) as error:  # the failure of every episode still open
            if not all(play.record_errors for play in running):
                raise
            for play in running:
                play.fail(error)
            return
        seconds = (time.perf_counter() - begin) / len(running)  # the cost of a decision is its share of the batch
        chosen = [(play, action) for play, action in zip(plays, actions, strict=True) if not play.over]
        steps = [play.advance(action, seconds) for play, action in chosen]
        yield [step for step in steps if step is not None]


def _decider(plays: Sequence[Play], agent: Agent | Decide) -> tuple[Decide, bool]:
    """Reset the agent; return how it decides, and whether it can (a recorded failure of its reset says no)."""
    if not isinstance(agent, Agent):
        return agent, True
    single = not isinstance(agent, BatchAgent)
    if single and len(plays) != 1:
        raise ValueError(f"{agent.name} plays one episode at a time")

    def alone(observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        return [agent.act(observations[0], infos[0])]

    running = [play for play in plays if not play.over]
    try:
        if isinstance(agent, BatchAgent) and len(plays) > 1:
            agent.reset_batch([play.env_info(agent.privileged) for play in plays])
            return agent.act_batch, True
        for play in plays:
            agent.reset(play.env_info(agent.privileged))
    except (Exception, SystemExit) as error:
        if not all(play.record_errors for play in running):
            raise
        for play in running:
            play.fail(error)
        return alone, False
    return alone, True


class _Late(BaseException):
    """Breaks off a decision; not an Exception, so that an agent's ``except Exception`` does not swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float | None, decisions: int = 1) -> Iterator[None]:
    """Give the block `seconds` for each of `decisions`; ``None`` waits for ever.

    In the main thread of a Unix process the block is broken off by a timer; elsewhere it is refused afterwards.

    Raises:
        DecisionTimeoutError: it took longer.
    """
    if seconds is None:
        yield
        return
    whole = seconds * decisions
    late = DecisionTimeoutError(f"no decision within {seconds:g} s")
    begin = time.perf_counter()
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        if time.perf_counter() - begin > whole:
            raise late
        return

    def break_off(_number: int, _frame: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, break_off)
    try:
        signal.setitimer(signal.ITIMER_REAL, whole)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Late:
        raise late from None
    finally:
        signal.signal(signal.SIGALRM, before)


def reason_of(error: Exception | SystemExit) -> str:
    """Describe why an episode failed, in one line."""
    if isinstance(error, IllegalActionError | ObservationError | DecisionTimeoutError):
        return printable(error)
    # Long enough, since what helps stands at its end.
    return f"{type(error).__name__}: {short(error, 300)}".removesuffix(": ")
