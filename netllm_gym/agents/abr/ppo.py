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

from netllm_gym import extras
from netllm_gym.agents import run_state
from netllm_gym.agents.abr.actor_critic import ActorConfig, ActorCritic
from netllm_gym.agents.abr.curriculum import Curriculum
from netllm_gym.agents.abr.playground import AHEAD_S, HISTORY, Playground, measured
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.traces import NetworkTrace, VideoManifest, synthetic_video
from netllm_gym.traces.protocol import refuse_test

CURRICULA = ("none", "uniform", "genet")
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
            scored and what a run returns. Single iterations differ by more than what is still to be learnt. 0: no
            average.
        check_every: iterations between stored states and scores on the validation traces. The scores choose among runs,
            never among the iterations of one: validation sets hold few recordings, and the best of many looks at them
            is luck.
        hidden, seed: width of the networks; seed of everything.
        curriculum: ``none`` draws every given trace equally often; ``uniform`` gives half of the episodes to a whole
            space of synthetic families, ``genet`` ever more of that half to those in which RobustMPC is ahead of the
            policy (:mod:`netllm_gym.agents.abr.curriculum`).
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
    curriculum: str = "none"

    def __post_init__(self) -> None:
        if self.curriculum not in CURRICULA:
            raise UnknownNameError("curriculum", self.curriculum, CURRICULA)
        if min(self.iterations, self.episodes, self.epochs, self.batch_size, self.check_every, self.hidden) < 1:
            raise ConfigError("iterations, episodes, epochs, batch_size, check_every and hidden must be at least 1")
        if not 0 <= self.drawn_videos <= 1 or not 0 <= self.delay_noise < 1 or not 0 <= self.average < 1:
            raise ConfigError("drawn_videos must lie in [0, 1], delay_noise and average in [0, 1)")


def greedy(actor: Any) -> Callable[[Playground], NDArray[np.int64]]:
    """Return the network's most probable levels as a decision rule."""
    import torch

    def decide(ground: Playground) -> NDArray[np.int64]:
        with torch.inference_mode():
            return actor(torch.from_numpy(ground.observe())).argmax(1).numpy()

    return decide


def _rollout(
    actor: Any, ground: Playground, config: PPOConfig, rng: np.random.Generator, chances: NDArray | None
) -> dict[str, NDArray]:
    """Play `config.episodes` videos with sampled levels; arrays ``[T, n, …]``."""
    import torch

    n, chunks, levels = config.episodes, ground.sizes.shape[1], ground.sizes.shape[2]
    which = rng.integers(len(ground.length), size=n)
    if chances is not None:
        which = rng.choice(len(ground.length), size=n, p=chances)
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
        train, valid: network traces to learn on, and to score the policy by.
        video: the video of the validation and of the episodes that play no drawn one.
        run: folder for the state and ``log.jsonl``; a run found there goes on.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: the folder holds a run of another configuration, or the traces are a test split.
    """

    def __init__(
        self,
        config: PPOConfig,
        train: Sequence[NetworkTrace],
        valid: Sequence[NetworkTrace],
        video: VideoManifest,
        run: str | Path,
    ) -> None:
        torch = extras.load("torch", "training the ABR policy")
        for traces in (train, valid):
            refuse_test(getattr(traces, "split", None), "training the ABR policy")
        self.config, self.run = config, Path(run)
        # Drawn videos differ in complexity and overhead, never in the ladder.
        ladder, rng = video.bitrates_kbps, np.random.default_rng(config.seed)
        drawn = [
            synthetic_video(
                10_000 + i, ladder, video.chunks, video.chunk_s, 0.05 + 0.15 * rng.random(), rng.uniform(0.85, 1.2)
            )
            for i in range(32)
        ]
        self.recorded, self.videos = list(train), [video, *drawn]
        self.curriculum = Curriculum(video, config.iterations, config.seed, config.curriculum == "genet")
        self._arrange()
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
        self.iteration = 0
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-5)
        if run_state.stored(self.run):
            self._resume()

    def _arrange(self) -> None:
        """Lay out the links that episodes are drawn from."""
        drawn = self.config.curriculum != "none"
        self.ground = Playground([*self.recorded, *(self.curriculum.links() if drawn else ())], self.videos)
        self.chances = self.curriculum.chances(len(self.recorded)) if drawn else None

    def train(self, minutes: float | None = None, say: Callable[[str], None] | None = None) -> ActorCritic:
        """Go on until the last iteration, or about `minutes` of this call; return the policy."""
        until = time.monotonic() + 60.0 * minutes if minutes is not None else np.inf
        while self.iteration < self.config.iterations and time.monotonic() < until:
            line = self._iterate()
            if self.iteration % self.config.check_every == 0 or self.iteration == self.config.iterations:
                line["valid_qoe"] = self.score()
                self._store(line)
                if say:
                    say(json.dumps(line))
        return self.agent()

    def agent(self) -> ActorCritic:
        """Return the averaged policy as it is."""
        return ActorCritic(self.shape, {key: value.numpy().copy() for key, value in self.averaged.state_dict().items()})

    def score(self) -> float:
        """Mean QoE per chunk of the averaged policy over the validation traces, without noise."""
        return float(measured(self.valid, greedy(self.averaged)).mean())

    def _iterate(self) -> Score:
        import torch
        from torch.nn import functional

        config = self.config
        if self.curriculum.due(self.iteration):
            self.curriculum.promote(self.iteration, greedy(self.averaged))
            self._arrange()
        share = self.iteration / max(config.iterations - 1, 1)
        entropy_weight = config.entropy * (config.entropy_end / config.entropy) ** share
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * (1.0 - 0.9 * share)
        rng = np.random.default_rng(np.random.SeedSequence(entropy=config.seed, spawn_key=(0x990, self.iteration)))
        played = _rollout(self.actor, self.ground, config, rng, self.chances)
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

    def _networks(self) -> dict[str, Any]:
        return {"actor": self.actor, "averaged": self.averaged, "critic": self.critic}

    def _store(self, line: Score) -> None:
        about = {"config": asdict(self.config), "iteration": self.iteration, "promoted": self.curriculum.state()}
        networks = {name: module.state_dict() for name, module in self._networks().items()}
        run_state.store(self.run, networks, self.optimiser, about, line)

    def _resume(self) -> None:
        modules = self._networks()
        networks, about = run_state.resume(self.run, asdict(self.config), tuple(modules), self.optimiser)
        for name, module in modules.items():
            module.load_state_dict(networks[name])
        self.iteration = int(about["iteration"])
        self.curriculum.resume(about["promoted"])
        self._arrange()
