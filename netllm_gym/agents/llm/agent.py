"""Acting: a step's tokens in, an action out, everything seen in the episode kept in the KV cache.

With ``context=K`` the agent sees the last K steps. Until K steps have passed the cache serves; from then on the
window is computed anew at every step, because the keys of a sliding cache remember what has left the window, and so
would not equal what the agent was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.llm.backbone import device_of, dtype_of
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.decode import Decoder, Memory
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.deprecation import renamed
from netllm_gym.envs.leaves import LeafView
from netllm_gym.envs.leaves import stacked as join
from netllm_gym.errors import CheckpointError, ConfigError


def differences(wanted: gym.Space, got: gym.Space, what: str) -> str | None:
    """Say in one phrase how two spaces differ in kind, keys or shape; ``None`` if an agent fits both."""
    if type(wanted) is not type(got):
        return f"{what} is a {type(got).__name__}, the agent was trained on a {type(wanted).__name__}"
    if isinstance(wanted, gym.spaces.Dict) and isinstance(got, gym.spaces.Dict):
        if odd := sorted(set(wanted.spaces) ^ set(got.spaces)):
            return f"{what} {odd[0]!r} is only on one side"
        found = (differences(wanted[key], got[key], f"{what} {key!r}") for key in wanted.spaces)
        return next((text for text in found if text), None)
    for name in ("shape", "n", "nvec", "start"):
        mine: Any = getattr(wanted, name, None)
        theirs: Any = getattr(got, name, None)
        if not np.array_equal(mine, theirs):
            return f"{what} has {name} {theirs}, the agent was trained on {mine}"
    return None


def to_device(arrays: dict[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    """Send arrays to `device` in one piece, each beginning at a multiple of 8 bytes; on the CPU they stay in place."""
    host = {key: torch.from_numpy(array) for key, array in arrays.items()}
    if device.type == "cpu":
        return host
    sizes = {key: -(-array.nbytes // 8) * 8 for key, array in arrays.items()}
    pinned = device.type == "cuda" and torch.cuda.is_available()
    buffer = torch.empty(sum(sizes.values()), dtype=torch.uint8, pin_memory=pinned)
    written, begin = buffer.numpy(), 0
    for key, array in arrays.items():
        written[begin : begin + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        begin += sizes[key]
    there = buffer.to(device, non_blocking=True)
    found, begin = {}, 0
    for key, value in host.items():
        part = there[begin : begin + value.numel() * value.element_size()]
        found[key] = part.view(value.dtype).reshape(value.shape)
        begin += sizes[key]
    return found


class LLMAgent(BatchAgent):
    """A trained (or fresh) language model as an agent; dropout off, forgets everything at each reset.

    Attributes:
        model: the network.
        temperature: 0 plays the best choice; above, choices are drawn from softmax(score / temperature), from the
            episode's own seed.
        experience: what it was trained on: ``env_id``, spaces, modalities, scales, dataset name and digest.
        results: measured at training, kept in the checkpoint.
        decisions: decisions taken since the agent was built.
    """

    about = renamed("about", "metadata")

    def __init__(
        self,
        model: DecisionModel,
        env_id: str,
        metadata: dict[str, Any],
        results: dict[str, Any],
        temperature: float = 0.0,
    ) -> None:
        if temperature < 0:
            raise ConfigError(f"temperature must not be negative, got {temperature:g}")
        if temperature > 0 and not model.head.sizes:
            raise ConfigError("temperature needs an action space of choices; Box actions are always the mean")
        self.model = model.to(device_of(model.llm_config)).eval()
        self.env_id, self.metadata, self.results = env_id, metadata, results
        self.temperature = temperature
        config = model.llm_config
        self.memoryless = config.context == 1 and not config.show_actions and not model.conditioned and not temperature
        self.merged = False
        self.decisions = 0
        self._cache: Any = None
        self._prefix: list[tuple[torch.Tensor, torch.Tensor]] | None = None  # its keys and values, read once
        self._decoder: Decoder | None = None
        self._compiled = False

    @property
    def config(self) -> LLMConfig:
        """The configuration the model was built from."""
        return self.model.llm_config

    def merge(self, merged: bool = True) -> None:
        """Fold the adapters into the frozen weights (or take them out again): the same answers, faster.

        Raises:
            ConfigError: there are no adapters, or other agents share the backbone.
        """
        if self.config.tuning != "lora":
            raise ConfigError(f"tuning {self.config.tuning} has no adapters to merge")
        tuner: Any = self.model.backbone
        if len(tuner.peft_config) > 1:
            raise ConfigError("adapters that share a backbone are swapped, not merged; load the agent by itself")
        if merged != self.merged:
            (tuner.base_model.merge_adapter if merged else tuner.base_model.unmerge_adapter)()
        self.merged = merged
        self._prefix = None

    def compile(self, backend: str = "inductor") -> None:
        """Compile the backbone by ``torch.compile``: slow first decisions (minutes for 30 layers), faster later."""
        backbone: Any = self.model.backbone
        backbone.compile(backend=backend, dynamic=True)
        self._compiled, self._prefix = True, None

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes.

        Raises:
            CheckpointError: the agent was trained on another environment.
        """
        trained: gym.Space = self.metadata["observation_space"]
        for info in env_infos:
            try:
                self._leaves = LeafView(info.observation_space, like=trained)
            except ConfigError as error:
                message = f"agent {self.name} of {self.env_id} cannot play {info.env_id}: {error}"
                raise CheckpointError(message) from None
            reason = differences(trained, self._leaves.space, "observation")
            reason = reason or differences(self.metadata["action_space"], info.action_space, "action")
            if reason:
                raise CheckpointError(f"agent {self.name} of {self.env_id} cannot play {info.env_id}: {reason}")
        count = self._rows = len(env_infos)
        self._cache = self._begin(count)
        self._returns = np.full(count, float(self.model.target_return) if self.model.conditioned else 0.0)
        self._previous = torch.zeros(count, 1, self.model.head.outputs, device=self.model.device)
        self._window: list[torch.Tensor] = []
        self._started = False
        self._rngs = [info.rng() for info in env_infos]

    @torch.inference_mode()
    def _begin(self, rows: int) -> Any:
        """A cache that holds the prefix for `rows` episodes."""
        from transformers import DynamicCache

        if self._prefix is None:
            self._prefix = [(layer.keys, layer.values) for layer in self.model.primed(1).layers]
            lean = not self._compiled and dtype_of(self.config) == torch.float32
            self._decoder = Decoder.of(self.model.backbone) if lean else None
        if self._decoder is not None:
            return Memory(self._decoder, rows, self._prefix)
        cache = DynamicCache()
        for number, (keys, values) in enumerate(self._prefix):
            shape = (rows, -1, -1, -1)
            cache.update(keys.expand(*shape), values.expand(*shape), number)
        return cache

    def read_alone(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden state after `tokens` of a step that nothing went before, ``[B, width]``; episodes are not touched."""
        return self.model.read(tokens, self._begin(len(tokens)))[:, -1]

    def _read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden state after this step's `tokens`, ``[B, width]``, having seen the steps of the context."""
        context = self.config.context
        if len(tokens) != self._rows:  # of a memoryless agent
            self._rows, self._cache, self._window = len(tokens), self._begin(len(tokens)), []
        if not context:
            return self.model.read(tokens, self._cache)[:, -1]
        slides = len(self._window) == context
        self._window = [*self._window, tokens][-context:]
        if not slides:
            return self.model.read(tokens, self._cache)[:, -1]
        window = torch.cat(self._window, dim=1)
        if isinstance(self._cache, Memory):
            self._cache.length = self.model.prefix_length
            return self.model.read(window, self._cache)[:, -1]
        return self.model.read(window, self._begin(len(tokens)))[:, -1]

    @torch.inference_mode()
    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return one action per episode; an ended episode (``None``) gets ``None``.

        An agent that remembers nothing (``memoryless``) need not be asked at every step: ``None`` passes over one.
        """
        if self._cache is None:
            raise ConfigError("reset the agent before asking for an action")
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        if not alive:
            return [None] * len(observations)
        observations = [
            None if observation is None else self._leaves.checked(observation) for observation in observations
        ]
        # Rows never look at each other, so an ended episode may repeat any live one.
        read = alive if self.memoryless else [i if observations[i] is not None else alive[0] for i in range(len(infos))]
        rows = [observations[i] for i in read]
        stacked = to_device(
            {key: join([np.asarray(row[key]) for row in rows], key)[:, None] for key in self.model.encoder.keys},
            self.model.device,
        )
        if self._started and self.model.conditioned:
            for i in alive:
                self._returns[i] -= float(infos[i].get("reward", 0.0))
        self._started = True
        returns = None
        if self.model.conditioned:
            returns = torch.tensor(self._returns, dtype=torch.float32, device=self.model.device)[:, None]
        tokens, nodes = self.model.embed(stacked, returns, self._previous[: len(rows)])
        hidden = self._read(tokens)
        here = None if nodes is None else nodes.each(lambda part: part[:, 0])
        whole = len(alive) == len(rows)
        if not whole:
            hidden = hidden[alive]
            here = None if here is None else here.each(lambda part: part[alive])
        masks, rngs = [infos[i].get("action_mask") for i in alive], [self._rngs[i] for i in alive]
        decided = self.model.head.decide(hidden, here, masks, self.temperature, rngs)
        actions: list[Any] = [None] * len(observations)
        for i, action in zip(alive, decided, strict=True):
            actions[i] = action
        if self.config.show_actions:
            played = np.stack([np.asarray(a if a is not None else actions[alive[0]]) for a in actions])
            self._previous = self.model.head.describe(torch.from_numpy(played)[:, None].to(self.model.device))
        self.decisions += len(alive)
        return actions
