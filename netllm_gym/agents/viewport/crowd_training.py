"""Train a crowd network on the training viewers of a head-motion set, on whatever device there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netllm_gym import traces as trace_room
from netllm_gym.agents.viewport.crowd_network import SCALE_DEG, CrowdConfig, CrowdNetwork, fold, rows_of
from netllm_gym.envs.viewport.crowd_paths import CrowdPaths
from netllm_gym.envs.viewport.prediction import other_viewers
from netllm_gym.envs.viewport.windows import WindowProtocol, cut, displacements

HORIZON = 20  # samples that validation scores: the paper's four seconds


@dataclass(frozen=True)
class CrowdWindows:
    """Windows of one split and the paths of everybody who watched the same videos.

    Attributes:
        history: ``[N, h, 3]``, degrees. truth: displacements ``[N, f, 3]``.
        table: paths of the crowd ``[videos, users, samples, 3]``, NaN where unknown.
        video, own, now: per window, its video, its own row in the crowd (-1: none) and its first unknown sample.
    """

    history: Tensor
    truth: Tensor
    table: Tensor
    video: Tensor
    own: Tensor
    now: Tensor

    def __len__(self) -> int:
        return len(self.history)

    def to(self, device: torch.device) -> CrowdWindows:
        """Move everything."""
        return CrowdWindows(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def batch(self, picked: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """History, crowd ``[B, K, h + f, 3]``, its mask, and truth of the windows `picked`."""
        h, f = self.history.shape[1], self.truth.shape[1]
        time = self.now[picked, None] + torch.arange(-h, f, device=picked.device)
        inside = (time >= 0) & (time < self.table.shape[2])
        users = torch.arange(self.table.shape[1], device=picked.device)
        crowd = self.table[
            self.video[picked, None, None], users[None, :, None], time.clamp(0, self.table.shape[2] - 1)[:, None]
        ]
        mask = crowd.isfinite().all(-1) & inside[:, None] & (users[None] != self.own[picked, None])[..., None]
        return self.history[picked], crowd.nan_to_num(), mask, self.truth[picked]


def crowd_windows(traces: str, split: str, history: int, future: int, stride: int) -> CrowdWindows:
    """Cut a split of a set into windows with their crowds.

    Raises:
        ConfigError: the set has no other viewers of its videos.
    """
    base = WindowProtocol()
    protocol = WindowProtocol(history, future, max(base.first, history), max(base.margin, future), stride)
    with trace_room.training("learning whom to follow"):
        members = trace_room.load(traces, split)
    windows = cut(tuple(members), protocol)
    others = other_viewers(members)
    paths = CrowdPaths(others, viewers=1)
    videos = sorted({trace.video for trace in members})
    tables = [paths.table(video) for video in videos]
    shape = (len(videos), max(len(t) for t in tables), max(t.shape[1] for t in tables), 3)
    table = np.full(shape, np.nan, np.float32)
    for row, part in enumerate(tables):
        table[row, : part.shape[0], : part.shape[1]] = part
    rows = {(video, user): row for video in videos for row, user in enumerate(paths.users(video))}
    place = {video: row for row, video in enumerate(videos)}
    video = np.array([place[trace.video] for trace in members])
    own = np.array([rows.get((trace.video, trace.user), -1) for trace in members])
    start = np.array([round(trace.start_s * trace.hz) for trace in members])
    return CrowdWindows(
        torch.from_numpy(windows.history_deg.astype(np.float32)),
        torch.from_numpy(displacements(windows).astype(np.float32)),
        torch.from_numpy(table),
        torch.from_numpy(video[windows.trace]),
        torch.from_numpy(own[windows.trace]),
        torch.from_numpy(windows.anchor + start[windows.trace]),
    )


def error(network: CrowdNetwork, data: CrowdWindows, future: int = HORIZON) -> float:
    """Mean error over windows, samples and angles, degrees, folded."""
    total = 0.0
    with torch.no_grad():
        for picked in torch.arange(len(data), device=data.history.device).split(512):
            history, crowd, mask, truth = data.batch(picked)
            rows = rows_of(history, crowd, mask, network.config.history, network.config.future)
            total += float(fold(network(rows)[:, :future] - truth[:, :future]).abs().mean((1, 2)).sum())
    return total / len(data)


def train_crowd(
    config: CrowdConfig,
    data: CrowdWindows,
    valid: CrowdWindows,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> tuple[CrowdNetwork, float]:
    """Train under the absolute error; keep the running mean of the weights that is best on `valid`.

    Half of all windows are mirrored; each forgets a random share of its viewers, and half of them have viewers who are
    only some seconds ahead: so one network serves crowds of any size, complete or under way.

    Returns:
        The network on the CPU, and its error on `valid` in degrees.
    """
    place = torch.device(device)
    data, valid = data.to(place), valid.to(place)
    network = CrowdNetwork(config).to(place)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=config.weight_decay)

    def pace(step: int) -> float:
        warm = max(config.steps // 10, 1)
        return (
            (step + 1) / warm
            if step < warm
            else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(config.steps - warm, 1))
        )

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    draws = np.random.default_rng(config.seed)
    mean = {name: value.detach().clone() for name, value in network.weights().items()}
    best, kept = math.inf, dict(mean)
    for step in range(1, config.steps + 1):
        picked = torch.from_numpy(draws.integers(len(data), size=config.batch_size)).to(place)
        history, crowd, mask, truth = data.batch(picked)
        mask = mask & _left_out(mask.shape, history.shape[1], draws).to(place)
        rows = rows_of(history, crowd, mask, config.history, config.future)
        if draws.random() < 0.5:
            rows, truth = rows.mirrored(), truth * torch.tensor([-1.0, 1.0, -1.0], device=place)
        off = (network(rows) - truth).abs() / SCALE_DEG
        loss = off[:, :HORIZON].mean() + 0.25 * off[:, HORIZON:].mean() if config.future > HORIZON else off.mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        schedule.step()
        decay = min(config.average, step / (step + 10.0))
        for name, value in network.weights().items():
            mean[name].mul_(decay).add_(value.detach(), alpha=1.0 - decay)
        if step % config.eval_every == 0 or step == config.steps:
            now = {name: value.detach().clone() for name, value in network.weights().items()}
            network.load_state_dict(mean, strict=False)
            score = error(network, valid)
            if score < best:
                best, kept = score, {name: value.clone() for name, value in mean.items()}
            network.load_state_dict(now, strict=False)
            if say is not None:
                say(f"step {step} of {config.steps}: {score:.3f}° on valid (best {best:.3f}°)")
    network.load_state_dict(kept, strict=False)
    return network.to("cpu").eval(), best


def _left_out(shape: torch.Size, history: int, draws: np.random.Generator) -> Tensor:
    """Which samples of a batch's viewers stay, bool ``[B, K, h + f]``."""
    batch, viewers, samples = shape
    share = draws.uniform(0.1, 1.5, size=(batch, 1))
    stays = draws.random((batch, viewers)) < share
    lead = draws.integers(1, samples - history + 1, size=(batch, viewers))
    lead[draws.random(batch) < 0.5] = samples
    return torch.from_numpy(stays[..., None] & (np.arange(samples) < history + lead[..., None]))
