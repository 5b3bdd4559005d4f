"""How `cluster/decima` is trained: imitation of a rule first, if one is named, then PPO against runs of the same jobs.

An iteration plays `sequences` job sequences `rollouts` times each, all in lock-step. The rollouts of a sequence meet
the same arrivals and the same task durations (every task owns a uniform that no policy can change), so what one of them
is better by is what it decided better: the baseline at a time is the mean return of the other rollouts from then on
(the input-dependent baseline of Decima and of Mao et al., ICLR 2019), corrected for the backlog in which this one
stands by a linear fit. Time is continuous: returns fade with the seconds that pass, not with the number of decisions,
of which one instant can hold many.

While imitating, the network plays and the rule names what it would have done (DAgger, Ross et al., 2011).

Every iteration draws from generators keyed by (seed, iteration): a run that was stopped and goes on ends where an
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
from netllm_gym.agents.cluster.decima import Decima, decide
from netllm_gym.agents.cluster.decima_episodes import Moment, advantages, in_slots, play
from netllm_gym.agents.cluster.decima_network import (
    DecimaConfig,
    Integers,
    Network,
    Operations,
    States,
    count_options,
    join,
    read_states,
)
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.errors import ConfigError
from netllm_gym.play import Play, lockstep
from netllm_gym.traces import TraceSet
from netllm_gym.traces.protocol import refuse_test

Line = dict[str, float]


@dataclass(frozen=True)
class DecimaTraining:
    """Hyper-parameters of a training run.

    Attributes:
        teacher: rule to imitate at first, a registered name; empty: none, everything is learnt by reinforcement.
        imitation: iterations of imitation.
        iterations: all iterations.
        sequences, rollouts: job sequences an iteration, and how often each is played.
        jobs: of an episode.
        executors: of an episode's cluster; several take turns over the sequences, and the first is validated on.
        epochs, batch: passes over an iteration's decisions, and decisions in a step of the optimiser.
        divergence: an iteration's passes end when the decisions' chances have moved so far (Kullback-Leibler, nats).
        clip: of PPO's surrogate.
        learning_rate: at the start of the reinforcement; it falls linearly to a tenth.
        imitation_rate: learning rate while imitating.
        entropy, entropy_end: weight of the entropy bonus, from first to last iteration (geometric).
        horizon_s: returns fade by 1/e in so many simulated seconds.
        credit_s: a decision is credited with what follows it by 1/e less in so many seconds (the continuous lambda).
        average: share of the running average of the weights kept at each iteration; it is what is scored and kept.
        check_every: iterations between scores on the validation sequences; the best scored network is kept.
        check_sequences, check_jobs: of these scores.
        embedding, hidden: widths of the network; seed: of everything.
    """

    teacher: str = "cluster/tuned"
    imitation: int = 8
    iterations: int = 120
    sequences: int = 4
    rollouts: int = 4
    jobs: int = 50
    executors: tuple[int, ...] = (50, 30)
    epochs: int = 3
    batch: int = 1024
    clip: float = 0.2
    divergence: float = 0.01
    learning_rate: float = 2e-3
    imitation_rate: float = 3e-3
    entropy: float = 0.001
    entropy_end: float = 0.0005
    horizon_s: float = 100.0
    credit_s: float = 200.0
    average: float = 0.8
    check_every: int = 8
    check_sequences: int = 16
    check_jobs: int = 100
    embedding: int = 16
    hidden: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.iterations, self.sequences, self.jobs, *self.executors, self.epochs, self.batch)
        checks = (self.check_every, self.check_sequences, self.check_jobs)
        if not self.executors or min(*counts, *checks) < 1 or self.imitation < 0:
            raise ConfigError("counts must be at least 1")
        if self.rollouts < 2:
            raise ConfigError("rollouts must be at least 2: each is the others' baseline")
        if min(self.horizon_s, self.credit_s, self.divergence, self.learning_rate, self.imitation_rate) <= 0:
            raise ConfigError("horizon_s, credit_s, divergence and the learning rates must be positive")
        if not 0 <= self.average < 1 or min(self.entropy, self.entropy_end) <= 0:
            raise ConfigError("average must lie in [0, 1) and the entropy weights must be positive")
        if self.imitation and not self.teacher:
            raise ConfigError("imitation needs a teacher")


def torch_operations() -> Operations:
    """Return torch's twin of the network's operations."""
    import torch

    return Operations(
        array=torch.from_numpy,
        join=lambda parts: torch.cat(tuple(parts)),
        beside=lambda parts: torch.cat(tuple(parts), 1),
        maximum=torch.maximum,
        sums=lambda rows, index, count: rows.new_zeros((count, rows.shape[1])).index_add(0, index, rows),
    )


def log_chances(scores: Any, owner: Integers, owners: int) -> Any:
    """Log probabilities of scores ``[n]`` among those of the same owner ``[n]``."""
    import torch

    index = torch.from_numpy(owner)
    top = torch.full((owners,), -np.inf).scatter_reduce(0, index, scores.detach(), "amax")
    level = scores - top[index]
    return level - torch.zeros(owners).index_add(0, index, level.exp()).log()[index]


def judge(network: Network, states: States, picked: Integers, number: Integers) -> tuple[Any, Any]:
    """Return the log probability of each decision ``[s]`` and the mean entropy of a decision."""
    import torch

    contexts = network.contexts(states)
    count, pick = len(states.free), torch.from_numpy(picked)
    stages = log_chances(network.picks(contexts), states.choice_state, count)
    options, owner, numbers = count_options(states, picked)
    amounts = log_chances(network.amounts(contexts[pick], options, owner), owner, count)
    chosen = torch.from_numpy(np.flatnonzero(numbers == number[owner]))
    entropy = -((stages.exp() * stages).sum() + (amounts.exp() * amounts).sum()) / count
    return stages[pick] + amounts[chosen], entropy


def score(agent: Decima, envs: Sequence[ClusterSchedulingEnv], starts: Sequence[tuple[int, int]]) -> float:
    """Return the mean job completion time (s) of one episode in each environment; lower is better."""
    rngs = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x5C0, trace))) for seed, trace in starts]
    plays = [Play(env, seed=seed, options={"trace": trace}) for env, (seed, trace) in zip(envs, starts, strict=True)]

    def choose(observations: Sequence[Any], _infos: Sequence[Any]) -> list[Any]:
        open_slots = [i for i, observation in enumerate(observations) if observation is not None]
        states = read_states([observations[i] for i in open_slots])
        picked, number = decide(agent.network, states, None if agent.greedy else [rngs[i] for i in open_slots])
        return in_slots(len(plays), open_slots, states.row[picked], number)

    for _ in lockstep(plays, choose):
        pass
    return float(np.mean([episode.info["mean_jct_s"] for episode in plays]))


class Trainer:
    """A training run that can stop and go on.

    Args:
        config: hyper-parameters.
        train, valid: job sequences to learn on and to choose the network by.
        run: folder for the state and ``log.jsonl``; a run found there goes on.
        start: the network to begin with, of the configuration's widths; by default a new one with equal chances.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: the folder holds a run of another configuration, or `start` has other widths.
    """

    def __init__(
        self, config: DecimaTraining, train: TraceSet, valid: TraceSet, run: str | Path, start: Decima | None = None
    ) -> None:
        torch = extras.load("torch", "training the cluster scheduler")
        for sequences in (train, valid):
            refuse_test(sequences.split, "training the cluster scheduler")
        self.config, self.run, self.shape = config, Path(run), DecimaConfig(config.embedding, config.hidden)
        self.sequences = len(train)
        self.envs = [
            ClusterSchedulingEnv(train, jobs=config.jobs, executors=config.executors[k % len(config.executors)])
            for k in range(config.sequences)
            for _ in range(config.rollouts)
        ]
        self.checks = [(1_000 + k, k) for k in range(min(config.check_sequences, len(valid)))]
        self.check_envs = [
            ClusterSchedulingEnv(valid, jobs=config.check_jobs, executors=config.executors[0]) for _ in self.checks
        ]
        for env in (*self.envs, *self.check_envs):
            env._tables = self.envs[0]._tables  # resolved once for all
        if start is not None and start.config != self.shape:
            raise ConfigError(f"the network to start from has {start.config}, the training asks for {self.shape}")
        drawn = _drawn(self.shape, config.seed) if start is None else start.weights
        self.weights = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in drawn.items()}
        self.network = Network(self.weights, torch_operations())
        self.averaged = self._snapshot()
        self.best, self.best_score, self.iteration = self._snapshot(), np.inf, 0
        self.optimiser = self._new_optimiser()
        if run_state.stored(self.run):
            self._resume()

    def train(self, minutes: float | None = None, say: Callable[[str], None] | None = None) -> Decima:
        """Go on until the last iteration, or about `minutes` of this call; return the best network so far."""
        until = time.monotonic() + 60.0 * minutes if minutes is not None else np.inf
        while self.iteration < self.config.iterations and time.monotonic() < until:
            line = self.iterate()
            if self.iteration % self.config.check_every == 0 or self.iteration == self.config.iterations:
                line["valid_jct_s"] = score(Decima(self.shape, self.averaged), self.check_envs, self.checks)
                if line["valid_jct_s"] < self.best_score:
                    self.best_score, self.best = line["valid_jct_s"], dict(self.averaged)
                self.store(line)
            if say:
                say(json.dumps({key: round(value, 4) for key, value in line.items()}))
        return Decima(self.shape, self.best)

    def iterate(self) -> Line:
        """Play and learn once; return what is worth a line in the log."""
        config = self.config
        key = np.random.SeedSequence(config.seed, spawn_key=(0x1CE, self.iteration))
        rng = np.random.default_rng(key)
        drawn = rng.choice(self.sequences, config.sequences, replace=self.sequences < config.sequences)
        starts = [(int(rng.integers(2**31)), int(trace)) for trace in drawn]
        imitating = self.iteration < config.imitation
        acting = Network(self._snapshot())
        moments, jct = play(
            acting, self.envs, [start for start in starts for _ in range(config.rollouts)], rng,
            config.teacher if imitating else "",
        )  # fmt: skip
        line: Line = {"iteration": self.iteration + 1, "train_jct_s": jct}
        if imitating:
            line |= self._imitate(moments, rng)
        else:
            line |= self._reinforce(moments, rng)
        new = self._snapshot()
        keep = 0.0 if imitating else config.average
        self.averaged = {name: keep * old + (1.0 - keep) * new[name] for name, old in self.averaged.items()}
        self.iteration += 1
        return line

    def _batches(self, moments: Sequence[Moment], rng: np.random.Generator) -> list[list[int]]:
        """Shuffle the moments and cut them where `batch` decisions are reached."""
        batches: list[list[int]] = [[]]
        held = 0
        for k in rng.permutation(len(moments)).tolist():
            if held >= self.config.batch:
                batches.append([])
                held = 0
            batches[-1].append(k)
            held += len(moments[k].slot)
        return batches

    def _step(self, loss: Any) -> None:
        import torch

        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimiser.step()

    def _new_optimiser(self) -> Any:
        import torch

        return torch.optim.Adam(list(self.weights.values()), lr=self.config.learning_rate, eps=1e-5)

    def _rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _imitate(self, moments: Sequence[Moment], rng: np.random.Generator) -> Line:
        self._rate(self.config.imitation_rate)
        losses = []
        for _ in range(self.config.epochs):
            for batch in self._batches(moments, rng):
                states, picked, number = _gather([moments[k] for k in batch])
                log_p, _ = judge(self.network, states, picked, number)
                self._step(-log_p.mean())
                losses.append(-float(log_p.detach().mean()))
        return {"cross_entropy": float(np.mean(losses[len(losses) // 2 :]))}

    def _reinforce(self, moments: Sequence[Moment], rng: np.random.Generator) -> Line:
        import torch

        config = self.config
        if self.iteration == config.imitation:
            self.optimiser = self._new_optimiser()  # the moments of imitation's far smaller gradients would leap
        share = (self.iteration - config.imitation) / max(config.iterations - config.imitation - 1, 1)
        self._rate(config.learning_rate * (1.0 - 0.9 * share))
        entropy_weight = config.entropy * (config.entropy_end / config.entropy) ** share
        gains, fit, spread = advantages(moments, config.rollouts, config.horizon_s, config.credit_s)
        before: dict[int, Any] = {}
        with torch.no_grad():
            for batch in self._batches(moments, np.random.default_rng(0)):
                chosen = [moments[k] for k in batch]
                log_p, _ = judge(self.network, *_gather(chosen))
                before |= dict(zip(batch, log_p.split([len(m.slot) for m in chosen]), strict=True))
        entropies: list[float] = []
        moves: list[float] = []
        for batch in (batch for _ in range(config.epochs) for batch in self._batches(moments, rng)):
            if moves and np.mean(moves[-8:]) > config.divergence:
                break
            log_p, entropy = judge(self.network, *_gather([moments[k] for k in batch]))
            better = torch.from_numpy(np.clip(np.concatenate([gains[k] for k in batch]), -5, 5).astype(np.float32))
            change = log_p - torch.cat([before[k] for k in batch])
            ratio = change.exp()
            surrogate = torch.minimum(ratio * better, ratio.clamp(1 - config.clip, 1 + config.clip) * better)
            self._step(-surrogate.mean() - entropy_weight * entropy)
            entropies.append(float(entropy.detach()))
            moves.append(float((ratio - 1 - change).detach().mean()))
        moved = float(np.mean(moves[-8:]))
        return {"entropy": float(np.mean(entropies)), "divergence": moved, "fit": fit, "spread": spread}

    def _snapshot(self) -> dict[str, NDArray[np.float32]]:
        return {name: value.detach().numpy().copy() for name, value in self.weights.items()}

    def store(self, line: Line) -> None:
        """Write the run's state and a line of its log."""
        import torch

        parts = {"now": self._snapshot(), "averaged": self.averaged, "best": self.best}
        networks = {
            name: {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in part.items()}
            for name, part in parts.items()
        }
        state = {"config": _plain(self.config), "iteration": self.iteration, "best_score": self.best_score}
        run_state.store(self.run, networks, self.optimiser, state, line)

    def _resume(self) -> None:
        import torch

        names = ("now", "averaged", "best")
        networks, state = run_state.resume(self.run, _plain(self.config), names, self.optimiser)
        with torch.no_grad():
            for name, value in networks["now"].items():
                self.weights[name].copy_(value)
        self.averaged, self.best = ({key: value.numpy() for key, value in networks[name].items()} for name in names[1:])
        self.iteration, self.best_score = int(state["iteration"]), float(state["best_score"])


def _plain(config: DecimaTraining) -> dict[str, Any]:
    """Return the options as JSON will give them back."""
    return {**asdict(config), "executors": list(config.executors)}


def _drawn(shape: DecimaConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw the weights of a new network, whose decisions have about equal chances."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xDEC,)))
    weights = {}
    for name, size in shape.shapes().items():
        bound = np.sqrt(1.0 / size[0]) if len(size) == 2 else 0.0
        weights[name] = rng.uniform(-bound, bound, size).astype(np.float32)
        if name in ("pick.2.weight", "amount.1.weight"):
            weights[name] *= 0.01
    return weights


def _gather(moments: Sequence[Moment]) -> tuple[States, Integers, Integers]:
    """Return the states of several moments as one graph, with what was decided in them."""
    states = join([moment.states for moment in moments])
    choices = np.cumsum([0, *(len(moment.states.choice) for moment in moments[:-1])])
    picked = np.concatenate([moment.picked + at for moment, at in zip(moments, choices, strict=True)])
    return states, picked, np.concatenate([moment.number for moment in moments])
