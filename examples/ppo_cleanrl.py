"""PPO in one file, in CleanRL's manner, on the batched streaming environment.

    python examples/ppo_cleanrl.py --total-steps 2000000

It needs torch. A rollout is one video in each of `--num-envs` environments: their episodes all end together, so nothing
is bootstrapped. Prints samples per second and the mean QoE of a chunk, and at the end the score on the test traces.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical

import netllm_gym
from netllm_gym.datasets.flat import FlatView


@dataclass
class Args:
    """What to train.

    Attributes:
        seed: of everything random.
        total_steps: chunks downloaded in all.
        num_envs: episodes side by side.
        learning_rate: of Adam, falling to zero.
        gamma, gae_lambda: of the advantages.
        epochs, minibatch: passes over a rollout, and samples of a gradient step.
        clip, entropy, value: PPO's range, and the weights of the entropy and of the value loss.
    """

    seed: int = 1
    total_steps: int = 2_000_000
    num_envs: int = 256
    learning_rate: float = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    epochs: int = 4
    minibatch: int = 3008
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """A linear layer with orthogonal weights."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


class Network(nn.Module):
    """Actor and critic, two hidden layers of 64 units each."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions, 0.01))
        self.critic = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))


def train(args: Args, say=print, **env_kwargs) -> tuple[Network, FlatView, float]:
    """Return the network, the view it reads, and samples per CPU second."""
    torch.manual_seed(args.seed)
    envs = gym.make_vec(
        "netllm_gym/ABR-v0", args.num_envs, vectorization_mode="vector_entry_point", autoreset_mode="same_step",
        tell=False, **env_kwargs,
    )  # fmt: skip
    view = FlatView(envs.single_observation_space, envs.metadata["scales"])
    network = Network(view.size, int(envs.single_action_space.n))
    optimiser = torch.optim.Adam(network.parameters(), lr=args.learning_rate, eps=1e-5)
    length = envs.video.chunks - (0 if envs.rules.first_quality < 0 else 1)
    updates = max(1, args.total_steps // (length * args.num_envs))
    observations = torch.zeros(length, args.num_envs, view.size)
    actions = torch.zeros(length, args.num_envs, dtype=torch.int64)
    logs, rewards, values = (torch.zeros(length, args.num_envs) for _ in range(3))
    observation, _ = envs.reset(seed=args.seed)
    begin, cpu = time.perf_counter(), time.process_time()
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = args.learning_rate * (1.0 - update / updates)
        with torch.no_grad():
            for t in range(length):
                observations[t] = torch.from_numpy(view.many(observation))
                chosen = Categorical(logits=network.actor(observations[t]))
                actions[t] = chosen.sample()
                logs[t] = chosen.log_prob(actions[t])
                observation, reward, _, _, _ = envs.step(actions[t].numpy())
                rewards[t] = torch.from_numpy(reward)
            values[:] = network.critic(observations).squeeze(-1)
            # Every episode ends with the rollout: beyond it there is nothing to come.
            advantages, ahead, following = torch.zeros_like(rewards), 0.0, 0.0
            for t in reversed(range(length)):
                delta = rewards[t] + args.gamma * following - values[t]
                advantages[t] = ahead = delta + args.gamma * args.gae_lambda * ahead
                following = values[t]
        flat = [part.flatten(0, 1) for part in (observations, actions, logs, advantages, advantages + values)]
        for _ in range(args.epochs):
            for rows in torch.randperm(len(flat[0])).split(args.minibatch):
                seen, taken, before, advantage, target = (part[rows] for part in flat)
                now = Categorical(logits=network.actor(seen))
                ratio = (now.log_prob(taken) - before).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                gain = torch.min(ratio * advantage, ratio.clamp(1 - args.clip, 1 + args.clip) * advantage).mean()
                error = 0.5 * (network.critic(seen).squeeze(-1) - target).square().mean()
                loss = args.value * error - gain - args.entropy * now.entropy().mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimiser.step()
        samples = (update + 1) * length * args.num_envs
        if say and (update + 1) % 25 == 0:
            rate = samples / (time.perf_counter() - begin)
            say(f"{samples:9,d} samples, {rate:7,.0f}/s, mean QoE {rewards.mean():.3f}")
    return network, view, updates * length * args.num_envs / (time.process_time() - cpu)


class Trained(netllm_gym.Agent):
    """The network as an agent: the most probable level."""

    name = "cleanrl-ppo"

    def __init__(self, network: Network, view: FlatView) -> None:
        self.network, self.view = network, view

    @torch.no_grad()
    def act(self, observation, info):
        """Return the level of the next chunk."""
        return int(self.network.actor(torch.from_numpy(self.view.one(observation))).argmax())


def main() -> None:
    """Train, then compare on the test traces."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in vars(Args()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = Args(**vars(parser.parse_args()))
    kwargs = {"traces": "abr/synthetic", "video": "synthetic"}
    network, view, rate = train(args, split="train", random_start=True, **kwargs)
    print(f"{rate:,.0f} samples per CPU second")
    print(netllm_gym.evaluate(agents=[Trained(network, view), "abr/bba", "abr/robust-mpc"]).summary())


if __name__ == "__main__":
    main()
