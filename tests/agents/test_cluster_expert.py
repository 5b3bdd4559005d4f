"""Expert iteration: labels are kept as they were made, students without units learn from them."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.cluster.expert import ExpertConfig, rule_score, scores, train_decima
from netllm_gym.agents.cluster.labels import Labels, label
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, HASTY
from netllm_gym.envs.cluster.cluster_view import OPTIONS, ClusterView, options, relative
from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.play import Play, lockstep
from netllm_gym.traces.jobs.families import SHAPES

ID = "netllm_gym/ClusterScheduling-v0"


@pytest.fixture(scope="module")
def labels():
    return label(3, 300.0, known=0.0, limit=40, candidates=5, futures=3)


def test_labels_come_back_joined_and_selected(labels, tmp_path):
    labels.save(tmp_path / "a.npz")
    both = Labels.load([tmp_path / "a.npz", tmp_path / "a.npz"])
    assert len(labels) == 40 and len(both) == 80 and (labels.world > 0).all()
    kept = both.select(np.arange(80) >= 40)
    for k in (0, 7, 39):
        for mine, theirs in zip(labels.state(k), kept.state(k), strict=True):
            pairs = [(mine, theirs)] if isinstance(mine, np.ndarray) else [(mine[key], theirs[key]) for key in mine]
            for a, b in pairs:
                np.testing.assert_array_equal(a, b)
        _, choices, costs = labels.state(k)
        assert len(choices) == len(costs) > 1 and costs[0, 0] == 0 and scores(costs).min() == 0
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="no labels"):
        Labels.load([tmp_path / "bad.npz"])


@pytest.mark.llm
def test_a_student_learns_what_the_labels_say(labels):
    student, _ = train_decima(labels, labels, ExpertConfig(epochs=30, batch=20, embedding=8, hidden=16))
    again, _ = train_decima(labels, labels, ExpertConfig(epochs=30, batch=20, embedding=8, hidden=16))
    assert all((student.weights[key] == again.weights[key]).all() for key in student.weights)
    lines = []
    train_decima(
        labels, labels, ExpertConfig(epochs=80, batch=10, embedding=8, hidden=16, imitation=0.0), say=lines.append
    )
    assert min(float(line.split()[-1]) for line in lines) < rule_score(labels)
    env = gym.make(ID, jobs=4, executors=20, on_illegal="error")
    observation, info = env.reset(seed=0)
    student.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(student.act(observation, info))
    assert info["jobs_done"] == 4


def observations(count=12, **kwargs):
    env = gym.make(ID, jobs=8, executors=24, load=0.9, **kwargs).unwrapped
    agent = netllm_gym.make_agent("cluster/tuned")
    observation, info = env.reset(seed=1)
    agent.reset(EnvInfo.of(env))
    for _ in range(count):
        yield env, observation, info
        observation, _, _, _, info = env.step(agent.act(observation, info))


def test_the_view_has_no_units():
    for env, observation, _ in observations():
        slow = {key: value.copy() for key, value in observation.items()}
        used = slow["stages"][:, 4] >= 0
        slow["stages"][used, 1] *= 8.0
        jobs = slow["jobs"][:, 0] >= 0
        slow["jobs"][jobs, 2] *= 8.0
        bounds = env.max_stages, env.max_jobs, env.max_edges
        seen, then = ClusterView(2.0, *bounds)(observation), ClusterView(16.0, *bounds)(slow)
        for key, values in seen.items():
            np.testing.assert_allclose(values, then[key], rtol=2e-5)
        assert relative(observation)[0]["executors"][2] == pytest.approx(50.0)
        assert ClusterView(2.0, *bounds).observation_space.contains(seen)


def test_the_view_shows_what_the_rule_would_do_and_its_counts_come_back():
    rule = netllm_gym.make_agent("cluster/adaptive")
    for env, observation, info in observations():
        rule.reset(EnvInfo.of(env))
        view = ClusterView(2.0, env.max_stages, env.max_jobs, env.max_edges)
        advised = rule.act(observation, info)
        seen = view(observation)
        if advised[0] == env.max_stages:
            assert seen["stages"][:, -2].max() <= 0 and view.advice(observation).row < 0
            continue
        assert seen["stages"][:, -2].argmax() == advised[0]
        action = view.encode(advised, observation)
        assert action[1] == 0  # the first choice of a count is the rule's
        np.testing.assert_array_equal(view.decode(action, observation), advised)
        free = int(observation["executors"][0])
        mask = view.mask(info["action_mask"], env.max_stages)
        np.testing.assert_array_equal(mask[: env.max_stages], observation["stage_mask"] > 0)
        assert mask[-OPTIONS:].all() and options(3, free).max() <= free and options(3, free).min() == 1


def test_the_language_model_learns_from_labels(labels, tmp_path):
    pytest.importorskip("transformers")
    from netllm_gym.agents.cluster.expert_llm import train_llm
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.storage import save

    config = LLMConfig(
        backbone="tiny-random", objective="regret", layers=1, context=1, lora_rank=4, lora_dropout=0.0, batch_size=16,
        steps=6, eval_every=3, learning_rate=2e-3, warmup=2,
    )  # fmt: skip
    lines = []
    agent = train_llm(labels, labels, config, say=lines.append)
    assert len(lines) == 2 and agent.results["steps"] == 6
    save(agent, tmp_path / "student")
    student = netllm_gym.make_agent("cluster/llm", checkpoint=str(tmp_path / "student"))
    env = gym.make(ID, jobs=3, executors=70, on_illegal="error")
    observation, info = env.reset(seed=0)
    student.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(student.act(observation, info))
    assert info["jobs_done"] == 3
    with pytest.raises(DatasetError, match="no labels"):
        train_llm(labels.select(np.zeros(40, bool)), labels, replace(config, steps=1))


SMALL = {
    "states": 24, "valid_states": 12, "part": 12, "rounds": 2, "known": 0.0, "epochs": 1, "futures": 2, "candidates": 3,
}  # fmt: skip


@pytest.mark.llm
def test_the_recipe_labels_where_its_student_came_to_and_keeps_every_part_of_its_labels(tmp_path):
    lines: list[str] = []
    options = {**SMALL, "labels": str(tmp_path / "labels")}
    netllm_gym.train("cluster-expert", out=tmp_path / "student", options=options, say=lines.append)
    assert sum("states labelled" in line for line in lines) == 5
    assert netllm_gym.make_agent(str(tmp_path / "student")).config.relative
    last = tmp_path / "labels" / "round-1-001.npz"
    before = last.read_bytes()
    last.unlink()
    again: list[str] = []
    netllm_gym.train("cluster-expert", out=tmp_path / "sibling", options=options, seed=1, say=again.append)
    assert [line for line in again if "states labelled" in line] == ["round-1: 24 of 24 states labelled"]
    assert Labels.load([last]).choices.tobytes() == Labels.load([_kept(tmp_path, before)]).choices.tobytes()
    with pytest.raises(ConfigError, match="another futures"):
        netllm_gym.train("cluster-expert", out=tmp_path / "other", options={**options, "futures": 3})
    (tmp_path / "labels" / "labels.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        netllm_gym.train("cluster-expert", out=tmp_path / "other", options=options)


def _recipe(folder):
    return json.loads((folder / "agent.json").read_text())["recipe"]


def _kept(folder, data):
    (folder / "before.npz").write_bytes(data)
    return folder / "before.npz"


@pytest.mark.llm
def test_families_are_left_out_of_the_labels(tmp_path):
    options = {**SMALL, "rounds": 1, "states": 40, "valid_states": 40, "part": 8, "labels": str(tmp_path / "labels")}
    netllm_gym.train("cluster-expert", out=tmp_path / "all", options=options)
    labels = Labels.load(sorted((tmp_path / "labels").glob("round-0-*.npz")))
    shape = next(name for i, name in enumerate(SHAPES) if 0 < ((labels.world >> i) & 1).sum() < 40)
    without = {**options, "without": [shape]}
    netllm_gym.train("cluster-expert", out=tmp_path / "fewer", options=without)
    states = [_recipe(tmp_path / name)["states"] for name in ("all", "fewer")]
    assert states[0] == 40 > states[1] == int((((labels.world >> list(SHAPES).index(shape)) & 1) == 0).sum())
    with pytest.raises(ConfigError, match="no labels"):
        netllm_gym.train(
            "cluster-expert",
            out=tmp_path / "none",
            options={**options, "without": ["chain", "fork-join", "map-reduce", "layered", "tree", "wide"]},
        )
    with pytest.raises(UnknownNameError, match="family"):
        netllm_gym.train("cluster-expert", out=tmp_path / "none", options={**options, "without": ["cluster/other"]})
    with pytest.raises(UnknownNameError, match="student"):
        netllm_gym.train("cluster-expert", out=tmp_path / "none", options={"student": "nobody"})


@pytest.mark.parametrize("name", ["cluster/decima-any", "cluster/llm", "cluster/llm-rollout"])
def test_the_schedulers_for_any_workload_play_strictly_and_stay_near_the_rule(name):
    if name != "cluster/decima-any":
        pytest.importorskip("transformers")
    env = gym.make(ID, jobs=4, executors=20, on_illegal="error", durations="history").unwrapped
    options = {"candidates": 3, "futures": 2} if name == "cluster/llm-rollout" else {}
    agent, rule = netllm_gym.make_agent(name, **options), netllm_gym.make_agent("cluster/adaptive")
    times = []
    for one in (agent, rule):
        observation, info = env.reset(seed=0, options={"trace": 0})
        one.reset(EnvInfo.of(env))
        over = False
        while not over:
            observation, _, over, _, info = env.step(one.act(observation, info))
        assert info["jobs_done"] == 4
        times.append(info["mean_jct_s"])
    assert times[0] < 1.3 * times[1]


@pytest.mark.llm
@pytest.mark.parametrize("name", ["cluster/llm", "any/generalist"])
def test_no_model_is_asked_where_the_rule_waits_and_episodes_in_lockstep_decide_as_alone(name):
    def begin(seed):
        env = gym.make(ID, jobs=3 + seed, executors=20, may_wait=True)
        return Play(env, None, seed, options={"trace": seed}, agent_seed=seed)

    agent = netllm_gym.make_agent(name)
    together = [begin(seed) for seed in range(3)]
    waits, asked = 0, 0
    for steps in lockstep(together, agent):
        ends = [int(step.action[0]) == together[0].env.unwrapped.max_stages for step in steps]
        waits, asked = waits + sum(ends), asked + len(ends) - sum(ends)
    model = agent._network if name == "cluster/llm" else agent._active
    assert asked <= model.decisions < asked + waits  # it may end a round of its own accord
    for play in together:
        alone = begin(play.slot)
        for _ in lockstep([alone], agent):
            pass
        assert alone.info["mean_jct_s"] == play.info["mean_jct_s"]


def test_a_student_is_taught_with_the_advice_of_the_rule_that_labelled(labels):
    config = ExpertConfig(epochs=1, batch=20, embedding=8, hidden=16)
    (patient, _), (hasty, _) = (train_decima(labels, labels, config, advised=a) for a in (COEFFICIENTS, HASTY))
    assert any(not np.array_equal(patient.weights[name], hasty.weights[name]) for name in patient.weights)
    assert netllm_gym.make_agent("cluster/adaptive").coefficients.tolist() == COEFFICIENTS.tolist()


def test_the_recipe_refuses_another_rule(tmp_path):
    with pytest.raises(UnknownNameError, match="cluster/tuned"):
        netllm_gym.train("cluster-expert", out=tmp_path / "a", options={"rule": "cluster/tuned"})
