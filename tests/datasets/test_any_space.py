"""Any Gymnasium space of arrays: collected, loaded, trained on and played; the rest refused in one line."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netllm_gym
from netllm_gym import CollectConfig, collect, evaluate
from netllm_gym.datasets.flat import ActionCode, FlatView
from netllm_gym.datasets.rollout import rollout
from netllm_gym.datasets.store import load_experience
from netllm_gym.envs.leaves import LeafView, modality_of
from netllm_gym.errors import CheckpointError, ConfigError, NetLLMGymError

ANY = "netllm_gym_test/AnySpace-v0"
GRAPH = spaces.Graph(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))

SPACES: dict[str, gym.Space] = {
    "a number": spaces.Dict({"x": spaces.Box(-1, 1, (), np.float32), "y": spaces.Discrete(3, start=-1)}),
    "nested": spaces.Dict({"a": spaces.Dict({"b": spaces.Box(0, 1, (2,)), "c": spaces.MultiBinary((2, 2))})}),
    "tuple": spaces.Tuple((spaces.Box(-1, 1, (2, 3)), spaces.MultiDiscrete([2, 3], start=[1, -4]))),
    "graph": spaces.Dict({"net": GRAPH, "load": spaces.Box(0, np.inf, (1,))}),
    "only a graph": spaces.Graph(spaces.Discrete(4), None),
    "bits": spaces.MultiBinary(5),
    "category": spaces.Discrete(4, start=7),
    "pixels": spaces.Dict({"image": spaces.Box(0, 255, (6, 5, 3), np.uint8), "keys": spaces.Discrete(2)}),
    "odd names": spaces.Dict({"a/b": spaces.Box(-1, 1, (1,)), "c.d": spaces.Discrete(2)}),
}
ACTIONS: dict[str, gym.Space] = {
    "started": spaces.Discrete(3, start=5),
    "factors": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(3),
    "a number": spaces.Box(-2, 2, (), np.float32),
    "table": spaces.Box(-1, 1, (2, 2), np.float64),
}


class AnySpace(gym.Env):
    """Shows samples of one space, takes members of another; two arguments that no JSON holds stay out of it."""

    metadata: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, shown: str = "nested", taken: str = "started"):
        self.observation_space, self.action_space = SPACES[shown], ACTIONS[taken]
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return self.observation_space.sample(), float(np.sum(action)), self.t >= 5, False, {}


gym.register(ANY, entry_point=AnySpace)


@pytest.mark.parametrize("shown", SPACES)
@pytest.mark.parametrize("taken", ["started", "table"])
def test_collected_and_loaded(shown, taken) -> None:
    name = f"netllm_gym/test/any-{list(SPACES).index(shown)}-{taken}-v0"
    config = CollectConfig(ANY, ("any/random",), 3, env_kwargs={"shown": shown, "taken": taken})
    data = collect(config, name).experience
    assert len(data) == 3 and data.steps == 15
    for episode in data.episodes:
        assert set(episode.observations) == set(data.observation_space.spaces) == set(data.modalities)  # type: ignore[attr-defined]
        for key, values in episode.observations.items():
            member = data.observation_space[key]  # type: ignore[index]
            assert values.dtype.kind != "O" and values.shape[1:] == member.shape
            assert all(member.contains(value if value.shape else value[()]) for value in values.astype(member.dtype))
        assert all(data.action_space.contains(a if a.shape else a[()]) for a in episode.actions)
    stored = minari.load_dataset(name)
    assert stored.spec.env_spec.entry_point == "tests.datasets.test_any_space:AnySpace"


@pytest.mark.parametrize("shown", SPACES)
@pytest.mark.parametrize("taken", ["started", "factors", "bits"])
def test_flat_learners_learn_and_play(shown, taken, tmp_path) -> None:
    pytest.importorskip("d3rlpy")
    kwargs = {"shown": shown, "taken": taken}
    data = collect(
        CollectConfig(ANY, ("any/random",), 3, env_kwargs=kwargs),
        f"netllm_gym/test/flat-{list(SPACES).index(shown)}-{taken}-v0",
    )
    netllm_gym.train("bc", [data], tmp_path / "bc", options={"steps": 3, "batch_size": 4})
    frame = evaluate(ANY, [str(tmp_path / "bc")], kwargs, episodes=2, seed=3, progress=False).frame
    assert not frame["failed"].any(), list(frame["reason"])
    other = "factors" if taken != "factors" else "bits"
    with pytest.raises(CheckpointError, match="trained to choose from"):
        evaluate(ANY, [str(tmp_path / "bc")], {**kwargs, "taken": other}, episodes=2, progress=False)


@pytest.mark.parametrize(
    ("space", "key"),
    [
        (spaces.Dict({"words": spaces.Text(5)}), "words"),
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Sequence(spaces.Discrete(2))})}), "a:b"),
        (spaces.Tuple((spaces.Discrete(2), spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))))), "1"),
        (spaces.Text(3), "observation"),
    ],
)
def test_what_has_no_size_is_refused_before_anything_is_played(space, key, monkeypatch) -> None:
    monkeypatch.setitem(SPACES, "refused", space)
    monkeypatch.setattr(AnySpace, "reset", lambda *_, **__: pytest.fail("it was played"))
    with pytest.raises(ConfigError, match=f"observation '{key}' is a .*no fixed size"):
        collect(CollectConfig(ANY, ("any/random",), 2, env_kwargs={"shown": "refused"}), "netllm_gym/test/no-v0")


def test_actions_that_are_no_array_are_refused(monkeypatch) -> None:
    monkeypatch.setitem(ACTIONS, "dict", spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Text(3)}))
    with pytest.raises(ConfigError, match="actions are a Dict"):
        collect(CollectConfig(ANY, ("any/random",), 2, env_kwargs={"taken": "dict"}), "netllm_gym/test/no-v0")


def test_two_keys_that_become_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="both be called 'a:b'"):
        LeafView(spaces.Dict({"a/b": spaces.Discrete(2), "a.b": spaces.Discrete(2)}))
    with pytest.raises(ConfigError, match="holds nothing"):
        LeafView(spaces.Dict({}))


def test_graphs_keep_their_nodes_and_edges() -> None:
    view = LeafView(SPACES["graph"], bounds={"net": (4, 3)})
    nodes = np.arange(6, dtype=np.float32).reshape(2, 3) / 10
    graph = spaces.GraphInstance(nodes, np.array([1]), np.array([[0, 1]]))
    flat = view({"net": graph, "load": np.ones(1, np.float32)})
    assert view.space.contains({k: np.asarray(v, view.space[k].dtype) for k, v in flat.items()})
    np.testing.assert_array_equal(flat["net:nodes"][:2], nodes)
    assert flat["net:node_mask"].tolist() == [1, 1, 0, 0] and flat["net:edge_links"].tolist() == [
        [0, 1],
        [-1, -1],
        [-1, -1],
    ]
    assert flat["net:edge_features"].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert view.modalities["net:nodes"] == "graph" and view.modalities["load"] == "scalar"
    larger = spaces.GraphInstance(np.zeros((9, 3), np.float32), None, None)
    assert view({"net": larger, "load": np.ones(1)})["net:nodes"].shape == (9, 3)


def test_a_plain_dict_is_passed_through() -> None:
    space = gym.make("netllm_gym/ABR-v0").observation_space
    view = LeafView(space)
    given = space.sample()
    assert view.plain and view(given) is given


def members(depth: int = 2) -> st.SearchStrategy[gym.Space]:
    shapes = st.lists(st.integers(1, 3), min_size=0, max_size=4).map(tuple)
    plain = st.one_of(
        st.builds(lambda s, d: spaces.Box(-2, 3, s, d), shapes, st.sampled_from([np.float32, np.float64, np.int32])),
        st.builds(lambda s: spaces.Box(0, 255, s, np.uint8), shapes),
        st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 4), st.integers(-3, 3)),
        st.builds(lambda n: spaces.MultiDiscrete(n), st.lists(st.integers(1, 3), min_size=1, max_size=3)),
        st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 3), st.just((2, 2)))),
        st.just(spaces.Graph(spaces.Box(-1, 1, (2,)), None)),
        st.just(GRAPH),
    )
    if not depth:
        return plain
    return st.one_of(
        plain,
        st.lists(members(depth - 1), min_size=1, max_size=3).map(lambda m: spaces.Tuple(tuple(m))),
        st.dictionaries(st.sampled_from("abc"), members(depth - 1), min_size=1, max_size=3).map(spaces.Dict),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(space=members(), seed=st.integers(0, 99))
def test_every_space_of_arrays_becomes_a_flat_dict(space, seed) -> None:
    SPACES["drawn"] = space
    env = AnySpace("drawn")
    record = rollout(env, netllm_gym.make_agent("any/random"), 0, seed, None)
    view = LeafView(space)
    flat = FlatView(space, {})
    env.reset(seed=seed)
    shown = [space.sample() for _ in range(3)]
    for key, member in view.space.spaces.items():
        values = record.observations[key]
        assert values.dtype.kind in "biuf" and len(values) == 6 and modality_of(member) in (
            "scalar", "series", "image", "category",
        )  # fmt: skip
    try:
        vectors = [flat.one(observation) for observation in shown]
    except ConfigError as error:  # a drawn graph that is larger than the view
        assert "fits" in str(error)
    else:
        assert {v.shape for v in vectors} == {(flat.size,)} and np.isfinite(vectors).all()


@settings(max_examples=40, deadline=None)
@given(
    space=st.one_of(
        st.builds(lambda n, s: spaces.Discrete(n, start=s), st.integers(1, 5), st.integers(-3, 3)),
        st.builds(
            lambda rows: spaces.MultiDiscrete([n for n, _ in rows], start=[s for _, s in rows]),
            st.lists(st.tuples(st.integers(1, 3), st.integers(-2, 2)), min_size=1, max_size=3),
        ),
        st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 4), st.just((2, 2)))),
    ),
    seed=st.integers(0, 99),
)
def test_actions_are_numbered_and_found_again(space, seed) -> None:
    code = ActionCode(space, "a learner")
    space.seed(seed)
    drawn = [space.sample() for _ in range(5)]
    numbers = code.encode(np.stack([np.asarray(a) for a in drawn]))
    assert all(0 <= n < code.count for n in numbers)
    for action, number in zip(drawn, numbers, strict=True):
        again = code.decode(int(number))
        assert space.contains(again) and np.array_equal(again, action)
    assert code.legal(None).all() and len(code.legal(None)) == code.count


def test_masks_of_factors_become_masks_of_combinations() -> None:
    code = ActionCode(spaces.MultiDiscrete([2, 3]), "a learner")
    legal = code.legal((np.array([1, 0]), np.array([0, 1, 1])))
    assert [code.decode(i).tolist() for i in np.flatnonzero(legal)] == [[0, 1], [0, 2]]
    with pytest.raises(ConfigError, match="needs discrete actions, not a Box"):
        ActionCode(spaces.Box(0, 1), "cql")
    with pytest.raises(ConfigError, match="at most 4096"):
        ActionCode(spaces.MultiBinary(40), "cql")


def test_cartpole_is_collected_as_it_is() -> None:
    data = load_experience(collect(CollectConfig("CartPole-v1", ("any/random",), 2), "netllm_gym/test/pole-v0"))
    assert set(data.episodes[0].observations) == {"observation"} and data.modalities == {"observation": "scalar"}


def test_classes_without_an_address_are_collected_too() -> None:
    class Local(AnySpace):
        pass

    gym.register("netllm_gym_test/Local-v0", entry_point=Local)
    name = "netllm_gym/test/local-v0"
    data = collect(CollectConfig("netllm_gym_test/Local-v0", ("any/random",), 18), name, workers=2)
    assert len(data.episodes) == 18 and minari.load_dataset(name).spec.env_spec is None


class Careless(gym.Env):
    """An environment that breaks one of its promises."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, broken: str) -> None:
        self.broken = broken

    def _seen(self):
        return np.zeros(3 if self.broken == "shape" else 2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        return self._seen(), np.array([1.0]) if self.broken == "reward" else 1.0, True, False, {}


gym.register("netllm_gym_test/Careless-v0", entry_point=Careless, disable_env_checker=True)


@pytest.mark.parametrize(
    ("broken", "message"),
    [("shape", r"has shape \(3,\), its space says \(2,\)"), ("reward", r"the reward is array\(\[1.\]\), not a number")],
)
def test_an_environment_that_breaks_its_promise_is_named_before_anything_is_written(broken, message):
    kwargs = {"env": "netllm_gym_test/Careless-v0", "env_kwargs": {"broken": broken}}
    config = CollectConfig(env="netllm_gym/Dict-v0", agents=("any/random",), episodes=2, env_kwargs=kwargs)
    with pytest.raises(NetLLMGymError, match=message):
        collect(config, "netllm_gym_test/careless-v0")


def test_more_categories_than_an_encoder_holds_are_refused_before_memory_is_taken():
    pytest.importorskip("torch")
    from netllm_gym.agents.llm.encoder import Category

    with pytest.raises(ConfigError, match="1,000,000,000 categories"):
        Category([10**9], [0], 8)


@pytest.mark.parametrize("count", [10**14, 10**30])
def test_a_number_of_episodes_that_nobody_waits_for(count):
    with pytest.raises(ConfigError, match="episodes must be at most"):
        CollectConfig(agents=("any/random",), episodes=count)
    with pytest.raises(ConfigError, match="episodes must be at most"):
        evaluate(agents=["abr/bba"], episodes=count, progress=False)


def test_numbers_beyond_float32_are_no_vector() -> None:
    space = spaces.Dict({"bytes": spaces.Box(0, np.inf, (2,), np.float64)})
    with pytest.raises(ConfigError, match=r"'bytes' holds 1e\+200, more than a network computes in"):
        FlatView(space, {}).one({"bytes": np.array([1.0, 1e200])})
    assert FlatView(space, {"bytes": 1e200}).one({"bytes": np.array([0.0, 1e200])}).tolist() == [0.0, 1.0]
