"""PPO for the ABR policy in randomised worlds (:mod:`netllm_gym.agents.abr.worlds`), with a critic that knows the link.

The critic is only a baseline, so it may see what the policy may not: the link's true future (the input-driven baseline
of Mao et al., ICLR 2019). That takes the trace's luck out of the advantages. Entropy falls over training as in
Pensieve. The policy begins as a player that trusts its plans (see :class:`~netllm_gym.agents.abr.rows.RowConfig`) and
learns when not to.

Every iteration draws from a generator keyed by (seed, iteration), and the episodes in progress are stored with the
networks: a run that was stopped and goes on ends where an unbroken one ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import extras
from netllm_gym.agents import run_state
from netllm_gym.agents.abr.rows import RowConfig, RowNetwork, to_torch
from netllm_gym.agents.abr.worlds import AHEAD, Worlds
from netllm_gym.errors import ConfigError

VALUE_SCALE = 10.0
# Spread of advantages below which worlds are not told apart, in ranges of the ladder.
LEAST_SPREAD = 0.5
Score = dict[str, float]


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of a training run.

    Attributes:
        iterations: rollouts of `episodes` × `steps` chunks each.
        episodes, steps: played in lock-step; an episode that does not end within a rollout goes on in the next.
        epochs, batch_size, clip: of PPO's surrogate.
        learning_rate: at the start; it falls linearly to a twentieth. The critic's is twice that.
        warmup: iterations in which only the critic learns: the policy begins well, and a critic that knows nothing
            yet would unlearn it.
        entropy, entropy_end: weight of the entropy bonus, from first to last iteration (geometric).
        gamma, lambda_: of the generalised advantage estimate.
        average: share of the running average of the policy's weights kept at each iteration; the average is what is
            scored and what a run returns. 0: no average.
        check_every: iterations between stored states.
        hidden, seed: width of the networks; seed of everything.
    """

    iterations: int = 300
    episodes: int = 512
    steps: int = 40
    epochs: int = 3
    batch_size: int = 4096
    clip: float = 0.2
    learning_rate: float = 5e-4
    warmup: int = 8
    entropy: float = 0.01
    entropy_end: float = 0.001
    gamma: float = 0.985
    lambda_: float = 0.95
    average: float = 0.95
    check_every: int = 20
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.iterations, self.episodes, self.steps, self.epochs, self.batch_size, self.check_every)
        if min(*counts, self.hidden) < 1:
            raise ConfigError("iterations, episodes, steps, epochs, batch_size, check_every, hidden: at least 1")
        if not 0 <= self.average < 1:
            raise ConfigError("average must lie in [0, 1)")


def _advantages(reward: NDArray, over: NDArray, value: NDArray, gamma: float, lambda_: float) -> NDArray:
    """Generalised advantage estimates, ``[T, n]``; `value` ``[T + 1, n]``."""
    out, carried = np.zeros_like(reward), np.zeros(reward.shape[1])
    for t in range(len(reward) - 1, -1, -1):
        goes_on = 1.0 - over[t]
        error = reward[t] + gamma * goes_on * value[t + 1] - value[t]
        carried = error + gamma * lambda_ * goes_on * carried
        out[t] = carried
    return out


class Trainer:
    """A PPO run that can stop and go on.

    Args:
        config: hyper-parameters.
        worlds: where to play; `worlds.n` must be `config.episodes`.
        run: folder for the state and ``log.jsonl``; a run found there goes on.
        score: called with the averaged policy at each check; its numbers go to the log.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: the folder holds a run of another configuration.
    """

    def __init__(
        self,
        config: PPOConfig,
        worlds: Worlds,
        run: str | Path,
        score: Callable[[RowNetwork], Score] | None = None,
    ) -> None:
        torch = extras.load("torch", "training the ABR policy")
        if worlds.n != config.episodes:
            raise ConfigError(f"{worlds.n} worlds for {config.episodes} episodes")
        self.config, self.worlds, self.run, self.score = config, worlds, Path(run), score
        self.shape = RowConfig(hidden=config.hidden)
        self._critic_shape = RowConfig(hidden=config.hidden, more_context=len(AHEAD), pooled=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.actor = to_torch(self.shape)
            self.critic = to_torch(self._critic_shape)
            self.averaged = to_torch(self.shape)
        self.averaged.load_state_dict(self.actor.state_dict())
        self.iteration, self.spread = 0, np.zeros(worlds.kinds)
        groups = [{"params": list(module.parameters())} for module in (self.actor, self.critic)]
        self.optimiser = torch.optim.Adam(groups, lr=config.learning_rate, eps=1e-5)
        if run_state.stored(self.run):
            names = (*self._networks(), "worlds")
            networks, state = run_state.resume(self.run, asdict(config), names, self.optimiser)
            for name, module in self._networks().items():
                module.load_state_dict(networks[name])
            self.iteration, self.spread = int(state["iteration"]), np.array(state["spread"])
            worlds.take_up({name: value.numpy() for name, value in networks["worlds"].items()}, state["worlds"])

    def train(self, minutes: float | None = None, say: Callable[[str], None] | None = None) -> RowNetwork:
        """Go on until the last iteration, or about `minutes` of this call; return the averaged policy."""
        until = time.monotonic() + 60.0 * minutes if minutes is not None else np.inf
        while self.iteration < self.config.iterations and time.monotonic() < until:
            line = self._iterate()
            if self.iteration % self.config.check_every == 0 or self.iteration == self.config.iterations:
                if self.score is not None:
                    line |= self.score(self.policy())
                self._store(line)
                if say:
                    say(json.dumps(line))
        return self.policy()

    def _store(self, line: Score) -> None:
        import torch

        lives, drawn = self.worlds.state()
        state = {
            "config": asdict(self.config),
            "iteration": self.iteration,
            "worlds": drawn,
            "spread": self.spread.tolist(),
        }
        networks: dict[str, Any] = {name: module.state_dict() for name, module in self._networks().items()}
        networks["worlds"] = {name: torch.from_numpy(array) for name, array in lives.items()}
        run_state.store(self.run, networks, self.optimiser, state, line)

    def policy(self) -> RowNetwork:
        """Return the averaged policy as it is."""
        return RowNetwork(self.shape, {key: value.numpy().copy() for key, value in self.averaged.state_dict().items()})

    def foresight(self) -> RowNetwork:
        """Return the critic as it is."""
        weights = {key: value.numpy().copy() for key, value in self.critic.state_dict().items()}
        return RowNetwork(self._critic_shape, weights)

    def _networks(self) -> dict[str, Any]:
        return {"actor": self.actor, "averaged": self.averaged, "critic": self.critic}

    def _play(self, rng: np.random.Generator) -> dict[str, Any]:
        """Play `steps` chunks with sampled levels; tensors ``[T, n, …]`` and the values ``[T + 1, n]``."""
        import torch

        worlds = self.worlds
        kept: dict[str, list[NDArray]] = {key: [] for key in ("rows", "context", "future", "mask", "action", "log_p")}
        rewards, overs, values, kinds = [], [], [], []
        with torch.inference_mode():
            for t in range(self.config.steps + 1):
                rows, context = worlds.see()
                seen = {"rows": rows.copy(), "context": context.copy(), "future": worlds.future(), "mask": worlds.mask}
                given = {key: torch.from_numpy(array) for key, array in seen.items()}
                wide = torch.cat([given["context"], given["future"]], 1)
                values.append(self.critic(given["rows"], wide, given["mask"]).numpy() * VALUE_SCALE)
                if t == self.config.steps:
                    break
                log_p = torch.log_softmax(self.actor(given["rows"], given["context"], given["mask"]), 1).numpy()
                action = (log_p + rng.gumbel(size=log_p.shape)).argmax(1)
                kinds.append(worlds.kind)
                reward, over = worlds.step(action)
                seen |= {"action": action, "log_p": log_p[np.arange(len(action)), action]}
                for key, array in seen.items():
                    kept[key].append(array)
                rewards.append(reward)
                overs.append(over)
        played: dict[str, Any] = {key: torch.from_numpy(np.stack(arrays)).flatten(0, 1) for key, arrays in kept.items()}
        played |= {"reward": np.stack(rewards), "over": np.stack(overs), "value": np.stack(values)}
        return played | {"kind": np.stack(kinds)}

    def _iterate(self) -> Score:
        import torch
        from torch.nn import functional

        config, began = self.config, time.monotonic()
        share = self.iteration / max(config.iterations - 1, 1)
        entropy_weight = config.entropy * (config.entropy_end / config.entropy) ** share
        rate = config.learning_rate * (1.0 - 0.95 * share)
        for group, factor in zip(
            self.optimiser.param_groups, (float(self.iteration >= config.warmup), 2.0), strict=True
        ):
            group["lr"] = rate * factor
        rng = np.random.default_rng(np.random.SeedSequence(entropy=config.seed, spawn_key=(0x990, self.iteration)))
        played = self._play(rng)
        gained = _advantages(played["reward"], played["over"], played["value"], config.gamma, config.lambda_)
        target = torch.from_numpy((gained + played["value"][:-1]) / VALUE_SCALE).float().flatten()
        # Links with outages would drown all others, so each kind of link is weighed by its spread of advantages so far.
        # (Not by an episode's own: that would make little of just those episodes in which something went wrong.)
        weight = 1.0 / (LEAST_SPREAD + self.spread[played["kind"]])
        for kind in np.unique(played["kind"]):
            found = gained[played["kind"] == kind].std()
            self.spread[kind] = found if self.spread[kind] == 0.0 else 0.9 * self.spread[kind] + 0.1 * found
        weighed = (gained - gained.mean()) * weight
        gain = torch.from_numpy(weighed / (weighed.std() + 1e-6)).float().flatten()
        rows, context, mask = played["rows"], played["context"], played["mask"]
        wide = torch.cat([context, played["future"]], 1)
        entropies = []
        for _ in range(config.epochs):
            order = torch.from_numpy(rng.permutation(len(rows)))
            for part in order.split(config.batch_size):
                log_p = torch.log_softmax(self.actor(rows[part], context[part], mask[part]), 1)
                ratio = (log_p.gather(1, played["action"][part, None]).squeeze(1) - played["log_p"][part]).exp()
                clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
                entropy = -(log_p.exp() * log_p.clamp_min(-30.0)).sum(1).mean()
                surrogate = torch.minimum(ratio * gain[part], clipped * gain[part]).mean()
                fit = functional.smooth_l1_loss(self.critic(rows[part], wide[part], mask[part]), target[part])
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
            "value_error": float(np.std(gained)),
            "seconds": round(time.monotonic() - began, 2),
        }
