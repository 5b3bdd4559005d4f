"""One model for all tasks: one backbone, one adapter, encoders by modality, heads by action space, the task in words.

Every task's model is a :class:`DecisionModel` on the same backbone with the same adapter; what their encoders and heads
have in common is shared (:mod:`netllm_gym.agents.llm.shared`). Before an episode the backbone reads the task in words.
A step of training takes windows of every task, and minimises the mean logarithm of their losses: a tenth less of a loss
counts the same in every task and at every time, however large the loss was at first. Validation counts each task's
loss as a share of what the untrained model loses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import load_backbone
from netllm_gym.agents.llm.batches import collate, windows
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.descriptions import description_of
from netllm_gym.agents.llm.model import DecisionModel, with_lora
from netllm_gym.agents.llm.shared import Bank
from netllm_gym.agents.llm.trainer import agent_metadata, check, fit, fit_statistics, same_run
from netllm_gym.agents.llm.views import View, view_of
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError
from netllm_gym.plugins import plain_id

# A loss below this share of the untrained model's counts as learnt: its logarithm would outweigh every other task.
NEARLY_NOTHING = 1e-3
# What a generalist that is taught another task keeps of its own options.
BODY = (
    "backbone", "layers", "weights", "tuning", "start", "input_scale", "final_norm", "tokens", "lora_rank",
    "lora_alpha", "lora_dropout", "lora_targets", "dtype", "four_bit",
)  # fmt: skip
# Of each task for itself.
STATISTICS = ("return_scale", "target_return", "head.mean", "head.std")


@dataclass(frozen=True)
class Lesson:
    """One task of a generalist's training.

    Attributes:
        experience, valid: what to learn from and what to choose weights by.
        objective, regression_loss, context: of this task, as in :class:`LLMConfig`.
        windows: of this task in every step.
        description: in words; by default :func:`description_of` the environment.
    """

    experience: Experience
    valid: Experience
    objective: str
    windows: int = 8
    context: int = 0
    regression_loss: str = "absolute"
    description: str | None = None

    def words(self) -> str:
        """The description that is read."""
        return description_of(self.experience.env_id, {}) if self.description is None else self.description

    def config(self, base: LLMConfig) -> LLMConfig:
        """The options of this task's model."""
        return replace(
            base, objective=self.objective, context=self.context, regression_loss=self.regression_loss,
            batch_size=self.windows,
        )  # fmt: skip


class Together(nn.Module):
    """The models of all tasks, by environment; losses count relative to the untrained model's."""

    scale: Tensor

    def __init__(self, models: Mapping[str, DecisionModel], bank: Bank) -> None:
        super().__init__()
        self.order = list(models)
        self.models = nn.ModuleList(models.values())  # a list: names of environments hold slashes
        self.bank = bank
        self.llm_config = next(iter(models.values())).llm_config
        self.register_buffer("scale", torch.ones(len(models), 2))

    def of(self, env_id: str) -> DecisionModel:
        """The model of one task."""
        found: Any = self.models[self.order.index(env_id)]
        return found

    def trainable(self) -> dict[str, Tensor]:
        """What is learnt, each once, and the statistics of the tasks, by name."""
        learnt = {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}
        kept = {name: value for name, value in self.state_dict().items() if name.startswith("models.")}
        statistics = {k: v for k, v in kept.items() if k.split(".", 2)[2] in STATISTICS}
        return {**learnt, **statistics, "scale": self.scale}

    def forward(self, parts: dict[str, dict[str, Any]], mask: Tensor) -> dict[str, Tensor]:
        """Mean over the tasks of the batch: in training of the losses' logarithms, else of losses and scores."""
        found = []
        for name, batch in parts.items():
            one, scale = self.of(name)(**batch), self.scale[self.order.index(name)]
            loss = one["loss"] / scale[0]
            found.append(
                torch.stack([torch.log(loss + NEARLY_NOTHING) if self.training else loss, one["score"] / scale[1]])
            )
        loss, score = torch.stack(found).mean(0)
        return {"loss": loss, "score": score.detach()}


@dataclass(frozen=True)
class _Tagged:
    task: str
    window: Episode


class _Steps(Sequence[list[_Tagged]]):
    """What each step learns from: some windows of every task, drawn from the seed and the step's number."""

    def __init__(
        self, groups: Mapping[str, Sequence[Episode]], counts: Mapping[str, int], steps: int, seed: int
    ) -> None:
        self.groups, self.counts, self.steps, self.seed = groups, counts, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: Any) -> Any:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        rng = np.random.default_rng([self.seed, step])
        found = []
        for name, rows in self.groups.items():
            chosen = rng.integers(0, len(rows), self.counts[name])
            found += [_Tagged(name, rows[i]) for i in chosen]
        return found


def _collate(rows: Sequence[Any]) -> dict[str, Any]:
    """One padded batch per task, of single windows or of whole steps."""
    flat: list[_Tagged] = [one for row in rows for one in (row if isinstance(row, list) else [row])]
    tasks = list(dict.fromkeys(one.task for one in flat))
    parts = {task: collate([one.window for one in flat if one.task == task]) for task in tasks}
    return {"parts": parts, "mask": torch.cat([part["mask"].flatten() for part in parts.values()])}


def task_models(
    tasks: Mapping[str, tuple[LLMConfig, dict[str, Any], str]], backbone: nn.Module, bank: Bank
) -> dict[str, DecisionModel]:
    """One model per task; `tasks` holds its options, what is known of it, and its words."""
    found = {}
    for env_id, (own, known, words) in tasks.items():
        parts = (known["observation_space"], known["action_space"], known["modalities"], known["scales"])
        found[env_id] = DecisionModel(own, *parts, backbone=backbone, description=words, bank=bank)
    return found


def train_generalist(
    config: LLMConfig,
    lessons: Sequence[Lesson],
    out: str | Path = "runs/generalist",
    start_from: Generalist | None = None,
    resume: bool = True,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Generalist:
    """Train one model on several tasks.

    Args:
        config: of all; a task's own objective, context and windows replace those here.
        lessons: at least one, each of another environment.
        out, resume, minutes, progress: as for :func:`netllm_gym.agents.llm.trainer.train`.
        start_from: a generalist whose weights to start from (few-shot), and change; tasks may be new to it. Backbone,
            adapter and tokens are its own, whatever `config` says.

    Raises:
        ConfigError: no lesson, two of one environment, or tuning other than ``lora``.
        DatasetError: as for training one task.
    """
    if start_from is not None:
        config = replace(config, **{name: getattr(start_from.config, name) for name in BODY})
    names = [plain_id(lesson.experience.env_id) for lesson in lessons]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"a generalist needs lessons of different environments, got {', '.join(names) or 'none'}")
    if config.tuning != "lora":
        raise ConfigError(f"a generalist has one adapter: tuning must be lora, not {config.tuning}")
    for lesson in lessons:
        for part in (lesson.experience, lesson.valid):
            check(lesson.config(config), part)
            if plain_id(part.env_id) != plain_id(lesson.experience.env_id):
                raise DatasetError(f"lesson {lesson.experience.env_id}: its validation data come from {part.env_id}")
    folder = Path(out)
    same_run(folder, config, [[n, le.objective, le.experience.digest] for n, le in zip(names, lessons, strict=True)])
    tasks = {
        n: (le.config(config), {**agent_metadata(le.experience), "dataset": {}}, le.words())
        for n, le in zip(names, lessons, strict=True)
    }
    if start_from is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            backbone = with_lora(load_backbone(config), config)
        bank = Bank()
    else:
        start_from.merge(False)
        backbone, bank = start_from.backbone, start_from.bank
    models = task_models(tasks, backbone, bank)
    for name, lesson in zip(names, lessons, strict=True):
        fit_statistics(models[name], lesson.experience, config.target_quantile)
    together = Together(models, bank)
    groups = {n: windows(le.experience.episodes, le.context) for n, le in zip(names, lessons, strict=True)}
    held_out = {n: windows(le.valid.episodes, le.context) for n, le in zip(names, lessons, strict=True)}
    _set_scales(together, groups)
    results = fit(
        together, replace(config, batch_size=16),
        _Steps(groups, {n: le.windows for n, le in zip(names, lessons, strict=True)}, config.steps, config.seed),
        {n: [_Tagged(n, row) for row in rows] for n, rows in held_out.items()},
        _collate, folder, resume, minutes, progress, rows=1,
    )  # fmt: skip
    specs = {n: {**agent_metadata(le.experience), "words": le.words()} for n, le in zip(names, lessons, strict=True)}
    configs = {n: le.config(config) for n, le in zip(names, lessons, strict=True)}
    agent = Generalist(config, specs, configs, backbone, bank, models, results)
    agent.scale = together.scale.cpu()
    return agent


@torch.inference_mode()
def _set_scales(together: Together, groups: Mapping[str, Sequence[Episode]]) -> None:
    """Measure what the untrained model loses in each task."""
    together.eval()
    for number, name in enumerate(together.order):
        found = together.of(name)(**collate(list(groups[name][:64])))
        together.scale[number] = torch.tensor([max(float(found[key]), 1e-6) for key in ("loss", "score")])


class Generalist(BatchAgent):
    """One model that plays every task it was trained on, and environments of other sizes of those tasks.

    Attributes:
        specs: env id → what is known of the task: spaces, modalities, scales, ``words``.
        results: measured at training; losses and scores relative to the untrained model.
        scale: what the untrained model lost and scored in each task, ``[tasks, 2]`` (after a training).
    """

    scale: Tensor

    def __init__(
        self,
        config: LLMConfig,
        specs: dict[str, dict[str, Any]],
        configs: dict[str, LLMConfig],
        backbone: nn.Module,
        bank: Bank,
        models: dict[str, DecisionModel],
        results: dict[str, Any],
    ) -> None:
        self.config, self.specs, self.configs, self.results = config, specs, configs, results
        self.backbone, self.bank, self.models = backbone, bank, models
        self.serves = tuple(specs)
        self.merged = False
        self._played: dict[Any, LLMAgent] = {}
        self._views: list[View] = []
        self._active: LLMAgent | None = None

    @property
    def learnt(self) -> int:
        """How many parameters were trained."""
        together = Together(self.models, self.bank)
        return sum(value.numel() for value in together.parameters() if value.requires_grad)

    def merge(self, merged: bool = True) -> None:
        """Fold the adapter into the frozen weights, or take it out again."""
        tuner: Any = self.backbone
        if merged != self.merged:
            (tuner.base_model.merge_adapter if merged else tuner.base_model.unmerge_adapter)()
            self._played.clear()
        self.merged = merged

    def _agent(self, env_id: str, view: View) -> LLMAgent:
        spaces = {"observation_space": view.observation_space, "action_space": view.action_space}
        key = (env_id, repr(spaces))
        if key not in self._played:
            spec, trained = self.specs[env_id], self.models[env_id]
            parts = (view.observation_space, view.action_space, spec["modalities"], spec["scales"])
            model = DecisionModel(
                self.configs[env_id], *parts, backbone=self.backbone, description=spec["words"], bank=self.bank
            )
            own, kept = model.state_dict(), trained.state_dict()
            if odd := [n for n in STATISTICS if n in own and own[n].shape != kept[n].shape]:
                raise CheckpointError(
                    f"the agent's {odd[0]} has shape {tuple(kept[odd[0]].shape)}, {env_id} needs another"
                )
            model.load_state_dict({n: kept[n] for n in STATISTICS if n in own}, strict=False)
            self._played[key] = LLMAgent(model, env_id, spaces, {})
        return self._played[key]

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes of one task.

        Raises:
            CheckpointError: a task that it was not trained on.
        """
        env_id = plain_id(env_infos[0].env_id)
        if env_id not in self.specs:
            known = ", ".join(self.specs)
            raise CheckpointError(
                f"agent {self.name} does not know {env_id}; it was trained on {known} "
                "(train_generalist(start_from=…) teaches it another task)"
            )
        self._views = [view_of(env_id, info, self.specs[env_id]) for info in env_infos]
        self._active = self._agent(env_id, self._views[0])
        self.notice = self._views[0].notice
        spaces: Any = {
            "observation_space": self._views[0].observation_space, "action_space": self._views[0].action_space
        }  # fmt: skip
        self._active.reset_batch([replace(info, **spaces) for info in env_infos])

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return one action per episode; ``None`` where one has ended."""
        if self._active is None:
            raise ConfigError("reset the agent before asking for an action")
        seen: list[Any] = []
        told: list[dict[str, Any]] = []
        settled: list[Any] = []
        for view, observation, info in zip(self._views, observations, infos, strict=True):
            one, beside, done = None, dict[str, Any](), None
            if observation is not None:
                one, beside = view.observe(observation, info)
                done = view.settled()
            settled.append(done)
            seen.append(None if self._active.memoryless and done is not None else one)
            told.append({**(info or {}), **beside})
        found = self._active.act_batch(seen, told)
        rows = zip(self._views, settled, found, observations, strict=True)
        return [done if done is not None or o is None else view.answer(action, o) for view, done, action, o in rows]
