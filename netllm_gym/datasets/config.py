"""What to collect: the configuration of a dataset, and the digest that says whether two datasets are the same."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from netllm_gym import zoo
from netllm_gym.envs.lookup import creator_of, spec_of
from netllm_gym.errors import ConfigError
from netllm_gym.files import digest
from netllm_gym.traces.protocol import refuse_test
from netllm_gym.versions import VERSION


def has_split(env: str) -> bool:
    """Whether an environment plays a split of a trace set, and so must not be collected from on its test split.

    Raises:
        UnknownNameError: no such environment.
    """
    return "split" in inspect.signature(creator_of(spec_of(env))).parameters


MOST_EPISODES = 10_000_000


@dataclass(frozen=True)
class CollectConfig:
    """What to collect; two equal configurations give the same bytes.

    Attributes:
        env: environment id.
        agents: registered names or checkpoint folders; episode ``i`` belongs to agent ``i mod n``, so that each
            meets every trace equally often.
        episodes: how many in all; 0 plays every trace once with every agent (an environment without traces needs
            a number).
        epsilon: share of actions replaced by uniform ones (coverage).
        seed: of everything random.
        hindsight: record hindsight action values, the oracle's.
        values_of: record instead what each action earns when this agent goes on from there, see
            :mod:`netllm_gym.datasets.continuation`; a registered name or a checkpoint folder, none by default.
        teacher: record what this agent would have done in each state, a registered name or a checkpoint folder; it may
            be privileged.
        env_kwargs: of ``gym.make``, e.g. ``{"traces": "abr/fcc-hsdpa", "split": "train", "random_start": True}``.
    """

    env: str = "netllm_gym/ABR-v0"
    agents: tuple[str, ...] = ("abr/robust-mpc",)
    episodes: int = 0
    epsilon: float = 0.0
    seed: int = 0
    hindsight: bool = False
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    values_of: str = ""
    teacher: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "agents", tuple(self.agents))
        if not self.agents:
            raise ConfigError("at least one agent is needed")
        if self.episodes < 0 or not 0 <= self.epsilon <= 1:
            raise ConfigError("episodes must not be negative and epsilon must lie in [0, 1]")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        if self.episodes > MOST_EPISODES:
            raise ConfigError(f"episodes must be at most {MOST_EPISODES:,}, got {self.episodes:,}")
        if self.hindsight and self.values_of:
            raise ConfigError("action values are the oracle's (hindsight) or an agent's (values_of), not both")
        if has_split(self.env):
            refuse_test(self.env_kwargs.get("split", "test"), "collecting experience")

    @property
    def key(self) -> str:
        """Digest of the configuration, the package version, and the weights of the agents that have any."""
        names = (*self.agents, self.values_of, self.teacher)
        weights = {name: collected for name in names if name and (collected := zoo.content(name))}
        content = {**asdict(self), "version": VERSION, "checkpoints": weights}
        text = json.dumps(content, sort_keys=True)
        return digest([text.encode()])[:12]
