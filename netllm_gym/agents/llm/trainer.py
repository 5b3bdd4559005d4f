"""Training on transformers.Trainer: batches of episodes of like length, validation, early stopping, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import device_of
from netllm_gym.agents.llm.batches import ByLength, collate, windows
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.diagnostics import diagnose, gradient_shares
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.agents.llm.runs import AVERAGED, WEIGHTS, choice, newest_complete, out_of_memory, tensor_cores
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.files import boundary, exact_value, finite, make_folder, sweep, write_exact_json, write_text


class _Trainer(Trainer):
    """Saves what is learnt instead of the whole backbone, validates by the model's score, decays the rate."""

    def __init__(self, *args: Any, minutes: float | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decider: Any = self.model
        self.held_out: Any = self.eval_dataset
        self.minutes, self.began = minutes, time.monotonic()
        self.averaged: dict[str, torch.Tensor] = {}
        self.shares: dict[str, float] = {}

    def learnt(self) -> dict[str, torch.nn.Parameter]:
        """What the optimiser moves, by name."""
        return {name: value for name, value in self.decider.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def average(self) -> None:
        """Move the running mean of the learnt weights; it follows closely at first, when they move most."""
        decay = min(float(self.decider.llm_config.average), self.state.global_step / (self.state.global_step + 10))
        for name, value in self.learnt().items():
            mean = self.averaged.setdefault(name, value.detach().clone())
            mean.lerp_(value.detach(), 1.0 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the mean in the weights' place, or the weights back."""
        for name, value in self.learnt().items():
            if name in self.averaged:
                kept = value.detach().clone()
                value.copy_(self.averaged[name])
                self.averaged[name] = kept

    def elapsed_share(self) -> float:
        """Share of the time limit that is used up (0 without one), by the first process's clock."""
        if not self.minutes:
            return 0.0
        share = torch.tensor([(time.monotonic() - self.began) / (60 * self.minutes)], device=self.args.device)
        if self.args.world_size > 1:
            torch.distributed.broadcast(share, 0)
        return float(share)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Linear warm-up, then half a cosine over the steps or the time limit, whichever is nearer its end."""
        warmup = int(self.decider.llm_config.warmup)

        def factor(step: int) -> float:
            progress: float = min(1.0, max(step / num_training_steps, self.elapsed_share()))
            return min(1.0, (step + 1) / (warmup + 1)) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))

        chosen: Any = optimizer or self.optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, factor)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Episodes of like length together, where lengths differ; rows of several tasks stay mixed."""
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(row) for row in rows if isinstance(row, Episode)]
        if len(lengths) < len(rows) or len(set(lengths)) == 1:
            return super()._get_train_sampler(train_dataset)
        return ByLength(lengths, self.args.train_batch_size * self.args.world_size, self.args.seed)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean loss, score and choice over the validation decisions; every process goes through all of them, so that
        all agree on when to stop.

        The score of few decisions jumps when an argmax changes; the loss does not, but weighs what nobody would play.
        So weights are chosen by both: the geometric mean, in which each counts by its relative change.
        """
        model: Any = self.model
        model.eval()
        self.exchange()
        groups = self.held_out if isinstance(self.held_out, dict) else {"": self.held_out}
        with torch.inference_mode():
            found = {name: self._means(model, rows) for name, rows in groups.items()}
            first = self._prepare_inputs(self.data_collator(list(next(iter(groups.values())))[:16]))
            inside = diagnose(self.decider, first) if isinstance(self.decider, DecisionModel) else {}
        self.exchange()
        metrics = {f"eval_{key}": float(np.mean([one[key] for one in found.values()])) for key in ("loss", "score")}
        metrics["eval_choice"] = float(np.mean([choice(one["loss"], one["score"]) for one in found.values()]))
        each = {f"eval_{name}_{key}": value for name, one in found.items() if name for key, value in one.items()}
        self.log({**metrics, **each, **inside, **self.shares})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _means(self, model: Any, rows: Sequence[Any]) -> dict[str, float]:
        """Mean loss and score over the decisions of some windows."""
        totals, decisions = {"loss": 0.0, "score": 0.0}, 0
        for batch in DataLoader(rows, self.args.eval_batch_size, collate_fn=self.data_collator):  # type: ignore[arg-type]
            batch = self._prepare_inputs(batch)
            found, count = model(**batch), int(batch["mask"].sum())
            for key in totals:
                totals[key] += float(found[key]) * count
            decisions += count
        return {key: value / decisions for key, value in totals.items()}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        boundary("begin", folder)
        folder.mkdir(parents=True, exist_ok=True)
        boundary("made", folder)
        wanted = self.decider.trainable()
        if state_dict is not None:  # under FSDP the trainer gathers the shards first
            wanted = {key: state_dict[key] for key in wanted if key in state_dict}
        save_file({key: value.contiguous().cpu() for key, value in wanted.items()}, folder / WEIGHTS)
        if self.averaged:
            means = {key: value.contiguous().cpu() for key, value in self.averaged.items()}
            boundary("written", folder / WEIGHTS)
            save_file(means, folder / AVERAGED)
        boundary("weights", folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        boundary("optimiser", Path(output_dir))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        boundary("generators", Path(output_dir))  # the state is written next, and last

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        boundary("complete", Path(str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        decider = model or self.decider
        decider.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        if (folder / AVERAGED).is_file():
            device = next(decider.parameters()).device
            self.averaged = {key: value.to(device) for key, value in load_file(folder / AVERAGED).items()}

    def _over(self) -> bool:
        """Whether the checkpoint that was resumed from was the last of its training."""
        callbacks: Any = self.state.stateful_callbacks or {}
        stopped = callbacks.get("TrainerControl", {}).get("args", {}).get("should_training_stop")
        # A time limit may have stopped it: who sets one again wants to go on.
        return self.state.global_step >= self.state.max_steps or bool(stopped and not self.minutes)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Take no step after the last one: Trainer takes one more when it resumes in the middle of an epoch."""
        if self._over():
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


def _step(line: str) -> float:
    """The step of a line of the log; a line that was cut off belongs to none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class _Log(TrainerCallback):
    """One JSON line per record in ``log.jsonl``, one line of progress, and the time limit."""

    def __init__(self, path: Path, progress: Callable[[str], None] | None) -> None:
        self.path, self.progress = path, progress
        self.trainer: _Trainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop what an interrupted run logged after the checkpoint that this one goes on from."""
        if state.is_world_process_zero and self.path.is_file():
            kept = [
                line for line in self.path.read_text(encoding="utf-8").splitlines() if _step(line) <= state.global_step
            ]
            write_text(self.path, "".join(f"{line}\n" for line in kept))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        """Record what the trainer reports."""
        for key in ("loss", "eval_loss"):
            if logs and not math.isfinite(float(logs.get(key, 0.0))):
                if state.best_metric is None:
                    raise ConfigError(
                        f"the training diverged: {key} is {logs[key]} at step {state.global_step}; lower learning_rate"
                    )
                control.should_training_stop = True  # the best weights until now are kept
        if not state.is_world_process_zero:
            return
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(finite({"step": state.global_step, **(logs or {})})) + "\n")
        if self.progress and logs:
            found = {"loss": "loss", "eval_loss": "valid loss", "eval_score": "valid score"}
            text = ", ".join(f"{label} {logs[key]:.4f}" for key, label in found.items() if key in logs)
            if text:
                self.progress(f"step {state.global_step}/{state.max_steps}: {text}")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note where the gradient is, once for each validation."""
        if self.trainer and args.eval_steps and (state.global_step + 1) % int(args.eval_steps) == 0:
            self.trainer.shares = gradient_shares(self.trainer.decider)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Average the weights; refuse to go on from a loss that is no number; stop when the time is up."""
        if self.trainer and self.trainer.decider.llm_config.average and not self.trainer.is_fsdp_enabled:
            self.trainer.average()
        if self.trainer and self.trainer.elapsed_share() >= 1:
            control.should_evaluate = control.should_save = control.should_training_stop = True


def fit_statistics(model: DecisionModel, experience: Experience, quantile: float) -> None:
    """Set the scales that come from the data: of returns, of the target return, of continuous actions."""
    returns = experience.returns()
    to_go = np.concatenate([np.abs(episode.returns_to_go()) for episode in experience.episodes])
    model.return_scale.fill_(max(float(np.quantile(to_go, 0.9)), 1e-6))
    model.target_return.fill_(float(np.quantile(returns, quantile)))
    if not model.head.sizes:
        actions = np.concatenate([e.actions.reshape(len(e), -1) for e in experience.episodes]).astype(np.float32)
        model.head.mean.copy_(torch.from_numpy(actions.mean(0)))
        model.head.std.copy_(torch.from_numpy(actions.std(0) + 1e-3))


def check(config: LLMConfig, experience: Experience) -> None:
    """Refuse experience that an objective cannot learn from."""
    if not experience.episodes:
        raise DatasetError(f"dataset {experience.name} holds no episode")
    for number, episode in enumerate(experience.episodes):
        parts = {**episode.observations, "actions": episode.actions, "rewards": episode.rewards}
        for key, array in parts.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                step = int(np.argwhere(~np.isfinite(array.reshape(len(array), -1)).all(1))[0, 0])
                raise DatasetError(
                    f"dataset {experience.name}: {key} of episode {number}"
                    f"{f' ({episode.trace})' if episode.trace else ''} is not a number at step {step}"
                )
        parts["returns"] = episode.returns_to_go()
        for key, array in parts.items():
            if array.dtype.kind == "f" and np.abs(array).max(initial=0.0) > np.finfo(np.float32).max / 1e3:
                raise DatasetError(
                    f"dataset {experience.name}: {key} of episode {number} hold {np.abs(array).max():.3g}, more than "
                    "a network computes in (float32); give them in a larger unit"
                )
    if config.objective == "regret" and any(e.action_values is None for e in experience.episodes):
        raise DatasetError(
            f"dataset {experience.name} has no action values; collect it with --hindsight or --values-of"
        )


def same_run(folder: Path, config: LLMConfig, data: Any) -> None:
    """Refuse to resume a run of another configuration or dataset; one that never kept a state has nothing to resume."""
    make_folder(folder)
    sweep(folder)
    wanted = {"config": config.to_json(), "dataset": data}
    path = folder / "run.json"
    kept = newest_complete(folder / "trainer") if (folder / "trainer").is_dir() else None
    if kept is not None and path.is_file() and exact_value(path.read_text(encoding="utf-8")) != wanted:
        raise ConfigError(f"{folder} holds a training with another configuration or dataset; choose another folder")
    write_exact_json(path, wanted)


def agent_metadata(experience: Experience) -> dict[str, Any]:
    """What an agent keeps of the experience it learns from."""
    return {
        "observation_space": experience.observation_space,
        "action_space": experience.action_space,
        "modalities": experience.modalities,
        "scales": experience.scales,
        "dataset": {"name": experience.name, "digest": experience.digest, "setting": experience.env_kwargs},
    }


def fresh_model(config: LLMConfig, experience: Experience, **shared: Any) -> DecisionModel:
    """Build the network for an experience, with the statistics that come from it; `shared` as for the model."""
    spaces = (experience.observation_space, experience.action_space)
    model = DecisionModel(config, *spaces, experience.modalities, experience.scales, **shared)
    fit_statistics(model, experience, config.target_quantile)
    return model


def fit(
    model: Any,
    config: LLMConfig,
    data: Sequence[Any],
    valid: Sequence[Any] | Mapping[str, Sequence[Any]] | None,
    batches: Callable[[Sequence[Any]], dict[str, Any]],
    folder: Path,
    resume: bool,
    minutes: float | None,
    progress: Callable[[str], None] | None,
    rows: int | None = None,
) -> dict[str, Any]:
    """Run the trainer on `model` (it returns ``loss`` and ``score``, lists what it learns by ``trainable()`` and has
    ``llm_config``); return what was measured. Several named groups of `valid` count equally. `rows` of `data` make a
    step (by default ``config.batch_size``). Arguments otherwise as for :func:`train`.
    """
    strategy = "steps" if valid is not None else "no"
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=rows or config.batch_size,
        per_device_eval_batch_size=4 * config.batch_size,
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=1.0,
        logging_steps=min(10, config.eval_every),
        eval_strategy=strategy,
        eval_steps=config.eval_every,
        save_steps=config.eval_every,
        save_total_limit=2,
        load_best_model_at_end=valid is not None,
        metric_for_best_model="eval_choice" if valid is not None else None,
        greater_is_better=False,
        seed=config.seed,
        report_to="tensorboard" if find_spec("tensorboard") else "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=device_of(config).type == "cuda",
        use_cpu=device_of(config).type == "cpu",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one device; `accelerate launch` starts several
    log = _Log(folder / "log.jsonl", progress)
    callbacks: list[TrainerCallback] = [log]
    if valid is not None:
        callbacks.append(EarlyStoppingCallback(config.patience))
    trainer = _Trainer(
        model=model,
        args=arguments,
        data_collator=batches,
        train_dataset=data,
        eval_dataset=[row for group in valid.values() for row in group] if isinstance(valid, Mapping) else valid,
        callbacks=callbacks,
        minutes=minutes,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.held_out = dict(valid) if isinstance(valid, Mapping) else valid
    log.trainer = trainer
    where = Path(str(arguments.output_dir))
    last = newest_complete(where) if resume and where.is_dir() else None
    try:
        with tensor_cores(device_of(config)):
            trainer.train(resume_from_checkpoint=last)
    except torch.OutOfMemoryError as error:
        raise ConfigError(out_of_memory(config, error)) from None
    trainer.exchange()  # what was validated is what is kept
    with torch.no_grad():  # checkpoints hold half precision: what is evaluated is what is stored
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.half().float())
    results: dict[str, Any] = {"steps": trainer.state.global_step}
    if valid is not None and trainer.state.best_metric is not None:
        best = [log for log in trainer.state.log_history if log.get("eval_choice") == trainer.state.best_metric][-1]
        results |= {"valid_score": best["eval_score"], "valid_loss": best["eval_loss"]}
    return results


def train(
    config: LLMConfig,
    experience: Experience,
    valid: Experience | None = None,
    out: str | Path = "runs/llm",
    resume: bool = True,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> LLMAgent:
    """Train an LLM agent.

    Args:
        config: its choices.
        experience: what to learn from.
        valid: picks the checkpoint and stops early; must not be test data. Without it the last state is kept.
        out: folder of the run: Trainer's checkpoints, ``log.jsonl``, TensorBoard's events.
        resume: go on from the newest checkpoint in `out`, with the same losses as if never interrupted.
        minutes: at most this wall-clock time in this process; the learning rate decays accordingly.
        progress: called with one line now and then.

    Raises:
        DatasetError: no episodes, or no action values for `regret`.
        ConfigError: a backbone or space that does not fit, or a folder of another run.
    """
    check(config, experience)
    if valid is not None:
        check(config, valid)
    folder = Path(out)
    same_run(folder, config, experience.digest)
    model = fresh_model(config, experience)
    data = windows(experience.episodes, config.context)
    held_out = windows(valid.episodes, config.context) if valid is not None else None
    results = fit(model, config, data, held_out, collate, folder, resume, minutes, progress)
    return LLMAgent(model, experience.env_id, agent_metadata(experience), results)
