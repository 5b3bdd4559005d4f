"""`regret-mlp`: a small network that regresses hindsight action values, the honest small rival of the LLM.

For every state of an offline dataset the oracle's value of each action is known (the best return over the next
chunks on the trace's true future). The network predicts each action's gap to the best one, clipped at
:data:`GAP_FLOOR`, from the flat observation; the agent plays the smallest predicted gap.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netllm_gym import extras
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.flat import ActionCode, FlatView
from netllm_gym.deprecation import renamed
from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.randomness import borrowed_generators

# Beyond this loss an action is simply bad; how bad no longer matters (stalls cost 4.3 per second without end).
GAP_FLOOR = -8.0


@dataclass(frozen=True)
class RegretMLPConfig:
    """Hyper-parameters.

    Attributes:
        hidden: width of the two hidden layers.
        ensemble: networks whose predictions are averaged.
        epochs: at most; the epoch with the lowest validation loss is kept.
        patience: epochs without improvement before stopping.
        batch_size, learning_rate, weight_decay: of AdamW.
        seed: of initial weights and batches.
    """

    hidden: int = 256
    ensemble: int = 4
    epochs: int = 60
    patience: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.ensemble, self.epochs, self.patience, self.batch_size) < 1:
            raise ConfigError("hidden, ensemble, epochs, patience and batch_size must be at least 1")


def gaps(values: np.ndarray) -> np.ndarray:
    """Each action's loss against the best one, ``[T, A]`` in [:data:`GAP_FLOOR`, 0]."""
    values = np.nan_to_num(values, nan=-np.inf)  # an action that is not there now has no value
    return np.maximum(values - values.max(axis=1, keepdims=True), GAP_FLOOR)


def _stack(experience: Experience, view: FlatView) -> tuple[np.ndarray, np.ndarray]:
    if any(episode.action_values is None for episode in experience.episodes):
        raise DatasetError(
            f"dataset {experience.name} has no action values; collect it with --hindsight or --values-of"
        )
    inputs = np.concatenate([view.many(episode.observations) for episode in experience.episodes])
    targets = np.concatenate([gaps(np.asarray(episode.action_values)) for episode in experience.episodes])
    return inputs, targets.astype(np.float32)


def _network(inputs: int, hidden: int, actions: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, actions)
    )


class RegretMLP(BatchAgent):
    """Plays the action whose predicted gap to the optimum is smallest."""

    kind = "regret-mlp"
    about = renamed("about", "metadata")
    memoryless = True

    def __init__(
        self,
        config: RegretMLPConfig,
        view: FlatView,
        code: ActionCode,
        networks: Sequence[Any],
        mean: Any,
        std: Any,
        description: dict[str, Any],
    ) -> None:
        self.config, self.view, self.code, self.metadata = config, view, code, description
        self.networks = list(networks)
        self.mean, self.std = mean, std

    def predict(self, flat: np.ndarray) -> np.ndarray:
        """Predicted gaps ``[n, A]`` of flat observations ``[n, size]``."""
        import torch

        with torch.inference_mode():
            x = (torch.from_numpy(flat) - self.mean) / self.std
            return torch.stack([network(x) for network in self.networks]).mean(0).numpy()

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Nothing is remembered between steps; only the environments must fit."""
        for env_info in env_infos:
            self.view.require(env_info.env_id, env_info.observation_space)
            self.code.require(env_info.env_id, env_info.action_space)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the action of the smallest predicted gap for each episode still running."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        predicted = self.predict(np.stack([self.view.one(observations[i]) for i in alive]))
        actions: list[Any] = [0] * len(observations)
        for i, row in zip(alive, predicted, strict=True):
            legal = self.code.legal(infos[i].get("action_mask"))
            actions[i] = self.code.decode(int(np.where(legal, row, -np.inf).argmax()))
        return actions

    def tensors(self) -> dict[str, Any]:
        """Everything learnt, as named tensors."""
        tensors = {"mean": self.mean, "std": self.std}
        for i, network in enumerate(self.networks):
            tensors |= {f"network.{i}.{key}": value for key, value in network.state_dict().items()}
        return tensors


def train_regret_mlp(
    config: RegretMLPConfig,
    experience: Experience,
    valid: Experience,
    progress: Callable[[str], None] | None = None,
) -> RegretMLP:
    """Train on `experience`; the epoch with the lowest loss on `valid` is kept.

    Raises:
        DatasetError: a dataset without hindsight action values.
        MissingExtraError: torch is not installed.
    """
    torch = extras.load("torch", "regret-mlp")
    view = FlatView(experience.observation_space, experience.scales)
    code = ActionCode(experience.action_space, "regret-mlp")
    inputs, targets = (torch.from_numpy(array) for array in _stack(experience, view))
    valid_inputs, valid_targets = (torch.from_numpy(array) for array in _stack(valid, view))
    mean, std = inputs.mean(0), inputs.std(0) + 1e-3
    inputs, valid_inputs = (inputs - mean) / std, (valid_inputs - mean) / std
    networks = []
    for member in range(config.ensemble):
        generator = torch.Generator().manual_seed(config.seed * 1009 + member)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1009 + member)
            network = _network(view.size, config.hidden, targets.shape[1])
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        best, kept, waited = float("inf"), copy.deepcopy(network.state_dict()), 0
        for epoch in range(config.epochs):
            for rows in torch.randperm(len(inputs), generator=generator).split(config.batch_size):
                loss = torch.nn.functional.mse_loss(network(inputs[rows]), targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.inference_mode():
                # What matters is the loss of the chosen action, not the fit.
                chosen = network(valid_inputs).argmax(1, keepdim=True)
                regret = -float(valid_targets.gather(1, chosen).mean())
            if regret < best:
                best, kept, waited = regret, copy.deepcopy(network.state_dict()), 0
            else:
                waited += 1
            if progress:
                progress(f"network {member + 1}/{config.ensemble} epoch {epoch + 1}: valid regret {regret:.4f}")
            if waited >= config.patience:
                break
        network.load_state_dict(kept)
        networks.append(network.eval())
    return RegretMLP(config, view, code, networks, mean, std, {"actions": targets.shape[1]})


def rebuild(
    config: dict[str, Any], description: dict[str, Any], view: FlatView, code: ActionCode, tensors: dict[str, Any]
) -> RegretMLP:
    """Build the agent of a checkpoint from its description and tensors."""
    settings = RegretMLPConfig(**config)
    networks = []
    for i in range(settings.ensemble):
        with borrowed_generators():  # the first weights are drawn, then replaced
            network = _network(view.size, settings.hidden, description["actions"])
        prefix = f"network.{i}."
        network.load_state_dict(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )
        networks.append(network.eval())
    return RegretMLP(settings, view, code, networks, tensors["mean"], tensors["std"], description)
