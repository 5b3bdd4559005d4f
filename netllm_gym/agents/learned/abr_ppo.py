"""PPO for the ABR policy: whole videos in lock-step on the compiled kernel, a critic that knows the future link.

The critic is only a baseline, so it may see what the policy may not: the link's true throughput over the seconds ahead
(the input-driven baseline of Mao et al., ICLR 2019). That takes the trace's luck out of the advantages. Entropy falls
over training as in Pensieve; traces start anywhere, delays carry Pensieve's 10 % noise, and half of the videos are
drawn from a seed, so that the policy does not learn one video's chunk sizes by heart.

Every iteration draws from a generator keyed by (seed, iteration): a run that was stopped and goes on ends where an
unbroken one ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.learned.abr_actor_critic import ActorConfig, ActorCritic, features
from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import bytes_by, download, link_arrays
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.errors import ConfigError, MissingExtraError
from netllm_gym.files import atomic_path, write_json
from netllm_gym.traces import NetworkTrace, VideoManifest, synthetic_video

AHEAD_S = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
HISTORY = 8
# A long outage must not drown everything else in a batch.
WORST_REWARD = -30.0
VALUE_SCALE = 10.0
Score = dict[str, float]


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of a training run.

    Attributes:
        iterations: rollouts of `episodes` whole videos each.
        episodes: videos played in lock-step.
        epochs, batch_size, clip: of PPO's surrogate.
        learning_rate: at the start; it falls linearly to a tenth.
        entropy, entropy_end: weight of the entropy bonus, from first to last iteration (geometric).
        gamma, lambda_: of the generalised advantage estimate.
        drawn_videos: share of episodes that play a synthetic video.
        delay_noise: as the environment's.
        average: share of the running average of the policy's weights kept at each iteration; the average is what is
            scored and kept. Single iterations differ by more than what is still to be learnt. 0: no average.
        check_every: iterations between scores on the validation traces; the best scored policy is kept.
        hidden, seed: width of the networks; seed of everything.
    """

    iterations: int = 600
    episodes: int = 512
    epochs: int = 4
    batch_size: int = 4096
    clip: float = 0.2
    learning_rate: float = 1e-3
    entropy: float = 0.05
    entropy_end: float = 0.001
    gamma: float = 0.99
    lambda_: float = 0.95
    drawn_videos: float = 0.5
    delay_noise: float = 0.1
    average: float = 0.9
    check_every: int = 10
    hidden: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.episodes, self.epochs, self.batch_size, self.check_every, self.hidden) < 1:
            raise ConfigError("iterations, episodes, epochs, batch_size, check_every and hidden must be at least 1")
        if not 0 <= self.drawn_videos <= 1 or not 0 <= self.delay_noise < 1 or not 0 <= self.average < 1:
            raise ConfigError("drawn_videos must lie in [0, 1], delay_noise and average in [0, 1)")


@njit(cache=True)
def _step(end, carried, rate, first, which, size, rtt, noise, chunk_s, cap, quantum, offset, buffer, delay, stall):
    """Download one chunk in every episode; updates `offset` and `buffer`, writes `delay` and `stall` (all ``[n]``)."""
    for i in range(len(which)):
        a, b = first[which[i]], first[which[i] + 1]
        delay[i], stall[i], buffer[i], _, offset[i] = download(
            end[a:b], carried[a:b], rate[a:b], offset[i], size[i], buffer[i], rtt, noise[i], chunk_s, cap, quantum
        )


@njit(cache=True)
def _look_ahead(end, carried, rate, first, which, offset, spans, out):
    """Write the link's mean Mbit/s over each of the coming `spans` (s) into `out` ``[n, spans]``."""
    for i in range(len(which)):
        a, b = first[which[i]], first[which[i] + 1]
        total, whole = end[b - 1], carried[b - 1]
        start = bytes_by(end[a:b], carried[a:b], rate[a:b], offset[i])
        for k in range(len(spans)):
            until = offset[i] + spans[k]
            cycles = np.floor(until / total)
            there = bytes_by(end[a:b], carried[a:b], rate[a:b], until - cycles * total)
            out[i, k] = (cycles * whole + there - start) * 8e-6 / spans[k]


class Playground:
    """Episodes in lock-step with the environment's default physics (80 ms, 95 % payload, 60 s, 0.5 s).

    Args:
        traces: the links.
        videos: all of one shape ``[chunks, L]``, ladder and chunk length.
    """

    def __init__(self, traces: Sequence[NetworkTrace], videos: Sequence[VideoManifest]) -> None:
        links = [link_arrays(trace, 0.95) for trace in traces]
        self.end, self.carried, self.rate = (np.concatenate(parts) for parts in zip(*links, strict=True))
        self.first = np.concatenate([[0], np.cumsum([len(trace) for trace in traces])])
        self.length = np.array([trace.total_s for trace in traces])
        self.starts = np.array([trace.start_s for trace in traces])
        self.sizes = np.stack([video.chunk_bytes for video in videos])
        self.chunk_s = videos[0].chunk_s
        self.qoe = QoE.preset("lin", videos[0])

    def begin(self, which: NDArray, video: NDArray, offset: NDArray, noise: NDArray) -> None:
        """Start ``n`` episodes and download their first chunk at level 0; `noise` ``[n, chunks]`` scales delays."""
        n = len(which)
        self.which, self.video, self.offset, self.noise = which, video, offset.copy(), noise
        self.buffer, self.delay, self.stall = np.zeros(n), np.zeros(n), np.zeros(n)
        self.throughputs, self.delays = np.zeros((n, HISTORY), np.float32), np.zeros((n, HISTORY), np.float32)
        self.chunk = 0
        self.last = np.zeros(n, np.int64)
        self.play(self.last)

    def play(self, level: NDArray) -> NDArray[np.float64]:
        """Download the next chunk of every episode; return the rewards ``[n]``."""
        size = self.sizes[self.video, self.chunk, level]
        _step(
            self.end, self.carried, self.rate, self.first, self.which, size, 0.08, self.noise[:, self.chunk],
            self.chunk_s, 60.0, 0.5, self.offset, self.buffer, self.delay, self.stall,
        )  # fmt: skip
        quality = self.qoe.quality
        reward = quality[level] - self.qoe.stall_weight * self.stall
        reward -= self.qoe.switch_weight * np.abs(quality[level] - quality[self.last])
        self.throughputs = np.roll(self.throughputs, -1, axis=1)
        self.throughputs[:, -1] = size * 8e-6 / self.delay
        self.delays = np.roll(self.delays, -1, axis=1)
        self.delays[:, -1] = self.delay
        self.last = level
        self.chunk += 1
        return reward

    def observe(self) -> NDArray[np.float32]:
        """The policy's features, ``[n, inputs]``."""
        chunks = self.sizes.shape[1]
        left = np.full(len(self.which), chunks - self.chunk, np.float32)
        sizes = self.sizes[self.video, self.chunk].astype(np.float32)
        return features(self.throughputs, self.delays, self.buffer.astype(np.float32), self.last, sizes, left)

    def ahead(self) -> NDArray[np.float32]:
        """What only the critic sees: log throughput of the link over the coming spans, ``[n, 8]``."""
        out = np.empty((len(self.which), len(AHEAD_S)))
        _look_ahead(self.end, self.carried, self.rate, self.first, self.which, self.offset, AHEAD_S, out)
        return np.log(out + 0.02).astype(np.float32)


def score(actor: Any, ground: Playground) -> float:
    """Mean QoE per chunk of the greedy policy over every trace once, from its own start, without noise."""
    import torch

    n = len(ground.length)
    ground.begin(np.arange(n), np.zeros(n, np.int64), ground.starts, np.ones((n, ground.sizes.shape[1])))
    total = np.zeros(n)
    with torch.inference_mode():
        while ground.chunk < ground.sizes.shape[1]:
            total += ground.play(actor(torch.from_numpy(ground.observe())).argmax(1).numpy())
    return float(total.mean() / (ground.sizes.shape[1] - 1))


def _rollout(actor: Any, ground: Playground, config: PPOConfig, rng: np.random.Generator) -> dict[str, NDArray]:
    """Play `config.episodes` videos with sampled levels; arrays ``[T, n, …]``."""
    import torch

    n, chunks, levels = config.episodes, ground.sizes.shape[1], ground.sizes.shape[2]
    which = rng.integers(len(ground.length), size=n)
    drawn = rng.random(n) < config.drawn_videos
    video = np.where(drawn & (len(ground.sizes) > 1), rng.integers(1, max(len(ground.sizes), 2), size=n), 0)
    noise = 1.0 + config.delay_noise * (2.0 * rng.random((n, chunks)) - 1.0)
    ground.begin(which, video, rng.random(n) * ground.length[which], noise)
    kept: dict[str, list[NDArray]] = {key: [] for key in ("state", "future", "action", "log_p", "reward")}
    with torch.inference_mode():
        while ground.chunk < chunks:
            state = ground.observe()
            log_p = torch.log_softmax(actor(torch.from_numpy(state)), 1).numpy()
            action = (log_p + rng.gumbel(size=(n, levels))).argmax(1)
            kept["state"].append(state)
            kept["future"].append(ground.ahead())
            kept["action"].append(action)
            kept["log_p"].append(log_p[np.arange(n), action])
            kept["reward"].append(np.maximum(ground.play(action), WORST_REWARD))
    return {key: np.stack(values) for key, values in kept.items()}


def _advantages(reward: NDArray, value: NDArray, gamma: float, lambda_: float) -> NDArray:
    """Generalised advantage estimates of finished episodes, ``[T, n]``."""
    out = np.zeros_like(reward)
    following, carried = np.zeros(reward.shape[1]), np.zeros(reward.shape[1])
    for t in range(len(reward) - 1, -1, -1):
        carried = reward[t] + gamma * following - value[t] + gamma * lambda_ * carried
        out[t], following = carried, value[t]
    return out


def network(inputs: int, hidden: int, outputs: int) -> Any:
    """Return a perceptron with two hidden layers."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class Trainer:
    """A PPO run that can stop and go on.

    Args:
        config: hyper-parameters.
        train, valid: network traces to learn on and to choose the policy by.
        video: the video of the validation and of the episodes that play no drawn one.
        run: folder for the state and ``log.jsonl``; a run found there goes on.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: the folder holds a run of another configuration.
    """

    def __init__(
        self,
        config: PPOConfig,
        train: Sequence[NetworkTrace],
        valid: Sequence[NetworkTrace],
        video: VideoManifest,
        run: str | Path,
    ) -> None:
        try:
            import torch
        except ImportError:
            raise MissingExtraError("llm", "training the ABR policy") from None
        self.config, self.run = config, Path(run)
        # Drawn videos differ in complexity and overhead, never in the ladder.
        ladder, rng = video.bitrates_kbps, np.random.default_rng(config.seed)
        drawn = [
            synthetic_video(
                10_000 + i, ladder, video.chunks, video.chunk_s, 0.05 + 0.15 * rng.random(), rng.uniform(0.85, 1.2)
            )
            for i in range(32)
        ]
        self.ground = Playground(train, [video, *drawn])
        self.valid = Playground(valid, [video])
        self.shape = ActorConfig(video.levels, HISTORY, config.hidden)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.actor = network(self.shape.inputs, config.hidden, video.levels)
            self.critic = network(self.shape.inputs + len(AHEAD_S), config.hidden, 1)
            with torch.no_grad():  # begin with equal chances
                self.actor[-1].weight.mul_(0.01)
        self.averaged = network(self.shape.inputs, config.hidden, video.levels)
        self.averaged.load_state_dict(self.actor.state_dict())
        self.best = {key: value.clone() for key, value in self.actor.state_dict().items()}
        self.best_score, self.iteration = -np.inf, 0
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-5)
        if (self.run / "state.json").is_file():
            self._resume()

    def train(self, minutes: float | None = None, say: Callable[[str], None] | None = None) -> ActorCritic:
        """Go on until the last iteration, or about `minutes` of this call; return the best policy so far."""
        until = time.monotonic() + 60.0 * minutes if minutes is not None else np.inf
        while self.iteration < self.config.iterations and time.monotonic() < until:
            line = self._iterate()
            if self.iteration % self.config.check_every == 0 or self.iteration == self.config.iterations:
                line["valid_qoe"] = score(self.averaged, self.valid)
                if line["valid_qoe"] > self.best_score:
                    self.best_score = line["valid_qoe"]
                    self.best = {key: value.clone() for key, value in self.averaged.state_dict().items()}
                self._store(line)
                if say:
                    say(json.dumps(line))
        return self.agent()

    def agent(self) -> ActorCritic:
        """Return the policy with the best validation score so far."""
        return ActorCritic(self.shape, {key: value.numpy().copy() for key, value in self.best.items()})

    def _iterate(self) -> Score:
        import torch
        from torch.nn import functional

        config = self.config
        share = self.iteration / max(config.iterations - 1, 1)
        entropy_weight = config.entropy * (config.entropy_end / config.entropy) ** share
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * (1.0 - 0.9 * share)
        rng = np.random.default_rng(np.random.SeedSequence(entropy=config.seed, spawn_key=(0x990, self.iteration)))
        played = _rollout(self.actor, self.ground, config, rng)
        state = torch.from_numpy(played["state"])
        seen = torch.cat([state, torch.from_numpy(played["future"])], 2)
        with torch.inference_mode():
            value = self.critic(seen).squeeze(-1).numpy() * VALUE_SCALE
        advantage = _advantages(played["reward"], value, config.gamma, config.lambda_)
        target = torch.from_numpy((advantage + value) / VALUE_SCALE).float().flatten()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
        gain = torch.from_numpy(advantage).float().flatten()
        state, seen = state.flatten(0, 1), seen.flatten(0, 1)
        action = torch.from_numpy(played["action"]).flatten()
        old = torch.from_numpy(played["log_p"]).flatten()
        entropies = []
        for _ in range(config.epochs):
            order = torch.from_numpy(rng.permutation(len(state)))
            for rows in order.split(config.batch_size):
                log_p = torch.log_softmax(self.actor(state[rows]), 1)
                ratio = (log_p.gather(1, action[rows, None]).squeeze(1) - old[rows]).exp()
                clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
                entropy = -(log_p.exp() * log_p).sum(1).mean()
                surrogate = torch.minimum(ratio * gain[rows], clipped * gain[rows]).mean()
                fit = functional.smooth_l1_loss(self.critic(seen[rows]).squeeze(1), target[rows])
                self.optimiser.zero_grad()
                (fit - surrogate - entropy_weight * entropy).backward()
                torch.nn.utils.clip_grad_norm_(self.actor.parameters(), 0.5)
                torch.nn.utils.clip_grad_norm_(self.critic.parameters(), 0.5)
                self.optimiser.step()
                entropies.append(float(entropy.detach()))
        with torch.no_grad():
            for kept, new in zip(self.averaged.parameters(), self.actor.parameters(), strict=True):
                kept.mul_(config.average).add_(new, alpha=1.0 - config.average)
        self.iteration += 1
        return {
            "iteration": self.iteration,
            "train_reward": float(played["reward"].mean()),
            "entropy": float(np.mean(entropies)),
        }

    def _store(self, line: Score) -> None:
        from safetensors.torch import save_file

        self.run.mkdir(parents=True, exist_ok=True)
        tensors = {f"best.{key}": value for key, value in self.best.items()}
        for name, module in (("actor", self.actor), ("averaged", self.averaged), ("critic", self.critic)):
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{key}": value for key, value in moments.items()}
        with atomic_path(self.run / "state.safetensors") as temporary:
            save_file({key: value.clone() for key, value in tensors.items()}, temporary)
        about = {"config": asdict(self.config), "iteration": self.iteration, "best_score": self.best_score}
        write_json(self.run / "state.json", about)
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _resume(self) -> None:
        from safetensors.torch import load_file

        about = json.loads((self.run / "state.json").read_text(encoding="utf-8"))
        if about["config"] != asdict(self.config):
            raise ConfigError(f"{self.run} holds a run with other hyper-parameters; choose another folder")
        tensors = load_file(self.run / "state.safetensors")

        def part(prefix: str) -> dict[str, Any]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        self.actor.load_state_dict(part("actor."))
        self.averaged.load_state_dict(part("averaged."))
        self.critic.load_state_dict(part("critic."))
        self.best = part("best.")
        state = self.optimiser.state_dict()
        for key, value in part("adam.").items():
            number, _, moment = key.partition(".")
            state["state"].setdefault(int(number), {})[moment] = value
        self.optimiser.load_state_dict(state)
        self.iteration, self.best_score = int(about["iteration"]), float(about["best_score"])
