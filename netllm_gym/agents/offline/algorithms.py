"""d3rlpy's discrete offline algorithms as agents: CQL, BCQ, cloning, and the decision transformer without an LLM."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netllm_gym import extras
from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.flat import ActionCode, FlatView
from netllm_gym.deprecation import renamed
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.randomness import borrowed_generators

# name -> (class of d3rlpy's configuration, whether it is a transformer)
ALGORITHMS = {
    "cql": ("DiscreteCQLConfig", False),
    "bcq": ("DiscreteBCQConfig", False),
    "bc": ("DiscreteBCConfig", False),
    "decision-transformer": ("DiscreteDecisionTransformerConfig", True),
}


@dataclass(frozen=True)
class OfflineConfig:
    """What to train.

    Attributes:
        algorithm: ``cql``, ``bcq``, ``bc`` or ``decision-transformer``.
        steps: gradient steps.
        batch_size, learning_rate: of the optimiser (Adam).
        context: steps of history the decision transformer sees.
        target_quantile: the decision transformer is asked for this quantile of the dataset's returns.
        seed: of initial weights and batches.
    """

    algorithm: str = "cql"
    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 3e-4
    context: int = 10
    target_quantile: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise UnknownNameError("offline algorithm", self.algorithm, ALGORITHMS)
        if min(self.steps, self.batch_size, self.context) < 1 or not 0 < self.target_quantile <= 1:
            raise ConfigError("steps, batch_size and context must be at least 1, target_quantile in (0, 1]")

    @property
    def transformer(self) -> bool:
        """Whether the algorithm is a decision transformer."""
        return ALGORITHMS[self.algorithm][1]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence d3rlpy's structured log and warnings; the user's configuration of structlog comes back."""
    structlog = extras.load("structlog", "d3rlpy's algorithms")
    before = structlog.get_config() if structlog.is_configured() else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
            yield
        finally:
            structlog.reset_defaults()
            if before is not None:
                structlog.configure(**before)


def _import() -> Any:
    # Legacy Gym prints its notice straight to stderr on import.
    with _quiet(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return extras.load("d3rlpy", "d3rlpy's algorithms")


def _algorithm(config: OfflineConfig, size: int, actions: int, longest: int) -> Any:
    """Build the untrained algorithm with its networks."""
    d3rlpy = _import()
    build = getattr(d3rlpy.algos, ALGORITHMS[config.algorithm][0])
    settings: dict[str, Any] = {"batch_size": config.batch_size, "learning_rate": config.learning_rate}
    if config.transformer:
        settings |= {
            "context_size": config.context,
            "max_timestep": longest + 1,
            "num_heads": 4,
            "num_layers": 2,
        }
        # A window holds `context` decisions: about as many samples as a batch of single transitions.
        settings["batch_size"] = max(1, config.batch_size // config.context)
    else:
        if config.algorithm != "bc":
            settings["gamma"] = 0.99
    with _quiet():
        d3rlpy.seed(config.seed)
        algorithm = build(**settings).create(device="cpu")
        algorithm.create_impl((size,), actions)
    return algorithm


def _modules(algorithm: Any) -> dict[str, Any]:
    """Named tensors of the networks that act (targets and optimisers are only needed to train)."""
    import torch

    tensors: dict[str, Any] = {}
    modules = algorithm.impl.modules
    for name in sorted(vars(modules)):
        module = getattr(modules, name)
        if name.startswith("targ") or not isinstance(module, torch.nn.Module):
            continue
        tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    return tensors


class QAgent(BatchAgent):
    """Greedy on the learnt action values (CQL, BCQ) or on the cloned policy (BC)."""

    kind = "d3rlpy"
    about = renamed("about", "metadata")

    def __init__(
        self, config: OfflineConfig, view: FlatView, code: ActionCode, algorithm: Any, description: dict[str, Any]
    ) -> None:
        self.config, self.view, self.code, self.algorithm, self.metadata = config, view, code, algorithm, description

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Nothing is remembered between steps; only the environments must fit."""
        for env_info in env_infos:
            self.view.require(env_info.env_id, env_info.observation_space)
            self.code.require(env_info.env_id, env_info.action_space)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the greedy action of each episode still running."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        flat = np.stack([self.view.one(observations[i]) for i in alive])
        legal = np.stack([self.code.legal(infos[i].get("action_mask")) for i in alive])
        chosen = self.algorithm.predict(flat)
        actions: list[Any] = [0] * len(observations)
        for row, i in enumerate(alive):
            number = int(chosen[row])
            if not legal[row, number]:
                number = self._best_of(flat[row], np.flatnonzero(legal[row]))
            actions[i] = self.code.decode(number)
        return actions

    def _best_of(self, flat: np.ndarray, actions: np.ndarray) -> int:
        """Return the best of some actions: by value, or by the cloned policy's score where there are no values."""
        if self.config.algorithm == "bc":
            import torch

            with torch.inference_mode():
                scores = self.algorithm.impl.modules.imitator(torch.from_numpy(flat)[None]).logits[0, actions].numpy()
        else:
            scores = self.algorithm.predict_value(np.repeat(flat[None], len(actions), 0), actions)
        return int(actions[np.argmax(scores)])

    def tensors(self) -> dict[str, Any]:
        """Everything learnt, as named tensors."""
        return _modules(self.algorithm)


class TransformerAgent(Agent):
    """d3rlpy's discrete decision transformer, asked for a high return and fed what it received."""

    kind = "d3rlpy"
    about = renamed("about", "metadata")

    def __init__(
        self, config: OfflineConfig, view: FlatView, code: ActionCode, algorithm: Any, description: dict[str, Any]
    ) -> None:
        self.config, self.view, self.code, self.algorithm, self.metadata = config, view, code, algorithm, description

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode with an empty context."""
        self.view.require(env_info.env_id, env_info.observation_space)
        self.code.require(env_info.env_id, env_info.action_space)
        d3rlpy = _import()
        self._wrapper = self.algorithm.as_stateful_wrapper(
            target_return=self.metadata["target_return"],
            action_sampler=d3rlpy.algos.GreedyTransformerActionSampler(),
        )

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Return the most likely action given the episode so far."""
        return self.code.decode(int(self._wrapper.predict(self.view.one(observation), float(info.get("reward", 0.0)))))

    def tensors(self) -> dict[str, Any]:
        """Everything learnt, as named tensors."""
        return _modules(self.algorithm)


def _dataset(experience: Experience, view: FlatView, code: ActionCode) -> Any:
    d3rlpy = _import()
    terminals = [np.eye(1, len(episode.rewards), len(episode.rewards) - 1)[0] for episode in experience.episodes]
    return d3rlpy.dataset.MDPDataset(
        np.concatenate([view.many(episode.observations) for episode in experience.episodes]),
        np.concatenate([code.encode(episode.actions) for episode in experience.episodes]).reshape(-1, 1),
        np.concatenate([episode.rewards for episode in experience.episodes]).reshape(-1, 1),
        np.concatenate(terminals),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=code.count,
    )


def as_mdp_dataset(experience: Experience) -> Any:
    """Return experience as a ``d3rlpy.dataset.MDPDataset``: flat scaled observations, numbered actions.

    ``d3rlpy.datasets.get_minari`` refuses Dict observations, which all datasets of this package have.

    Raises:
        MissingExtraError: d3rlpy is not installed.
        ConfigError: actions that are not discrete.
    """
    code = ActionCode(experience.action_space, "cql")
    with _quiet():
        return _dataset(experience, FlatView(experience.observation_space, experience.scales), code)


@borrowed_generators()  # d3rlpy draws from the global generators
def train_offline(
    config: OfflineConfig, experience: Experience, progress: Callable[[str], None] | None = None
) -> QAgent | TransformerAgent:
    """Train one of :data:`ALGORITHMS` on a dataset.

    Raises:
        MissingExtraError: d3rlpy is not installed.
        ConfigError: actions that are not discrete.
    """
    code = ActionCode(experience.action_space, config.algorithm)
    d3rlpy = _import()
    view = FlatView(experience.observation_space, experience.scales)
    longest = max(len(episode.rewards) for episode in experience.episodes)
    algorithm = _algorithm(config, view.size, code.count, longest)
    with _quiet():
        dataset = _dataset(experience, view, code)
        report = max(1, config.steps // 10)

        def each_step(_algorithm: Any, _epoch: int, step: int) -> None:
            if progress and step % report == 0:
                progress(f"{config.algorithm} step {step}/{config.steps}")

        algorithm.fit(
            dataset,
            n_steps=config.steps,
            n_steps_per_epoch=config.steps,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
            callback=each_step,
        )
    returns = [float(episode.rewards.sum()) for episode in experience.episodes]
    description = {
        "actions": code.count,
        "longest": longest,
        "target_return": float(np.quantile(returns, config.target_quantile)),
    }
    return (TransformerAgent if config.transformer else QAgent)(config, view, code, algorithm, description)


def rebuild(
    config: dict[str, Any], description: dict[str, Any], view: FlatView, code: ActionCode, tensors: dict[str, Any]
) -> QAgent | TransformerAgent:
    """Build the agent of a checkpoint from its description and tensors."""
    settings = OfflineConfig(**config)
    _import()
    with borrowed_generators():
        algorithm = _algorithm(settings, view.size, description["actions"], description["longest"])
    modules = algorithm.impl.modules
    for name in {key.partition(".")[0] for key in tensors}:
        prefix = f"{name}."
        getattr(modules, name).load_state_dict(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )
    return (TransformerAgent if settings.transformer else QAgent)(settings, view, code, algorithm, description)
