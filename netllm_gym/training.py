"""Train any learner of the package on offline datasets, by the name of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.datasets.experience import merge
from netllm_gym.datasets.store import load_experience
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.traces.protocol import training

RECIPES = ("llm", "regret-mlp", "cql", "bcq", "bc", "decision-transformer")


def _config(kind: type, options: dict[str, Any], **fixed: Any) -> Any:
    known = {field.name for field in fields(kind)}
    for name in options:
        if name not in known:
            raise UnknownNameError("training option", name, known)
    return kind(**{**options, **fixed})


def train(
    recipe: str,
    datasets: Sequence[str],
    out: str | Path,
    valid: Sequence[str] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Agent:
    """Train an agent and write its checkpoint folder.

    Args:
        recipe: one of :data:`RECIPES`.
        datasets: ids of the training datasets (joined).
        out: checkpoint folder to write.
        valid: ids of the validation datasets; ``llm`` and ``regret-mlp`` choose their weights by them.
        minutes: stop the LLM's training after about so long.
        seed: of everything random.
        options: fields of the recipe's configuration class.
        say: receives a line of progress now and then.

    Raises:
        UnknownNameError: no such recipe or option.
        DatasetError: a dataset that is missing or lacks what the recipe needs.
        ConfigError: an option out of range, or no validation data where they are needed.
    """
    if recipe not in RECIPES:
        raise UnknownNameError("recipe", recipe, RECIPES)
    with training(f"training {recipe}"):
        return _train(recipe, datasets, out, valid, minutes, seed, dict(options or {}), say)


def _train(
    recipe: str,
    datasets: Sequence[str],
    out: str | Path,
    valid: Sequence[str] | None,
    minutes: float | None,
    seed: int,
    options: dict[str, Any],
    say: Callable[[str], None] | None,
) -> Agent:
    experience = merge([load_experience(name) for name in datasets])
    held_out = merge([load_experience(name) for name in valid]) if valid else None
    if recipe in ("llm", "regret-mlp") and held_out is None:
        raise ConfigError(f"{recipe} chooses its weights on validation data; name a dataset with --valid")
    if recipe == "llm":
        from netllm_gym.agents.llm.config import LLMConfig
        from netllm_gym.agents.llm.storage import save as save_llm
        from netllm_gym.agents.llm.trainer import train as train_llm

        config = _config(LLMConfig, options, seed=seed)
        # The run (resumable state, log) lies beside the checkpoint, which appears only when it is finished.
        run = Path(out).with_name(f"{Path(out).name}.run")
        llm = train_llm(config, experience, held_out, run, minutes=minutes, progress=say)
        save_llm(llm, out)
        llm.name = str(out)
        return llm
    from netllm_gym.agents.offline.checkpoint import save

    agent: Any
    if recipe == "regret-mlp":
        from netllm_gym.agents.offline.regret_mlp import RegretMLPConfig, train_regret_mlp

        assert held_out is not None
        agent = train_regret_mlp(_config(RegretMLPConfig, options, seed=seed), experience, held_out, say)
    else:
        from netllm_gym.agents.offline.algorithms import OfflineConfig, train_offline

        agent = train_offline(_config(OfflineConfig, options, seed=seed, algorithm=recipe), experience, say)
    save(agent, experience, out)
    agent.name = str(out)
    return agent
