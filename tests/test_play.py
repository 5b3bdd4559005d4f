"""One episode: what is played, what is recorded, and what ends it."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import netllm_gym
from netllm_gym import evaluate, make_agent
from netllm_gym.agents.base import Agent, BatchAgent
from netllm_gym.datasets.rollout import rollout
from netllm_gym.play import (
    DecisionTimeoutError,
    IllegalActionError,
    ObservationError,
    Play,
    lockstep,
    require_finite,
    time_limit,
)

WALK = "netllm_gym_test/Walk-v0"


class Walk(gym.Env):
    """Counts to `length`; shows NaN in ``inner/x`` from step `broken` on."""

    metadata: dict[str, Any] = {}  # noqa: RUF012
    observation_space = spaces.Dict(
        {"inner": spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (2,), np.float32)}), "n": spaces.Discrete(100)}
    )
    action_space = spaces.Discrete(3, start=2)

    def __init__(self, length: int = 4, broken: int = -1):
        self.length, self.broken, self.t = length, broken, 0

    def _show(self):
        value = np.nan if 0 <= self.broken <= self.t else self.t
        return {"inner": {"x": np.full(2, value, np.float32)}, "n": self.t}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._show(), {"seed": seed, "action_mask": np.array([1, 1, 0], np.int8)}

    def step(self, action):
        self.t += 1
        return self._show(), float(action), self.t >= self.length, False, {"action_mask": np.ones(3, np.int8)}


gym.register(WALK, entry_point="tests.test_play:Walk")


class Constant(Agent):
    name = "constant"

    def __init__(self, action: int = 2):
        self.action = action

    def reset(self, env_info):
        self.env_info = env_info

    def act(self, observation, info):
        return self.action


class Both(BatchAgent):
    name = "both"

    def reset_batch(self, env_infos):
        self.asked: list[list[bool]] = []

    def act_batch(self, observations, infos):
        self.asked.append([observation is not None for observation in observations])
        return [2] * len(observations)


def test_an_episode_is_its_steps_and_its_record():
    agent = Constant(3)
    episode = netllm_gym.play(Walk(), agent, seed=7)
    steps = list(episode)
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert [int(step.observation["n"]) for step in steps] == [0, 1, 2, 3] and int(steps[-1].next_observation["n"]) == 4
    assert episode.rewards == [3.0] * 4 and episode.total_reward == 12.0 and episode.steps == 4
    assert episode.over and episode.terminated and not episode.truncated and not episode.failure
    assert len(episode.seconds) == 4 and min(episode.seconds) >= 0
    assert episode.first_info["seed"] == 7 and agent.env_info.seed == 7 and agent.env_info.simulator is None


def test_who_stops_iterating_leaves_the_episode_where_it_stands():
    episode = netllm_gym.play(Walk(), Constant())
    next(iter(episode))
    assert episode.steps == 1 and not episode.over


def test_an_override_replaces_the_action():
    episode = netllm_gym.play(Walk(), Constant(2), override=lambda play, chosen: chosen + 1)
    assert {(step.chosen, step.action) for step in episode} == {(2, 3)}


def test_lockstep_asks_for_those_that_are_open():
    plays = [Play(Walk(length)) for length in (2, 3)]
    agent = Both()
    slots = [[step.slot for step in steps] for steps in lockstep(plays, agent)]
    assert slots == [[0, 1], [0, 1], [1]] and agent.asked == [[True, True], [True, True], [False, True]]


@pytest.mark.parametrize("action", [17, 4])  # not in the space; masked out at first
def test_an_illegal_action_ends_the_episode(action):
    with pytest.raises(IllegalActionError, match=f"illegal action {action}"):
        netllm_gym.play(Walk(), Constant(action)).run()
    episode = netllm_gym.play(Walk(), Constant(action), record_errors=True).run()
    assert episode.over and episode.failure.startswith("illegal action") and not episode.terminated


@pytest.mark.parametrize(("broken", "steps"), [(0, 0), (2, 2)])
def test_an_observation_that_is_not_finite_is_named(broken, steps):
    with pytest.raises(ObservationError, match="observation 'inner/x' is not finite: it holds nan"):
        netllm_gym.play(Walk(broken=broken), Constant()).run()
    episode = netllm_gym.play(Walk(broken=broken), Constant(), record_errors=True).run()
    assert "'inner/x'" in episode.failure and episode.steps == steps
    with pytest.raises(ObservationError, match="inner/x"):
        rollout(Walk(broken=broken), Constant(), 0, 0, None)


def test_evaluation_records_the_key_of_a_broken_observation():
    frame = evaluate(WALK, [Constant(), make_agent("any/random")], {"broken": 1}, episodes=2, progress=False).frame
    assert frame["failed"].all() and frame["reason"].str.contains("observation 'inner/x' is not finite").all()


def test_a_reset_that_fails_is_the_episodes_failure():
    class Broken(Constant):
        def reset(self, env_info):
            raise KeyError("weights")

    with pytest.raises(KeyError):
        netllm_gym.play(Walk(), Broken()).run()
    assert netllm_gym.play(Walk(), Broken(), record_errors=True).run().failure == "KeyError: 'weights'"


def test_an_agent_that_hangs_is_broken_off():
    class Hangs(Constant):
        name = "hangs"

        def act(self, observation, info):
            try:
                time.sleep(60)
            except Exception:
                return 2
            return 2

    episode = netllm_gym.play(Walk(), Hangs(), record_errors=True, timeout_s=0.05).run()
    assert episode.failure == "no decision within 0.05 s" and episode.steps == 0
    with pytest.raises(DecisionTimeoutError):
        netllm_gym.play(Walk(), Hangs(), timeout_s=0.05).run()
    frame = evaluate(WALK, [Hangs(), Constant()], episodes=1, progress=False, timeout_s=0.05).frame
    assert list(frame["failed"]) == [True, False]


def test_an_agent_that_exits_fails_its_episode_alone():
    class Leaving(Agent):
        name = "me/leaving"

        def act(self, observation, info):
            raise SystemExit(3)

    frame = evaluate(agents=[Leaving()], episodes=1, progress=False).frame
    assert set(frame["reason"]) == {"SystemExit: 3"}


def test_a_time_limit_leaves_no_timer_behind():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    with time_limit(60.0):
        pass
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def test_numbers_are_looked_at_wherever_they_stand():
    graph = spaces.GraphInstance(np.zeros((2, 1)), np.array([[np.inf]]), np.zeros((1, 2), int))
    for value, key in (((0.0, [np.nan]), "1/0"), ({"g": graph}, "g/edges"), (np.float32("inf"), "")):
        with pytest.raises(ObservationError, match=f"'{key}'" if key else "observation is not finite"):
            require_finite(value)
    require_finite({"a": np.array([1]), "b": "text", "c": None, "d": (1, 2.0), "e": np.array(["x"])})


def test_there_is_one_loop():
    """Whoever takes steps in a loop of his own measures, fails and refuses in his own way."""
    package = Path(netllm_gym.__file__).parent
    wrappers = {"envs/actions.py", "envs/dict.py", "envs/cluster/padded.py", "envs/cluster/simulator.py", "sb3.py"}
    wrappers.add("answers.py")  # asks whether a seed gives the same steps twice: no agent decides, nothing is measured
    loops = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            attribute = node.func if isinstance(node, ast.Call) else None
            if not isinstance(attribute, ast.Attribute) or attribute.attr != "step" or not node.args:  # type: ignore[attr-defined]
                continue
            owner = ast.unparse(attribute.value)
            if owner.split(".")[-1] in ("env", "inner", "envs[i]", "forks[i]"):
                loops.add(path.relative_to(package).as_posix())
    assert loops - wrappers == {"play.py"}


def test_making_an_agent_leaves_the_users_generators():
    torch = pytest.importorskip("torch")
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    make_agent("viewport/gru")
    assert torch.equal(before, torch.random.get_rng_state())
