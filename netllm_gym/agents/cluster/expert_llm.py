"""Students of the rollouts: the language model learns to take the decisions that cost least (see :mod:`.expert`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netllm_gym.agents.cluster.expert import best, objective, scores
from netllm_gym.agents.cluster.labels import Labels
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import device_of
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS
from netllm_gym.envs.cluster.cluster_view import OPTIONS, ClusterView
from netllm_gym.errors import DatasetError

ENV = "netllm_gym/ClusterScheduling-v0"
ROWS = 512  # states of more stages are left out of training; acting has no such bound
MOST = 8


class _States:
    """Labelled states through the view, without padding, ready to be batched."""

    def __init__(self, labels: Labels, advised: NDArray[np.float64]) -> None:
        self.parts: list[dict[str, NDArray]] = []
        self.choices: list[NDArray] = []
        self.scores: list[NDArray] = []
        self.copied: list[int] = []
        for k in range(len(labels)):
            state, choices, costs = labels.state(k)
            stages, jobs, edges = len(state["stages"]), len(state["jobs"]), len(state["edges"])
            if stages > ROWS:
                continue
            view = ClusterView(float(labels.moving_s[k]), stages, max(1, jobs), max(1, edges), advised)
            if view.advice(state).row < 0:
                continue  # the agent waits there
            seen = view(state)
            rows = [tuple(view.encode((stages if r < 0 else r, c - 1), state)) for r, c in choices.tolist()]
            rows = [(-1 if r == stages else r, c) for r, c in rows]
            seen["legal"] = np.append(state["stage_mask"], 1).astype(bool)
            seen["counts"] = np.ones(OPTIONS, bool)
            self.parts.append(seen)
            self.choices.append(np.array(rows[:MOST]))
            self.scores.append(scores(costs[:MOST]))
            self.copied.append(best(costs[:MOST]))

    def __len__(self) -> int:
        return len(self.parts)

    def batch(self, rows: Sequence[int], count: int) -> dict[str, Tensor]:
        """Pad states to the largest of them; `count` is the number of rows that the model's pointer has."""
        parts = [self.parts[int(k)] for k in rows]

        def stack(key: str, fill: float, kind: Any) -> Tensor:
            most = max(len(part[key]) for part in parts)
            out = np.full((len(parts), most, *parts[0][key].shape[1:]), fill, kind)
            for row, part in zip(out, parts, strict=True):
                row[: len(part[key])] = part[key]
            return torch.from_numpy(out)

        legal = np.zeros((len(parts), count + 1), bool)
        choices = np.zeros((len(parts), MOST, 2), np.int64)
        score = np.zeros((len(parts), MOST), np.float32)
        exists = np.zeros((len(parts), MOST), bool)
        for i, k in enumerate(rows):
            legal[i, : len(parts[i]["legal"]) - 1], legal[i, count] = parts[i]["legal"][:-1], True
            chosen = self.choices[int(k)]
            n = len(chosen)
            choices[i, :n], score[i, :n], exists[i, :n] = chosen, self.scores[int(k)], True
        choices[..., 0] = np.where(choices[..., 0] < 0, count, choices[..., 0])
        return {
            "stages": stack("stages", -1, np.float32), "edges": stack("edges", -1, np.int32),
            "jobs": stack("jobs", -1, np.float32), "cluster": stack("cluster", 0, np.float32),
            "legal": torch.from_numpy(legal), "counts": stack("counts", 0, bool),
            "choices": torch.from_numpy(choices), "score": torch.from_numpy(score),
            "exists": torch.from_numpy(exists), "copied": torch.tensor([self.copied[int(k)] for k in rows]),
        }  # fmt: skip


def _chances(model: DecisionModel, batch: dict[str, Tensor]) -> Tensor:
    """Return log probabilities of the decisions compared, ``[B, K]``."""
    seen = {key: batch[key][:, None] for key in ("stages", "edges", "jobs", "cluster")}
    tokens, nodes = model.embed(seen, None, None)
    assert nodes is not None
    hidden = model.read(tokens)[:, -1]
    flat = nodes.each(lambda part: part[:, 0])
    found = model.head.pairs(hidden, flat, batch["choices"], batch["legal"], batch["counts"])
    return found.masked_fill(~batch["exists"], -1e4)


def train_llm(
    labels: Labels, valid: Labels, config: LLMConfig, imitation: tuple[float, float] = (1.0, 0.2),
    minutes: float | None = None, say: Callable[[str], None] | None = None, start: DecisionModel | None = None,
    advised: NDArray[np.float64] = COEFFICIENTS,
) -> LLMAgent:  # fmt: skip
    """Train a language model on labels; return the weights with the least score on `valid`.

    Args:
        labels, valid: what to learn on and to choose by.
        config: of the agent, with the objective ``regret``; batches are of states, the context is one step.
        imitation: weight of copying the best decision at the beginning and at the end.
        minutes: at most this wall-clock time; the rate decays accordingly.
        say: receives a line at every validation.
        start: a model to go on with.
        advised: coefficients of the rule whose advice the model sees.

    Raises:
        DatasetError: no labels.
    """
    if not len(labels) or not len(valid):
        raise DatasetError("no labels to train on, or none to choose by")
    view = ClusterView(2.0, ROWS, 256, 4 * ROWS)
    data, held = _States(labels, advised), _States(valid.select(valid.compared), advised)
    model = start or DecisionModel(config, view.observation_space, view.action_space, view.modalities, view.scales)
    device = device_of(config)
    model.to(device).train()
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=config.weight_decay)
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0xE9,)))
    torch.manual_seed(config.seed)
    began, order, least, kept, step = time.monotonic(), np.empty(0, np.int64), math.inf, model.trainable(), 0
    seconds = math.inf if minutes is None else 60.0 * minutes

    def validate() -> float:
        model.eval()
        values = []
        with torch.inference_mode():
            for rows in np.array_split(np.arange(len(held)), max(1, len(held) // 256)):
                batch = {key: value.to(device) for key, value in held.batch(rows.tolist(), ROWS).items()}
                chosen = _chances(model, batch).argmax(1, keepdim=True)
                values += batch["score"].gather(1, chosen)[:, 0].tolist()
        model.train()
        return float(np.mean(values))

    while True:
        share = max(step / config.steps, (time.monotonic() - began) / seconds)
        over = share >= 1.0
        if over or (step and step % config.eval_every == 0):
            found = validate()
            if found < least:
                least, kept = found, {key: value.detach().cpu().clone() for key, value in model.trainable().items()}
            if say:
                say(f"step {step}: valid score {found:.4f} (least {least:.4f}), {time.monotonic() - began:.0f} s")
        if over:
            break
        if len(order) < config.batch_size:
            order = np.concatenate([order, rng.permutation(len(data))])
        rows, order = order[: config.batch_size], order[config.batch_size :]
        batch = {key: value.to(device) for key, value in data.batch(rows.tolist(), ROWS).items()}
        weight = imitation[0] + (imitation[1] - imitation[0]) * min(1.0, 2.0 * share)
        loss, _ = objective(_chances(model, batch), batch["score"], batch["copied"], weight)
        rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup + 1))
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share))))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        step += 1
    model.load_state_dict(kept, strict=False)
    with torch.no_grad():  # checkpoints hold half precision: what is evaluated is what is stored
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.half().float())
    metadata = {
        "observation_space": view.observation_space, "action_space": view.action_space, "modalities": view.modalities,
        "scales": view.scales, "dataset": {"name": f"{len(data)} states labelled by rollouts", "digest": ""},
    }  # fmt: skip
    return LLMAgent(model.eval(), ENV, metadata, {"steps": step, "valid_score": least})
