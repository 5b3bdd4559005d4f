"""`cluster/decima`: a scheduler in the line of Decima (Mao et al., SIGCOMM 2019), trained with this package.

The network (:mod:`netllm_gym.agents.cluster.decima_network`) picks a runnable stage and then how many of the
free executors to promise it. `cluster/decima` draws both from its probabilities, as the original does in evaluation
too, with draws that the episode's seed fixes; `cluster/decima-greedy` takes the most probable. How it was trained:
:mod:`netllm_gym.agents.cluster.decima_training` and the card in ``zoo/cluster-decima``. Playing needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import zoo
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_description, read_weights, rebuilding, write_checkpoint
from netllm_gym.agents.cluster.decima_network import (
    DecimaConfig,
    Floats,
    Integers,
    Network,
    States,
    best_of,
    count_options,
    read_states,
)
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.cluster.adaptive import advise, waits
from netllm_gym.errors import ConfigError

KIND = "decima"
ZOO = zoo.ROOT / "cluster-decima"
ANY = zoo.ROOT / "cluster-decima-any"


class Decima(BatchAgent):
    """Schedules by a trained network.

    Args:
        config: its widths.
        weights: as :meth:`DecimaConfig.shapes` names them.
        greedy: take the most probable decision instead of drawing one.

    Raises:
        ConfigError: weights that do not fit the widths.
    """

    kind = KIND

    def __init__(self, config: DecimaConfig, weights: Mapping[str, Floats], greedy: bool = False) -> None:
        found = {key: value.shape for key, value in weights.items()}
        if found != config.shapes():
            raise ConfigError(f"weights of shape {found} do not fit {config}")
        self.config, self.weights, self.greedy = config, dict(weights), greedy
        self.network = Network(self.weights)

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Seed each episode's draws."""
        for info in env_infos:
            if "max_stages" not in info.static:
                raise ConfigError(f"{self.name} schedules clusters, not {info.env_id}")
        self.rngs = [info.rng() for info in env_infos]
        self.moving_s = [float(info.static["moving_s"]) for info in env_infos]
        self.ends = [int(info.static["max_stages"]) for info in env_infos]

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return (row, count - 1) for each episode still running."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        seen = [observations[i] for i in alive]
        moving_s = [self.moving_s[i] for i in alive] if self.config.relative else None
        advices = None if moving_s is None else [advise(o, s) for o, s in zip(seen, moving_s, strict=True)]
        states = read_states(seen, moving_s, advices)
        rngs = [self.rngs[i] for i in alive]
        picked, number = decide(self.network, states, None if self.greedy else rngs)
        actions: list[Any] = [np.zeros(2, np.int64) for _ in observations]
        for i, row, count in zip(alive, states.row[picked], number, strict=True):
            actions[i] = np.array([row, count - 1])
        for i, advice in zip(alive, advices or (), strict=False):
            if waits(advice, infos[i]):
                actions[i] = np.array([self.ends[i], 0])
        return actions


def noise(rngs: Sequence[np.random.Generator] | None, owner: Integers) -> NDArray[np.float64] | float:
    """Return Gumbel noise for scores of `owner` ``[n]`` (rising), each owner's from its own generator."""
    if rngs is None:
        return 0.0
    sizes = np.bincount(owner, minlength=len(rngs))
    return np.concatenate([rng.gumbel(size=size) for rng, size in zip(rngs, sizes, strict=True)])


def decide(network: Network, states: States, rngs: Sequence[np.random.Generator] | None) -> tuple[Integers, Integers]:
    """Take one decision a state: draw it with the state's generator, or take the most probable one without.

    Returns:
        The picked position in `states.choice` and the number of executors, ``[s]``.
    """
    contexts = network.contexts(states)
    owner = states.choice_state
    picked = best_of(network.picks(contexts) + noise(rngs, owner), owner)
    options, state, number = count_options(states, picked)
    scores = network.amounts(contexts[picked], options, state)
    return picked, number[best_of(scores + noise(rngs, state), state)]


def save(agent: Decima, folder: str | Path, recipe: dict[str, Any], card: str) -> Path:
    """Write the checkpoint folder: weights, description with the training `recipe`, and `card` as its README."""
    description = {
        "kind": KIND, "env_id": "netllm_gym/ClusterScheduling-v0", "config": asdict(agent.config), "recipe": recipe,
    }  # fmt: skip
    return write_checkpoint(folder, description, weights=agent.weights, card=card)


def load(folder: Path, description: dict[str, Any], greedy: bool = False) -> Decima:
    """Rebuild the agent of a checkpoint folder.

    Raises:
        CheckpointError: the weights are missing, corrupt or do not fit the description.
    """
    with rebuilding(folder):
        return Decima(DecimaConfig(**description["config"]), read_weights(folder), greedy)


@register_agent("cluster/decima")
def zoo_decima() -> Decima:
    """Return the trained scheduler that comes with the package; it draws its decisions."""
    return load(ZOO, read_description(ZOO))


@register_agent("cluster/decima-greedy")
def zoo_decima_greedy() -> Decima:
    """Return the trained scheduler that comes with the package; it takes the most probable decision."""
    return load(ZOO, read_description(ZOO), greedy=True)


@register_agent("cluster/decima-any")
def zoo_decima_any() -> Decima:
    """Return the scheduler for any workload: no units, the advice of ``cluster/adaptive``, taught by rollouts."""
    return load(ANY, read_description(ANY), greedy=True)
