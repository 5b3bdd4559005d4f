"""Decima: the network's symmetries, legal decisions, checkpoints, resumed training, and what the weights reach."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest

from netllm_gym import EnvInfo, list_agents, make_agent, traces
from netllm_gym.agents.cluster.decima import ZOO, Decima, decide, save
from netllm_gym.agents.cluster.decima_network import (
    DecimaConfig,
    Network,
    best_of,
    count_options,
    join,
    read_states,
)
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.envs.cluster.view import longest_ways
from netllm_gym.errors import CheckpointError, ConfigError
from tests.damage import DAMAGES, damage


def drawn_weights(seed: int = 0, config: DecimaConfig | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = (config or DecimaConfig()).shapes()
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def waiting(count: int = 4, seed: int = 0) -> list[dict]:
    """Observations of crowded moments, in which several jobs have runnable stages."""
    env = ClusterSchedulingEnv(jobs=25, executors=8)
    found = []
    agent = make_agent("cluster/random")
    observation, info = env.reset(seed=seed, options={"trace": 0})
    agent.reset(EnvInfo.of(env))
    for step in range(400):
        if step % 7 == 0 and len(np.unique(observation["stages"][observation["stage_mask"] > 0, 4])) > 1:
            found.append(observation)
        observation, _, over, _, info = env.step(agent.act(observation, info))
        if over or len(found) == count:
            break
    assert len(found) == count
    return found


def play(env: ClusterSchedulingEnv, agent, trace: int = 0, seed: int = 0) -> tuple[float, list]:
    observation, info = env.reset(seed=seed, options={"trace": trace})
    agent.reset(EnvInfo.of(env, seed))
    over, actions = False, []
    while not over:
        actions.append(tuple(int(x) for x in agent.act(observation, info)))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        over = terminated or truncated
    return info["mean_jct_s"], actions


def test_the_order_of_the_stages_does_not_matter() -> None:
    network, rng = Network(drawn_weights()), np.random.default_rng(1)
    for observation in waiting():
        n = int(np.count_nonzero(observation["stages"][:, 4] >= 0))
        e = int(np.count_nonzero(observation["edges"][:, 0] >= 0))
        order = rng.permutation(n)
        at = np.argsort(order)
        other = {key: value.copy() for key, value in observation.items()}
        other["stages"][:n] = observation["stages"][order]
        other["stage_mask"][:n] = observation["stage_mask"][order]
        other["edges"][:e] = at[observation["edges"][:e]][rng.permutation(e)]
        states, shuffled = read_states([observation]), read_states([other])
        scores, again = (network.picks(network.contexts(s)) for s in (states, shuffled))
        same = np.argsort(at[states.row])  # where each runnable stage went
        np.testing.assert_array_equal(at[states.row][same], shuffled.row)
        np.testing.assert_allclose(scores[same], again, rtol=1e-4, atol=1e-5)


def test_many_states_at_once_are_scored_as_each_alone() -> None:
    network, observations = Network(drawn_weights()), waiting()
    together = read_states(observations)
    scores = network.picks(network.contexts(together))
    alone = [read_states([observation]) for observation in observations]
    np.testing.assert_allclose(
        scores, np.concatenate([network.picks(network.contexts(s)) for s in alone]), rtol=1e-4, atol=1e-5
    )
    joined = join(alone)
    for field in fields(joined):
        np.testing.assert_array_equal(getattr(joined, field.name), getattr(together, field.name))


def test_messages_reach_a_parent_from_its_whole_offspring() -> None:
    network, observation = Network(drawn_weights()), waiting()[0]
    states = read_states([observation])
    before = network.picks(network.contexts(states))
    assert states.height.max() >= 2
    # A change far below reaches a runnable stage through the levels.
    job = states.job[states.choice]
    root = int(states.choice[np.argmax(states.height[states.choice])])
    leaf = next(int(i) for i in np.flatnonzero(states.height == 0) if states.job[i] == states.job[root])
    states.features[leaf, 0] += 1.0
    after = network.picks(network.contexts(states))
    assert np.abs(after - before)[job == states.job[root]].min() > 1e-6


def test_ways_through_a_diamond() -> None:
    parent, child = np.array([0, 0, 1, 2, 0]), np.array([1, 2, 3, 3, 3])
    assert longest_ways(parent, child, np.ones(5, np.int64)).tolist() == [3, 2, 2, 1, 1]
    assert longest_ways(parent, child, np.array([1.0, 7.0, 2.0, 3.0, 9.0])).tolist() == [11.0, 10.0, 5.0, 3.0, 9.0]


def test_what_the_network_reads_of_jobs_does_not_depend_on_the_company() -> None:
    observations = waiting()
    together = read_states(observations)
    for i, observation in enumerate(observations):
        alone = read_states([observation])
        mine = together.state[together.job] == i
        np.testing.assert_allclose(together.features[mine], alone.features, rtol=1e-6)
        chosen = together.choice_state == i
        for name in ("held", "work"):
            np.testing.assert_array_equal(getattr(together, name)[chosen], getattr(alone, name))


def test_counts_never_exceed_tasks_or_executors() -> None:
    states = read_states(waiting())
    owner = states.choice_state
    picked = best_of(np.random.default_rng(0).random(len(owner)), owner)
    features, state, number = count_options(states, picked)
    assert np.isfinite(features).all() and number.min() == 1
    for s in range(len(states.free)):
        assert number[state == s].max() == states.limit[picked[s]] <= states.free[s]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("executors", [1, 13])
def test_every_decision_is_legal_whatever_the_weights(greedy: bool, executors: int) -> None:
    env = ClusterSchedulingEnv(jobs=8, executors=executors)  # raises on an illegal action
    for seed in range(2):
        jct, _ = play(env, Decima(DecimaConfig(), drawn_weights(seed), greedy), seed, seed)
        assert np.isfinite(jct) and jct > 0


def test_the_seed_fixes_the_draws_and_company_does_not_change_them() -> None:
    agent, env = Decima(DecimaConfig(), drawn_weights()), ClusterSchedulingEnv(jobs=6, executors=10)
    assert play(env, agent, 0, 3) == play(env, agent, 0, 3)
    assert play(env, agent, 0, 3)[1] != play(env, agent, 0, 4)[1]
    observations = waiting()
    infos = [EnvInfo.of(_reset(env, seed), seed) for seed in range(4)]
    agent.reset_batch(infos)
    together = agent.act_batch([*observations[:2], None, observations[3]], [{}] * 4)
    for i in (0, 1, 3):
        agent.reset(infos[i])
        assert agent.act(observations[i], {}).tolist() == together[i].tolist()


def _reset(env: ClusterSchedulingEnv, seed: int) -> ClusterSchedulingEnv:
    env.reset(seed=seed)
    return env


def test_a_checkpoint_survives_and_a_broken_one_is_one_line(tmp_path) -> None:
    config = DecimaConfig(4, 8)
    agent = Decima(config, drawn_weights(0, config))
    folder = save(agent, tmp_path / "agent", {"seed": 0}, "# card\n")
    env = ClusterSchedulingEnv(jobs=5, executors=6)
    assert play(env, make_agent(str(folder)), 1, 1) == play(env, agent, 1, 1)
    assert make_agent(str(folder), greedy=True).greedy
    for kind in DAMAGES:
        broken = tmp_path / kind
        shutil.copytree(folder, broken)
        damage(broken, kind, kept=50)
        with pytest.raises(CheckpointError) as caught:
            make_agent(str(broken))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="unexpected keyword"):
        make_agent(str(folder), temperature=1.0)


def test_an_abr_episode_is_refused() -> None:
    import gymnasium as gym

    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="schedules clusters"):
        Decima(DecimaConfig(), drawn_weights()).reset(EnvInfo.of(env))


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    from netllm_gym.agents.cluster.decima_training import judge, torch_operations

    weights, states = drawn_weights(), read_states(waiting())
    ours = Network(weights)
    theirs = Network({name: torch.from_numpy(value) for name, value in weights.items()}, torch_operations())
    np.testing.assert_allclose(ours.contexts(states), theirs.contexts(states).numpy(), rtol=1e-4, atol=1e-4)
    picked, number = decide(ours, states, None)
    best, _ = judge(theirs, states, picked, number)
    other, entropy = judge(theirs, states, picked, np.where(number > 1, 1, np.minimum(2, states.limit[picked])))
    assert (best >= other - 1e-5).all() and (best <= 0).all() and entropy > 0


def test_equal_rollouts_have_no_advantage_and_a_late_job_costs_its_decision() -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.cluster.decima_episodes import Moment, advantages

    states = read_states(waiting(1) * 2)
    none = np.zeros(2, np.int64)

    def course(rewards: list[list[float]]) -> list[Moment]:
        return [
            Moment(states, np.arange(2), none, none, np.full(2, 10.0 * k), np.array(pair))
            for k, pair in enumerate(rewards)
        ]

    equal, fit, _ = advantages(course([[-10.0, -10.0], [-20.0, -20.0], [-5.0, -5.0]]), 2, 200.0, 100.0)
    np.testing.assert_allclose(np.concatenate(equal), 0.0, atol=1e-9)
    assert fit == pytest.approx(1.0)
    unlike, _, spread = advantages(course([[-10.0, -10.0], [-20.0, -40.0], [-5.0, -5.0]]), 2, 200.0, 100.0)
    assert unlike[1][0] * spread > 5 and unlike[1][1] * spread < -5
    assert abs(unlike[2][0]) < 1e-9


def test_a_run_that_stops_and_goes_on_ends_where_an_unbroken_one_ends(tmp_path) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.cluster.decima_training import DecimaTraining, Trainer

    config = DecimaTraining(
        imitation=1, iterations=3, sequences=2, rollouts=2, jobs=4, executors=(8, 5), epochs=1, batch=64, check_every=1,
        check_sequences=2, check_jobs=4, embedding=4, hidden=8,
    )  # fmt: skip
    sets = traces.load("cluster/synthetic", "train"), traces.load("cluster/synthetic", "valid")
    whole = Trainer(config, *sets, tmp_path / "whole")
    agent = whole.train()
    Trainer(config, *sets, tmp_path / "halted").train(minutes=0.0)
    halted = Trainer(config, *sets, tmp_path / "halted")
    line = halted.iterate()
    halted.store({**line, "valid_jct_s": 0.0})
    again = Trainer(config, *sets, tmp_path / "halted")
    assert again.iteration == 1
    again.train()
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(value.detach().numpy(), again.weights[name].detach().numpy())
    lines = [
        [json.loads(text) for text in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "halted")
    ]
    assert lines[0][1:] == lines[1][1:] and {**lines[0][0], "valid_jct_s": 0.0} == lines[1][0]
    assert "cross_entropy" in lines[0][0] and "entropy" in lines[0][2]
    assert isinstance(agent, Decima)
    with pytest.raises(ConfigError, match="other hyper-parameters"):
        Trainer(DecimaTraining(iterations=4), *sets, tmp_path / "whole")


def test_training_goes_on_from_a_network_of_the_same_widths(tmp_path) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.cluster.decima_training import DecimaTraining, Trainer

    widths = DecimaConfig(4, 8)
    start = Decima(widths, drawn_weights(0, widths))
    sets = traces.load("cluster/synthetic", "train"), traces.load("cluster/synthetic", "valid")
    config = DecimaTraining(teacher="", imitation=0, embedding=4, hidden=8)
    trainer = Trainer(config, *sets, tmp_path / "run", start)
    for name, value in trainer.weights.items():
        np.testing.assert_array_equal(value.detach().numpy(), start.weights[name])
    assert {env.executors for env in trainer.envs} == {50, 30} and {env.executors for env in trainer.check_envs} == {50}
    with pytest.raises(ConfigError, match="start from"):
        Trainer(DecimaTraining(), *sets, tmp_path / "run", start)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollouts": 1},
        {"jobs": 0},
        {"executors": ()},
        {"average": 1.0},
        {"teacher": ""},
        {"horizon_s": 0.0},
        {"entropy": 0.0},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.cluster.decima_training import DecimaTraining

    with pytest.raises(ConfigError):
        DecimaTraining(**wrong)


def test_the_weights_are_small_and_nothing_else_is_shipped() -> None:
    assert {"cluster/decima", "cluster/decima-greedy"} <= set(list_agents("cluster"))
    assert sorted(path.name for path in ZOO.iterdir()) == [
        "README.md",
        "agent.json",
        "recipe.toml",
        "weights.safetensors",
    ]
    assert (ZOO / "weights.safetensors").stat().st_size < 1_000_000


def test_the_shipped_weights_beat_fair_even_on_jobs_they_never_saw() -> None:
    # Drawn decisions only: the most probable ones lose to Fair on this workload (docs/envs/cluster.md).
    env = ClusterSchedulingEnv("cluster/synthetic", "valid", jobs=60)
    agent, fair = make_agent("cluster/decima"), make_agent("cluster/fair")
    gains = [play(env, fair, k, k)[0] - play(env, agent, k, k)[0] for k in range(5)]
    assert np.mean(gains) > 0 and sum(gain > 0 for gain in gains) >= 4
