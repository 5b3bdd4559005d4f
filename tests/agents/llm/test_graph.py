"""Graph observations: roles by shape, padding that never matters, a pointer that is always legal, and learning."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents.llm.batches import collate  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.graph import Graph, roles  # noqa: E402
from netllm_gym.agents.llm.model import DecisionModel  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.agents.llm.trainer import train  # noqa: E402
from netllm_gym.datasets.experience import Episode, Experience  # noqa: E402
from netllm_gym.errors import ConfigError  # noqa: E402
from tests.agents.llm.toy import info_of  # noqa: E402

pytestmark = pytest.mark.llm
N, E, J, WORKERS = 6, 8, 3, 4
SPACES = {
    "stages": gym.spaces.Box(-1, np.inf, (N, 3), np.float32),  # size, ready, row of the job
    "edges": gym.spaces.Box(-1, N - 1, (E, 2), np.int32),
    "jobs": gym.spaces.Box(-1, np.inf, (J, 1), np.float32),  # urgency
    "free": gym.spaces.Box(0, WORKERS, (1,), np.float32),
}
MODALITIES = {"stages": "graph", "edges": "graph", "jobs": "graph", "free": "scalar"}
SCALES = {"stages": [4.0, 1.0, 1.0], "jobs": [1.0]}
ACTIONS = gym.spaces.MultiDiscrete([N + 1, WORKERS])


def _observation(rng: np.random.Generator) -> dict[str, np.ndarray]:
    count = int(rng.integers(3, N + 1))
    stages, jobs = np.full((N, 3), -1, np.float32), np.full((J, 1), -1, np.float32)
    edges = np.full((E, 2), -1, np.int32)
    stages[:count, 0] = rng.integers(1, WORKERS + 1, count)
    stages[:count, 1] = rng.random(count) < 0.5
    stages[:count, 2] = rng.integers(0, J, count)
    jobs[:] = rng.permutation(J)[:, None]
    for i in range(1, count):
        edges[i - 1] = i - 1, i
    return {"stages": stages, "edges": edges, "jobs": jobs, "free": np.array([WORKERS], np.float32)}


def _best(seen: dict[str, np.ndarray]) -> tuple[int, int]:
    """The ready stage of the most urgent job gets as many workers as it has tasks; none is ready: wait."""
    ready = np.flatnonzero(seen["stages"][:, 1] == 1)
    if not len(ready):
        return N, 0
    urgency = seen["jobs"][seen["stages"][ready, 2].astype(int), 0]
    stage = int(ready[urgency.argmax()])
    return stage, int(seen["stages"][stage, 0]) - 1


def _experience(seed: int, episodes: int) -> Experience:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(episodes):
        seen = [_observation(rng) for _ in range(5)]
        actions = np.array([_best(s) for s in seen])
        found.append(Episode({k: np.stack([s[k] for s in seen]) for k in SPACES}, actions, np.zeros(5), None, str(i)))
    return Experience(found, "toy/Graph-v0", {}, gym.spaces.Dict(SPACES), ACTIONS, MODALITIES, SCALES, "graph", "d")


def _graph() -> tuple[Graph, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    graph = Graph({key: SPACES[key] for key in ("stages", "edges", "jobs")}, 16, SCALES)
    seen = _observation(np.random.default_rng(3))
    return graph, {key: torch.from_numpy(seen[key])[None] for key in ("stages", "edges", "jobs")}


def test_roles_follow_from_shapes_and_a_graph_without_edges_is_refused():
    graph, _ = _graph()
    assert graph.roles == {"nodes": "stages", "edges": "edges", "groups": "jobs"}
    masks = {"node_mask": gym.spaces.MultiBinary(N), "edge_mask": gym.spaces.MultiBinary(E)}
    plain = {"nodes": SPACES["stages"], "edges": SPACES["edges"], **masks}
    assert roles(plain) == {key: key for key in plain}
    with pytest.raises(ConfigError, match="integer key of edges"):
        roles({"stages": SPACES["stages"]})
    with pytest.raises(ConfigError, match="no role in a graph of 6 nodes"):
        roles({**plain, "odd": gym.spaces.Box(0, 1, (5,))})


def test_padding_never_matters_and_renumbering_nodes_changes_no_token():
    graph, seen = _graph()
    token, nodes = graph(seen)
    count = int(nodes.mask.sum())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    moved = {key: value.clone() for key, value in seen.items()}
    moved["stages"][0, :count] = seen["stages"][0, order]
    place = torch.empty(count, dtype=torch.int32)
    place[order] = torch.arange(count, dtype=torch.int32)
    real = (seen["edges"][0] >= 0).all(-1)
    moved["edges"][0, real] = place[seen["edges"][0, real].long()]
    again, renumbered = graph(moved)
    assert torch.allclose(token, again, atol=1e-5)
    assert torch.allclose(nodes.embedding[0, order], renumbered.embedding[0, :count], atol=1e-5)
    cut = {**seen, "edges": torch.full_like(seen["edges"], -1)}
    assert not torch.allclose(token, graph(cut)[0], atol=1e-3), "edges must matter"


def test_a_pointer_s_scores_begin_with_the_features_where_it_is_told_to():
    experience = _experience(0, 1)
    parts = (experience.observation_space, ACTIONS, MODALITIES, SCALES)
    batch, found = collate(experience.episodes), []
    for weight in (0.0, 2.0):
        model = DecisionModel(LLMConfig(backbone="none", objective="cloning", pointer_skip=True), *parts).eval()
        with torch.inference_mode():
            model.encoder.graph.plain.weight[0, 0] = weight  # of the first feature as it is, not of its logarithm
            outputs, _ = model.outputs(batch["observations"], batch["actions"], batch["returns_to_go"])
        found.append(outputs[..., : N + 1])
    stages = batch["observations"]["stages"]
    there = (stages != -1).any(-1)
    added = torch.nn.functional.pad(2.0 * stages[..., 0] / SCALES["stages"][0], (0, 1))
    known = torch.nn.functional.pad(there, (0, 1), value=True)  # to wait has no features
    assert torch.allclose((found[1] - found[0])[known], added[known], atol=1e-4)
    with pytest.raises(ConfigError, match="pointer_hidden must lie in 0 … 4096, got 5000"):
        LLMConfig(pointer_hidden=5000)
    space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    for option in ({"pointer_skip": True}, {"pointer_hidden": 24}):
        config = LLMConfig(backbone="none", objective="cloning", **option)
        with pytest.raises(ConfigError, match="need a graph and an action"):
            DecisionModel(config, gym.spaces.Dict(x=space), gym.spaces.Discrete(3), {"x": "series"}, {"x": 1.0})


@pytest.mark.parametrize("changes", [{}, {"pointer_skip": True, "pointer_hidden": 24, "context": 1, "batch_size": 80}])
def test_a_pointer_learns_which_node_and_how_many_and_obeys_masks(changes, tmp_path):
    config = LLMConfig(**{
        "backbone": "tiny-random", "layers": 1, "lora_rank": 4, "objective": "cloning", "steps": 200,
        "eval_every": 100, "batch_size": 16, "learning_rate": 5e-3, **changes,
    })  # fmt: skip
    agent = make_agent(str(save(train(config, _experience(0, 150), None, tmp_path / "run"), tmp_path / "agent")))
    test = _experience(1, 20)
    right = []
    for episode in test.episodes:
        agent.reset_batch([info_of(test)])
        for t in range(len(episode)):
            seen = {key: value[t] for key, value in episode.observations.items()}
            [action] = agent.act_batch([seen], [{}])
            assert ACTIONS.contains(action)
            right.append((action == episode.actions[t]).all())
    assert np.mean(right) > 0.7

    agent.reset_batch([info_of(test)])
    seen = {key: value[0] for key, value in test.episodes[0].observations.items()}
    only = np.zeros(N + 1 + WORKERS, np.int8)
    only[1] = only[N + 1 + 2] = 1
    assert agent.act_batch([seen], [{"action_mask": only}])[0].tolist() == [1, 2]
    table = np.zeros((N + 1, WORKERS), bool)
    table[1, 3] = True
    assert agent.act_batch([seen], [{"action_mask": (only[: N + 1], table)}])[0].tolist() == [1, 3]
    with pytest.raises(ConfigError, match=r"action mask has 6 entries, the choices are \[7, 4\]"):
        agent.act_batch([seen], [{"action_mask": np.ones(6)}])
