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

    def write(self, prompt: str, longest: int, opening: str = "") -> str:
        self.prompts.append(prompt)
        self.longest = longest
        return opening + self.answers.pop(0)


def _agent(*answers: str) -> text.TextAgent:
    agent = text.TextAgent.__new__(text.TextAgent)
    agent.writer, agent.longest, agent.seconds, agent.valid = Scripted(*answers), 0, [], []
    return agent


def test_an_answer_is_its_first_whole_number_if_that_is_an_action():
    answers = {"3": 3, "Action 2.": 2, "The best is 5!": 5, "6": None, "-1": None, "1.5 Mbps": None, "": None}
    assert {answer: text.parse(answer, gym.spaces.Discrete(6)) for answer in answers} == {**answers}
    assert (
        text.parse("5", gym.spaces.Discrete(3, start=4)) == 5
        and text.parse("3", gym.spaces.Discrete(3, start=4)) is None
    )


def test_an_answer_of_several_numbers_is_its_first_ones_if_there_are_enough():
    box = gym.spaces.Box(-9.0, 9.0, (2, 3), np.float32)
    found = text.parse("[1, -2.5, 3]\n[4, 5, 6] [7", box)
    assert found.tolist() == [[1, -2.5, 3], [4, 5, 6]] and box.contains(found)
    assert text.parse("[1, 2, 3] [4, 5", box) is None
    assert text.parse("[1, 2, 3] [4, 5, 10]", box) is None
    several = gym.spaces.MultiDiscrete([3, 4])
    assert text.parse("2, 3", several).tolist() == [2, 3]
    assert text.parse("2, 4", several) is None and text.parse("2.0, 3", several) is None


def test_viewports_are_asked_for_row_by_row_and_no_answer_means_the_head_stays():
    env = gym.make("netllm_gym/ViewportPrediction-v0", future=2)
    agent = _agent("1, 2, 3] [4, 5, 6]", "straight ahead")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert agent.act(observation, info).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert not agent.act(observation, info).any() and agent.valid == [True, False]
    prompt = agent.writer.prompts[0]
    assert "2 rows of 3 numbers" in prompt and prompt.count("[") == 2 * 10 and "degrees" in prompt
    assert agent.writer.longest == 36


def test_invalid_answers_are_counted_and_become_the_lowest_legal_action():
    env = gym.make("netllm_gym/ABR-v0")
    agent = _agent("4", "no idea", "3", "5")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert [agent.act(observation, info) for _ in range(3)] == [4, 0, 3]
    assert agent.act(observation, {"action_mask": np.array([0, 1, 1, 1, 1, 0])}) == 1
    assert agent.valid == [True, False, True, False] and len(agent.seconds) == 4
    prompt = agent.writer.prompts[0]
    assert "stalls are bad" in prompt and "buffer_s: 4\n" in prompt and "from 0 to 5" in prompt


def test_the_comparison_counts_and_times():
    env = gym.make("netllm_gym/ABR-v0")
    rows = text.against_head(_agent("1", "?", "1", "1"), make_agent("abr/bba"), env, 4)
    assert [row["agent"] for row in rows] == ["text prompt", "networking head"]
    assert [row["valid"] for row in rows] == [0.75, 1.0] and all(row["ms"] > 0 for row in rows)
    assert rows[0]["reward"] != rows[0]["reward_valid"] and rows[1]["reward"] == rows[1]["reward_valid"]


def test_without_a_valid_answer_there_is_no_reward_of_valid_answers():
    [row, _] = text.against_head(_agent("?", "?"), make_agent("abr/bba"), gym.make("netllm_gym/ABR-v0"), 2)
    assert row["valid"] == 0 and row["reward_valid"] is None


def test_other_actions_are_refused():
    bits = EnvInfo("toy/Bits-v0", gym.spaces.Dict({}), gym.spaces.MultiBinary(3), {}, {})
    with pytest.raises(ConfigError, match="actions that are numbers"):
        _agent().reset(bits)
    with pytest.raises(ConfigError, match="longest must not be negative"):
        text.TextAgent(longest=-1)
    with pytest.raises(ConfigError, match=r"neither a local folder.*its tokenizer is needed too"):
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
    import torch
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(8)}, unk_token="0"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0").save_pretrained(tmp_path)
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    model.lm_head.weight.data[0] *= 0.01  # the padding token, which is not written out, shall not be the answer
    model.save_pretrained(tmp_path)
    agent = text.TextAgent(str(tmp_path), longest=3)
    env = gym.make("netllm_gym/ABR-v0")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert env.action_space.contains(agent.act(observation, info))
    assert len(agent.writer.write("1 2 3", 3).split()) == 3
