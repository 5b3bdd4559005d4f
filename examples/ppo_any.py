"""PPO in one file, in CleanRL's manner, on any environment: levels, tiles, masked pointers or angles.

    python examples/ppo_any.py --env netllm_gym/ClusterScheduling-v0 --total-steps 20000

It needs torch. Observations come from `wrappers.flat`. Discrete and MultiDiscrete actions are categories, of which
masked ones are never drawn; a Box is normal noise around the network's answer, brought to −1 … 1. For speed on
streaming see `examples/ppo_cleanrl.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import nn
from torch.distributions import Categorical, Normal

from netllm_gym.wrappers import flat


@dataclass
class Args:
    """What to train.

    Attributes:
        seed: of everything random.
        total_steps: decisions in all.
        num_envs: environments side by side.
        num_steps: decisions of each between two updates.
        learning_rate: of Adam, falling to zero.
        gamma, gae_lambda: of the advantages.
        epochs, minibatch: passes over a rollout, and samples of a gradient step.
        clip, entropy, value: PPO's range, and the weights of the entropy and of the value loss.
    """

    seed: int = 1
    total_steps: int = 20_000
    num_envs: int = 4
    num_steps: int = 64
    learning_rate: float = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    epochs: int = 4
    minibatch: int = 64
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5


def make(env_id: str, **kwargs) -> gym.Env:
    """An environment as the network wants it: one vector in, one action out."""
    env = flat(gym.make(env_id, disable_env_checker=True, **kwargs))
    return gym.wrappers.RescaleAction(env, -1.0, 1.0) if isinstance(env.action_space, spaces.Box) else env


def masks_of(envs: gym.vector.SyncVectorEnv) -> torch.Tensor | None:
    """Legal choices of every environment, ``[n, choices]``, or None where every action is legal."""
    if not hasattr(envs.envs[0].unwrapped, "action_masks"):
        return None
    return torch.from_numpy(np.stack([env.unwrapped.action_masks() for env in envs.envs]))


class Policy(nn.Module):
    """Actor and critic, two hidden layers of 64 units each."""

    def __init__(self, inputs: int, space: spaces.Space) -> None:
        super().__init__()
        self.shape = space.shape
        box = isinstance(space, spaces.Box)
        self.sizes = None if box else [int(n) for n in np.atleast_1d(getattr(space, "nvec", getattr(space, "n", 0)))]
        outputs = int(np.prod(space.shape)) if box else sum(self.sizes)
        self.spread = nn.Parameter(torch.full((outputs,), -1.0)) if box else None
        self.actor, self.critic = (
            nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, size))
            for size in (outputs, 1)
        )
        nn.init.zeros_(self.actor[-1].weight)

    def choices(self, seen: torch.Tensor, masks: torch.Tensor | None) -> list[Categorical | Normal]:
        """The distributions that together make an action."""
        answer = self.actor(seen)
        if self.sizes is None:
            return [Normal(answer, self.spread.exp())]
        if masks is not None:
            answer = answer.masked_fill(~masks, -1e9)
        return [Categorical(logits=part) for part in answer.split(self.sizes, -1)]

    def draw(self, seen: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
        """An action for every row, ``[n, parts]``."""
        drawn = [one.sample() for one in self.choices(seen, masks)]
        return drawn[0] if self.sizes is None else torch.stack(drawn, -1)

    def judge(self, seen: torch.Tensor, masks: torch.Tensor | None, taken: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Log-probability of the actions `taken`, and the entropy."""
        if self.sizes is None:
            (one,) = self.choices(seen, masks)
            return one.log_prob(taken).sum(-1), one.entropy().sum(-1)
        parts = list(zip(self.choices(seen, masks), taken.unbind(-1), strict=True))
        return sum(one.log_prob(own) for one, own in parts), sum(one.entropy() for one, _ in parts)

    def action(self, drawn: torch.Tensor) -> np.ndarray:
        """What the environments are given."""
        rows = drawn.clamp(-1.0, 1.0) if self.sizes is None else drawn
        return rows.numpy().reshape(len(rows), *self.shape)


def train(args: Args, env_id: str, say: Callable[[str], None] | None = print, **env_kwargs) -> tuple[Policy, float]:
    """Return the policy and the mean reward of a decision in the last rollout."""
    torch.manual_seed(args.seed)
    envs = gym.vector.SyncVectorEnv([lambda: make(env_id, **env_kwargs)] * args.num_envs)
    inputs = envs.single_observation_space.shape[0]
    policy = Policy(inputs, envs.single_action_space)
    optimiser = torch.optim.Adam(policy.parameters(), lr=args.learning_rate, eps=1e-5)
    updates, mean = max(1, args.total_steps // (args.num_steps * args.num_envs)), 0.0
    observation, over = envs.reset(seed=args.seed)[0], np.zeros(args.num_envs, bool)
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = args.learning_rate * (1.0 - update / updates)
        rows: list[tuple] = []
        with torch.no_grad():
            for _ in range(args.num_steps):
                seen, masks = torch.from_numpy(observation), masks_of(envs)
                drawn = policy.draw(seen, masks)
                log, _ = policy.judge(seen, masks, drawn)
                observation, reward, ended, cut, _ = envs.step(policy.action(drawn))
                # The step after an end only begins the next episode: nothing was decided in it.
                decided, over = torch.from_numpy(~over), ended | cut
                ends = torch.from_numpy(over).float()
                rows.append((seen, masks, drawn, log, torch.from_numpy(reward).float(), ends, decided))
            ahead, following = torch.zeros(args.num_envs), policy.critic(torch.from_numpy(observation)).squeeze(-1)
            data: list[tuple] = []
            for seen, masks, drawn, log, reward, ends, decided in reversed(rows):
                value = policy.critic(seen).squeeze(-1)
                ahead = (
                    reward
                    + args.gamma * following * (1 - ends)
                    - value
                    + args.gamma * args.gae_lambda * ahead * (1 - ends)
                )
                following = value
                data.append((seen, masks, drawn, log, ahead, ahead + value, decided))
        kept = torch.cat([part[-1] for part in data])
        mean = float(torch.cat([row[4] for row in reversed(rows)])[kept].mean())
        batch = [None if part[0] is None else torch.cat(part)[kept] for part in list(zip(*data, strict=True))[:-1]]
        for _ in range(args.epochs):
            for some in torch.randperm(int(kept.sum())).split(args.minibatch):
                seen, masks, drawn, before, advantage, target = (part if part is None else part[some] for part in batch)
                log, entropy = policy.judge(seen, masks, drawn)
                ratio = (log - before).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
                gain = torch.min(ratio * advantage, ratio.clamp(1 - args.clip, 1 + args.clip) * advantage).mean()
                error = 0.5 * (policy.critic(seen).squeeze(-1) - target).square().mean()
                loss = args.value * error - gain - args.entropy * entropy.mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
                optimiser.step()
        if say and (update + 1) % 10 == 0:
            say(f"{(update + 1) * args.num_steps * args.num_envs:9,d} decisions, mean reward {mean:.3f}")
    envs.close()
    return policy, mean


def main() -> None:
    """Train on one environment with its default traces."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", default="netllm_gym/ABR-v0")
    for name, value in vars(Args()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    env_id = options.pop("env")
    train(Args(**options), env_id, split="train")


if __name__ == "__main__":
    main()
