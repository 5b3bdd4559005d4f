"""A decision of the zoo's language models beside one read of their weights: `python benchmarks/llm_decision.py`.

One thread, its own CPU time: what other processes take does not count. Each agent plays a validation episode of its
task, alone and 32 at once, again and again, with its pass through the backbone timed inside each decision and the
weights read between episodes. Printed are medians over an episode's decisions, of the fastest episode:

- decision / read: the whole decision beside reading the backbone's matrices from memory once (the sum of each);
- around: share of encoder, head and Python, which is the decision less the pass, same tokens, same cache;
- transformers: the same decision when the pass is the one of `transformers`, beside ours.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from netllm_gym import make_agent
from netllm_gym.agents.llm.decode import Decoder
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.play import Play, lockstep

ABR = ("netllm_gym/ABR-v0", {"traces": "abr/synthetic", "video": "synthetic"})
VIEWPORT = ("netllm_gym/ViewportPrediction-v0", {"traces": "viewport/synthetic"})
TILES = ("netllm_gym/ViewportStreaming-v0", {"traces": "viewport/synthetic"})
CLUSTER = ("netllm_gym/ClusterScheduling-v0", {"traces": "cluster/synthetic", "executors": 50, "jobs": 20})
CASES = {
    "abr/llm": (ABR,),
    "cluster/llm": (CLUSTER,),
    "viewport/llm": (VIEWPORT,),
    "any/generalist": (ABR, VIEWPORT, TILES, CLUSTER),
}
DECISIONS = 40  # of an episode; later ones are not timed


class Clock:
    """Seconds of each decision and of the passes inside it."""

    def __init__(self, agent: Any) -> None:
        self.whole: list[float] = []
        self.inside: list[float] = []
        self._act, self._plain = agent.act_batch, DecisionModel._pass
        self.backbone: Any = None

    def act(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        self.inside.append(0.0)
        begin = time.process_time()
        actions = self._act(observations, infos)
        self.whole.append(time.process_time() - begin)
        return list(actions)

    def passed(self, model: DecisionModel, tokens: Any, cache: Any = None) -> Any:
        begin = time.process_time()
        found = self._plain(model, tokens, cache)
        if self.inside:
            self.inside[-1] += time.process_time() - begin
        self.backbone = model.backbone
        return found

    def play(self, agent: Any, envs: Sequence[gym.Env]) -> tuple[float, float]:
        """Median seconds of a decision of one round of episodes, and of its pass."""
        plays = [Play(env, seed=i, options={"trace": i}) for i, env in enumerate(envs)]
        agent.reset_batch([play.env_info() for play in plays])
        self.whole, self.inside = [], []
        for _ in lockstep(plays, lambda seen, known: self.act(seen, known)):
            if len(self.whole) == DECISIONS or any(play.over for play in plays):
                break
        skipped = min(3, len(self.whole) - 1)
        return float(np.median(self.whole[skipped:])), float(np.median(self.inside[skipped:]))


def read(backbone: Any) -> float:
    """Seconds of reading every matrix of `backbone` once."""
    weights = [value for name, value in backbone.named_parameters() if value.ndim == 2 and "lora_" not in name]
    begin = time.process_time()
    with torch.inference_mode():
        for value in weights:
            value.view(-1).sum()
    return time.process_time() - begin


def measure(name: str, case: tuple[str, dict[str, Any]], batch: int, repeats: int) -> str:
    agent: Any = make_agent(name)
    envs = [gym.make(case[0], split="valid", **case[1]) for _ in range(batch)]
    clock, own = Clock(agent), Decoder.of
    ours, theirs, passes, reads = [], [], [], []
    DecisionModel._pass = lambda model, tokens, cache=None: clock.passed(model, tokens, cache)  # type: ignore
    try:
        for repeat in range(2 * repeats):
            lean = repeat % 2 == 0
            Decoder.of = own if lean else lambda backbone: None  # type: ignore[assignment]
            networks = [network.agent for network in getattr(agent, "networks", {}).values()]
            for model in (agent, *getattr(agent, "_played", {}).values(), getattr(agent, "_network", None), *networks):
                if hasattr(model, "_prefix"):
                    model._prefix = None  # the next reset chooses who passes
            whole, inside = clock.play(agent, envs)
            (ours if lean else theirs).append(whole)
            if lean:
                passes.append(inside)
                reads += [read(clock.backbone) for _ in range(10)]
    finally:
        DecisionModel._pass, Decoder.of = clock._plain, own  # type: ignore[method-assign]
    best = int(np.argmin(ours))
    whole, around, once = ours[best], 1.0 - passes[best] / ours[best], min(reads)
    return (
        f"| `{name}` | {case[0].partition('/')[2]} | {batch} | {1e3 * whole:.2f} | {1e3 * once:.2f} "
        f"| {whole / once:.2f} | {100 * around:.0f} % | {min(theirs) / whole:.2f} × |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| agent | environment | at once | decision, ms | read, ms | decision / read | around | transformers |")
    print("|---" * 8 + "|")
    for name in given.agents:
        for case in CASES[name]:
            for batch in given.batches:
                print(measure(name, case, batch, given.repeats), flush=True)


if __name__ == "__main__":
    main()
