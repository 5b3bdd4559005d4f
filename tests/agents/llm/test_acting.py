"""How an agent acts: sampled from the episode's seed, merged, compiled, and what it costs."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")
import gymnasium as gym  # noqa: E402

from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents.llm import cost  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.errors import ConfigError  # noqa: E402
from tests.agents.llm.toy import fresh, hidden_states, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4)
FIVE = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save(fresh(CONFIG, toy()), tmp_path_factory.mktemp("agents") / "agent"))


def test_sampling_depends_on_the_episode_s_seed_and_on_nothing_else(folder):
    experience = toy()
    agent = make_agent(folder, temperature=2.0)
    first = play(agent, experience, FIVE)
    torch.rand(3)  # the global generator is never used
    assert play(agent, experience, FIVE) == first
    assert play(agent, experience, FIVE, batch=False) == first
    assert play(agent, experience, FIVE, seed=1) != first
    greedy = play(make_agent(folder), experience, FIVE)
    assert greedy == play(make_agent(folder), experience, FIVE, seed=1)
    assert len({a for row in first for a in row}) == 3
    assert play(make_agent(folder, temperature=1e-6), experience, FIVE) == greedy


def test_merged_adapters_answer_the_same_and_are_stored_apart(folder, tmp_path):
    experience = toy()
    apart, merged = make_agent(folder), make_agent(folder, merge=True)
    assert torch.allclose(hidden_states(apart, experience, 0), hidden_states(merged, experience, 0), atol=1e-4)
    again = make_agent(str(save(merged, tmp_path / "again")))
    for key, value in apart.model.trainable().items():
        assert torch.equal(value, again.model.trainable()[key])
    with pytest.raises(ConfigError, match="no adapters to merge"):
        fresh(dataclasses.replace(CONFIG, tuning="frozen"), experience).merge()


def test_a_compiled_backbone_answers_the_same():
    experience = toy()
    agent = fresh(dataclasses.replace(CONFIG, layers=1), experience)
    before = hidden_states(agent, experience, 0)
    agent.compile(backend="eager")
    assert torch.allclose(before, hidden_states(agent, experience, 0), atol=1e-4)


def test_mistakes_about_acting_are_one_line(folder):
    with pytest.raises(ConfigError, match="must not be negative"):
        make_agent(folder, temperature=-1.0)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'temprature'"):
        make_agent(folder, temprature=1.0)
    box = toy(space=gym.spaces.Box(-0.5, 1.0, (2,)))
    continuous = fresh(dataclasses.replace(CONFIG, objective="regression"), box)
    with pytest.raises(ConfigError, match="action space of choices"):
        type(continuous)(continuous.model, "toy/Env-v0", continuous.metadata, {}, temperature=1.0)


def test_costs_are_measured_against_the_same_work(monkeypatch):
    monkeypatch.setattr(cost, "_apart", cost._train)
    rows = {row["what"]: row for row in cost.measure(CONFIG, batch=2, steps=6, repeats=1)}
    share = next(row for what, row in rows.items() if what.startswith("trainable"))
    assert 0 < share["ratio"] < 1 and share["value"] < share["against"]
    assert all(row["ratio"] > 0 for what, row in rows.items() if "memory" not in what)
    assert {row["unit"] for row in rows.values()} == {"parameters", "MB", "s", "decisions/s", "ms", "tokens/s"}
    online = next(row for what, row in rows.items() if "online (12)" in what)
    assert online["against"] > online["value"]
    limits = [row for what, row in rows.items() if what.endswith("all of it")]
    assert len(limits) == 4 and all(row["value"] > 0 for row in limits)
    assert limits[0]["value"] < limits[0]["against"], "the backbone takes some of a decision"


def test_a_step_is_the_same_gradient_in_groups_of_any_size():
    config = dataclasses.replace(CONFIG, objective="cloning", lora_dropout=0.0)
    weights = []
    for groups in (1, 4):
        model, _ = cost.build(config)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        episodes = cost.draw_episodes(4, 6)
        cost.train_step(model, optimiser, [episodes[i::groups] for i in range(groups)])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]))
    assert torch.allclose(*weights, atol=1e-4)
