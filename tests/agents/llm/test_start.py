"""The start token, the scale of the inputs, and what they do inside a pretrained backbone."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import gymnasium as gym  # noqa: E402
import transformers  # noqa: E402

import netllm_gym  # noqa: E402
from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents.llm.backbone import load_backbone  # noqa: E402
from netllm_gym.agents.llm.batches import collate  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.diagnostics import diagnose, residuals  # noqa: E402
from netllm_gym.agents.llm.model import DecisionModel  # noqa: E402
from netllm_gym.agents.llm.runs import choice, newest_complete  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.agents.llm.trainer import train  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError  # noqa: E402
from tests.agents.llm.toy import fresh, hidden_states, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4)
TEXT = (
    "A video player downloads a film in chunks of four seconds over a link whose rate changes. For each chunk it "
    "chooses a bitrate so that the picture is sharp and the film never stalls."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's own Llama of six blocks, with a start token."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=11, max_position_embeddings=64, bos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("llama")
    transformers.LlamaModel(config).save_pretrained(path)
    return str(path)


def _episodes(count: int) -> dict:
    env = gym.make("netllm_gym/ABR-v0", traces="abr/synthetic", split="train")
    agent, rows = make_agent("abr/robust-mpc"), []
    for seed in range(count):
        observation, info = env.reset(seed=seed)
        agent.reset(netllm_gym.EnvInfo.of(env))
        seen, over = [], False
        while not over:
            seen.append(observation)
            observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
            over = terminated or truncated
        rows.append(seen[:40])
    return {key: torch.from_numpy(np.stack([[np.asarray(o[key]) for o in r] for r in rows])) for key in rows[0][0]}


def test_with_the_start_token_steps_go_through_the_backbone_as_a_text_does():
    pytest.importorskip("tokenizers")
    env = gym.make("netllm_gym/ABR-v0").unwrapped
    parts = (env.observation_space, env.action_space, env.metadata["modalities"], env.metadata["scales"])
    backbone = load_backbone(LLMConfig(layers=4))
    seen, found = _episodes(3), {}
    for start in ("bos", "none"):
        model = DecisionModel(LLMConfig(layers=4, start=start, lora_rank=0), *parts, backbone=backbone).eval()
        found[start] = residuals(model, model.embed(seen, None, None)[0])
    text = residuals(DecisionModel(LLMConfig(layers=4, lora_rank=0), *parts, backbone=backbone).eval(),
                     backbone.words.embed(TEXT)[None])  # fmt: skip
    last = "residual_rms/3"
    assert 0.7 < found["bos"][last] / text[last] < 1.4
    assert found["none"][last] / text[last] > 2.5  # every step has become a sink
    assert found["bos"]["effective_rank"] > 1.2 * found["none"]["effective_rank"]


@pytest.mark.parametrize(
    "changes", [{}, {"start": "learnt"}, {"input_scale": "embedding"}, {"context": 3}, {"context": 1}]
)
@pytest.mark.parametrize("description", ["", "choose"])
def test_what_stands_first_is_in_the_cache_and_in_the_checkpoint(changes, description, tmp_path):
    experience = toy()
    agent = fresh(dataclasses.replace(CONFIG, **changes), experience)
    if description:
        parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
        agent.model = DecisionModel(agent.config, *parts, description=description).eval()
    ahead = agent.model.prefix_length
    assert ahead == 1 + len(description)
    batch = collate(experience.episodes[:1])
    with torch.inference_mode():
        tokens, _ = agent.model.embed(batch["observations"], None, None)
        whole = agent.model.read(tokens)[0]
        plain = agent.model._pass(torch.cat([agent.model.prefix()[None], tokens], 1))[0, ahead:]
        alone = agent.model.read(tokens[:, :1])[0]  # rows so short have the start read once for all
    assert torch.allclose(whole, plain, atol=1e-5)
    assert torch.allclose(alone, whole[:1], atol=1e-5)
    steps = agent.config.context or len(whole)
    assert torch.allclose(whole[:steps], hidden_states(agent, experience, 0)[:steps], atol=1e-5)
    again = make_agent(str(save(agent, tmp_path / "agent")))
    assert again.model.prefix_length == ahead and again.model.description == description
    assert torch.allclose(hidden_states(again, experience, 0), hidden_states(agent, experience, 0), atol=1e-4)
    other = fresh(dataclasses.replace(CONFIG, start="none"), experience)
    assert other.model.prefix_length == 0


def test_gradients_reach_what_is_read_once_for_all_rows():
    experience = toy()
    parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
    grads = []
    for checkpointing in (False, True):
        config = dataclasses.replace(CONFIG, start="learnt", gradient_checkpointing=checkpointing)
        model = DecisionModel(config, *parts, description="pick").train()
        model(**collate(experience.episodes[:4]))["loss"].backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert grads[0]["start_token"].abs().max() > 0
    assert all(torch.allclose(grads[0][key], grads[1][key], atol=1e-5) for key in grads[0])


def test_a_checkpoint_from_before_acts_as_before(tmp_path):
    experience = toy()
    agent = fresh(dataclasses.replace(CONFIG, start="none", average=0.0), experience)
    place = save(agent, tmp_path / "agent")
    about = json.loads((place / "agent.json").read_text())
    for key in ("start", "input_scale", "final_norm", "average"):
        del about["config"][key]
    (place / "agent.json").write_text(json.dumps(about))
    again = make_agent(str(place))
    assert again.config.start == "none" and again.config.average == 0.0
    assert torch.allclose(hidden_states(agent, experience, 0), hidden_states(again, experience, 0), atol=1e-4)


def test_bf16_rounds_no_frequency_and_full_tuning_keeps_its_weights_exact(folder):
    experience = toy()
    half = load_backbone(LLMConfig(backbone=folder, layers=2, dtype="bf16"))
    single = load_backbone(LLMConfig(backbone=folder, layers=2, dtype="fp32"))
    names = [name for name, _ in half.named_buffers() if "inv_freq" in name]
    assert names and all(torch.equal(half.get_buffer(name), single.get_buffer(name)) for name in names)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    config = LLMConfig(backbone=folder, layers=2, dtype="bf16", tuning="full", steps=3, eval_every=3, batch_size=4)
    model = fresh(config, experience).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    exact = fresh(dataclasses.replace(config, dtype="fp32"), experience).model
    batch = collate(experience.episodes[:2])
    with torch.no_grad():
        tokens, _ = model.embed(batch["observations"], None, None)
        difference = (model.read(tokens) - exact.read(tokens)).abs().max()
    assert 0 < difference < 0.1  # it did compute in bf16
    model(**batch)["loss"].backward()
    assert {p.grad.dtype for p in model.backbone.parameters() if p.grad is not None} == {torch.float32}


def test_the_card_s_snippet_puts_the_adapters_where_they_belong(folder, tmp_path, recwarn):
    experience = toy()
    agent = fresh(LLMConfig(backbone=folder, layers=2, lora_rank=2), experience)
    place = save(agent, tmp_path / "agent")
    about = json.loads((place / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == folder
    assert about["auto_mapping"]["num_hidden_layers"] == 2 and about["auto_mapping"]["start"] == "bos"
    [code] = re.findall(r"```python\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code.replace("this folder", str(place)), names)
    tokens = torch.randn(1, 5, 32)
    with torch.inference_mode():
        ours = agent.model._pass(tokens)
        theirs = names["model"].eval()(inputs_embeds=tokens).last_hidden_state
    assert torch.allclose(ours, theirs, atol=1e-5)
    from peft import PeftModel

    whole = PeftModel.from_pretrained(transformers.AutoModel.from_pretrained(folder), str(place))
    adapted = {name.split("layers.")[1][0] for name, _ in whole.named_parameters() if "lora_" in name}
    assert adapted == {"0", "1"}
    assert not [w for w in recwarn if "missing adapter keys" in str(w.message)]


def test_the_same_training_writes_the_same_bytes_and_keeps_averaged_weights(tmp_path):
    config = dataclasses.replace(CONFIG, steps=12, eval_every=6, batch_size=8)
    for name in ("a", "b"):
        save(train(config, toy(), toy(1, 12), tmp_path / f"{name}.run"), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "adapter_config.json" in files
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    plain = train(dataclasses.replace(config, average=0.0), toy(), toy(1, 12), tmp_path / "c.run")
    kept = make_agent(str(tmp_path / "a")).model.trainable()
    assert not all(torch.equal(value.float(), kept[key]) for key, value in plain.model.trainable().items())
    log = [json.loads(line) for line in (tmp_path / "a.run" / "log.jsonl").read_text().splitlines()]
    last = [line for line in log if "eval_loss" in line][-1]
    assert {"residual_rms/0", "residual_rms/1", "effective_rank", "top_channel"} <= set(last)
    assert sum(v for k, v in last.items() if k.startswith("gradient_share/")) == pytest.approx(1.0)
    assert last["eval_choice"] == pytest.approx(choice(last["eval_loss"], last["eval_score"]))
    assert choice(4.0, 1.0) == 2.0 and choice(-1.0, -1.0) == -1.0


def test_a_training_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path):
    config = dataclasses.replace(CONFIG, steps=12, eval_every=4, batch_size=8)
    straight = train(config, toy(), toy(1, 12), tmp_path / "straight")
    for broken in (lambda p: p.unlink(), lambda p: p.write_text('{"glob')):
        train(config, toy(), toy(1, 12), tmp_path / "killed")
        newest = tmp_path / "killed/trainer/checkpoint-12"
        broken(newest / "trainer_state.json")
        assert newest_complete(tmp_path / "killed/trainer").endswith("checkpoint-8")
        again = train(config, toy(), toy(1, 12), tmp_path / "killed")
        for key, value in straight.model.trainable().items():
            assert torch.equal(value, again.model.trainable()[key])


def test_numbers_that_are_none_are_named_by_episode_and_key(tmp_path):
    for key in ("history", "rewards"):
        data = toy(episodes=4)
        array = data.episodes[2].observations.get(key, data.episodes[2].rewards)
        array[1] = np.nan
        with pytest.raises(DatasetError, match=rf"{key} of episode 2 \(toy-2\) is not a number at step 1"):
            train(CONFIG, data, toy(1, 4), tmp_path / key)
    wild = dataclasses.replace(CONFIG, learning_rate=1e30, steps=20, eval_every=5, warmup=0, batch_size=8)
    with pytest.raises(ConfigError, match=r"diverged.*lower learning_rate"):
        train(wild, toy(), toy(1, 4), tmp_path / "wild")


def test_memory_that_is_full_names_the_options_that_lower_it(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    monkeypatch.setattr(DecisionModel, "forward", full)
    with pytest.raises(ConfigError, match=r"lower batch_size .*gradient_checkpointing=true"):
        train(CONFIG, toy(), toy(1, 4), tmp_path / "run")


def test_backbones_that_cannot_serve_are_one_line(tmp_path):
    small = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 11}
    heads = {"num_attention_heads": 4, "intermediate_size": 48}
    cases = {
        "sees later steps": transformers.BertConfig(**small, **heads),
        "key–value cache|cannot be fed|takes no embeddings": transformers.MambaConfig(**small, state_size=4),
        "cannot be fed and cached": transformers.Lfm2Config(
            **small, **heads, num_key_value_heads=2, layer_types=["conv", "full_attention"]
        ),
    }
    for match, config in cases.items():
        place = tmp_path / config.model_type
        transformers.AutoModel.from_config(config).save_pretrained(place)
        with pytest.raises(ConfigError, match=match) as caught:
            load_backbone(LLMConfig(backbone=str(place), layers=0))
        assert "\n" not in str(caught.value)


def test_a_mixture_of_experts_serves(tmp_path):
    config = transformers.MixtralConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=11, num_attention_heads=4, intermediate_size=48,
        num_key_value_heads=2, num_local_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    agent = fresh(LLMConfig(backbone=str(tmp_path), layers=1, lora_rank=4), toy(episodes=2))
    assert len(play(agent, toy(episodes=2), [0, 1])) == 2


def test_descriptions_that_are_too_long_and_choices_that_begin_elsewhere_are_one_line(folder):
    experience = toy()
    parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
    with pytest.raises(ConfigError, match=r"description of the task is .* tokens.*shorten it"):
        DecisionModel(CONFIG, *parts, description="long " * 1000)
    with pytest.raises(ConfigError, match="needs its tokenizer"):
        DecisionModel(LLMConfig(backbone=folder, layers=1), *parts, description="choose")
    agent = fresh(CONFIG, experience)
    shifted = dataclasses.replace(experience, action_space=gym.spaces.Discrete(3, start=2))
    with pytest.raises(CheckpointError, match="start 2, the agent was trained on 0"):
        play(agent, shifted, [0])


def test_shapes_without_axes_and_binary_actions_are_served():
    rng = np.random.default_rng(0)
    experience = toy(episodes=3, space=gym.spaces.MultiBinary(2))
    space = gym.spaces.Dict({"now": gym.spaces.Box(-1, 1, (), np.float32)})
    episodes = [
        dataclasses.replace(e, observations={"now": rng.random(len(e), np.float32)},
                            actions=rng.integers(0, 2, (len(e), 2)).astype(np.int8))
        for e in experience.episodes
    ]  # fmt: skip
    data = dataclasses.replace(experience, episodes=episodes, observation_space=space, modalities={"now": "scalar"})
    agent = fresh(dataclasses.replace(CONFIG, objective="cloning"), data)
    agent.model(**collate(data.episodes))["loss"].backward()
    played = play(agent, data, [0, 1, 2])
    assert all(experience.action_space.contains(action) for row in played for action in row)
    assert diagnose(agent.model, collate(data.episodes))["effective_rank"] >= 1.0


def test_a_space_that_was_changed_in_a_checkpoint_is_one_line(tmp_path):
    place = save(fresh(CONFIG, toy()), tmp_path / "agent")
    about = json.loads((place / "agent.json").read_text())
    changes = (
        {"type": "Box", "dtype": "float32", "shape": [2], "low": [0.0], "high": [1.0]},
        {"type": "Dict", "subspaces": []},
        {"type": "MultiDiscrete", "dtype": "int64", "nvec": [], "start": [0]},
        [], None, {"type": "Discrete", "n": -1},
    )  # fmt: skip
    for change in changes:
        (place / "agent.json").write_text(json.dumps({**about, "observation_space": change}))
        with pytest.raises(CheckpointError) as caught:
            make_agent(str(place))
        assert "\n" not in str(caught.value)
