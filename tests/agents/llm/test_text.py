"""Answers in words: prompts, parsing, invalid answers, and the real model's vocabulary."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm import text
from netllm_gym.agents.llm.smollm2 import embedded_file
from netllm_gym.errors import ConfigError

pytestmark = pytest.mark.llm


class Scripted:
    """Writes given answers."""

    def __init__(self, *answers: str):
        self.answers, self.prompts = list(answers), []

    def write(self, prompt: str, longest: int) -> str:
        self.prompts.append(prompt)
        return self.answers.pop(0)


def _agent(*answers: str) -> text.TextAgent:
    agent = text.TextAgent.__new__(text.TextAgent)
    agent.writer, agent.longest, agent.seconds, agent.valid = Scripted(*answers), 8, [], []
    return agent


def test_an_answer_is_its_first_whole_number_if_that_is_an_action():
    answers = {"3": 3, "Action 2.": 2, "The best is 5!": 5, "6": None, "-1": None, "1.5 Mbps": None, "": None}
    assert {answer: text.parse(answer, 6) for answer in answers} == {**answers}


def test_invalid_answers_are_counted_and_become_the_lowest_legal_action():
    env = gym.make("netllm_gym/ABR-v0")
    agent = _agent("4", "no idea", "3", "5")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert [agent.act(observation, info) for _ in range(3)] == [4, 0, 3]
    assert agent.act(observation, {"action_mask": np.array([0, 1, 1, 1, 1, 0])}) == 1
    assert agent.valid == [True, False, True, False] and len(agent.seconds) == 4
    prompt = agent.writer.prompts[0]
    assert prompt.startswith("You control ABR.") and "buffer_s: 4" in prompt and "0 to 5" in prompt


def test_the_comparison_counts_and_times():
    env = gym.make("netllm_gym/ABR-v0")
    rows = text.against_head(_agent("1", "?", "1", "1"), make_agent("abr/bba"), env, 4)
    assert [row["agent"] for row in rows] == ["text prompt", "networking head"]
    assert [row["valid"] for row in rows] == [0.75, 1.0] and all(row["ms"] > 0 for row in rows)


def test_other_actions_are_refused():
    env = gym.make("netllm_gym/Dict-v0", env="Pendulum-v1")
    with pytest.raises(ConfigError, match="Discrete actions"):
        _agent().reset(EnvInfo.of(env))
    with pytest.raises(ConfigError, match="cannot be had with its tokenizer"):
        text.TextAgent("/no/such/model")


def test_the_embedded_model_reads_and_writes_english():
    try:
        embedded_file()
    except ConfigError as error:
        pytest.skip(str(error))
    agent = make_agent("any/llm-text", longest=4)
    words = "The capital of France is Paris, and it is the largest city in the country."
    ids = agent.writer.tokenizer.encode(words).ids
    assert ids == [504, 3575, 282, 4649, 314, 7042, 28, 284, 357, 314, 260, 3995, 2240, 281, 260, 1798, 30]
    assert agent.writer.tokenizer.decode(ids) == words
    assert agent.writer.tokenizer.encode("<|im_start|>user").ids[0] == 1
    assert "Paris" in agent.writer.write("What is the capital of France?", 12)


def test_a_model_of_transformers_writes_too(tmp_path):
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(8)}, unk_token="0"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0").save_pretrained(tmp_path)
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    agent = text.TextAgent(str(tmp_path), longest=3)
    env = gym.make("netllm_gym/ABR-v0")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert env.action_space.contains(agent.act(observation, info))
    assert len(agent.writer.write("1 2 3", 3).split()) == 3
