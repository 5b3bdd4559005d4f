"""How far the simulator is from the real player: every real episode beside its simulated twin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from netllm_gym.envs.abr.kernel import link_arrays, transfer_s, wrap
from netllm_gym.errors import DatasetError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.runner import evaluate
from netllm_gym.evaluation.specs import plan_episodes
from netllm_gym.testbed import store
from netllm_gym.testbed.plan import Condition, load_conditions
from netllm_gym.testbed.policy import OWN_RULE


@dataclass(frozen=True)
class Calibration:
    """The simulator's parameters as the real downloads want them.

    Attributes:
        payload: share of the link's bytes that is video.
        rtt_s: seconds from a request to its first byte.
        error: median relative error of a download's time with them, each begun when it really began.
        segments: how many downloads say so.
    """

    payload: float
    rtt_s: float
    error: float
    segments: int


@dataclass
class Comparison:
    """One condition, real and simulated.

    Attributes:
        condition: what was played.
        real: the result of the testbed.
        segments: a row per downloaded segment: real and replayed (same levels) download time and buffer.
        episodes: a row per episode: real QoE, that of the replay (same levels) and of the twin (the agent decides anew
            in the simulator; NaN for a browser's own rule, which no simulator plays).
        calibration: see :class:`Calibration`.
    """

    condition: Condition
    real: EvaluationResult
    segments: pd.DataFrame
    episodes: pd.DataFrame
    calibration: Calibration

    def row(self) -> dict[str, Any]:
        """The headline numbers."""
        error = (self.segments["replayed_s"] / self.segments["real_s"] - 1.0).abs()
        means = self.agents()
        played = means.dropna(subset=["twin"])
        enough = len(played) > 1 and played["real"].nunique() > 1 and played["twin"].nunique() > 1
        return {
            "condition": self.condition.name,
            "episodes": len(self.episodes),
            "segments": len(self.segments),
            "time_error_median": float(error.median()),
            "time_error_p95": float(error.quantile(0.95)),
            "time_bias": float((self.segments["replayed_s"] / self.segments["real_s"]).median() - 1.0),
            "qoe_error_replay": float((self.episodes["replay"] - self.episodes["real"]).abs().mean()),
            "qoe_error_twin": float((self.episodes["twin"] - self.episodes["real"]).abs().mean()),
            "same_levels": float(self.episodes["same_levels"].mean()),
            "spearman": _correlation(stats.spearmanr, played) if enough else math.nan,
            "kendall": _correlation(stats.kendalltau, played) if enough else math.nan,
            "payload": self.calibration.payload,
            "rtt_s": self.calibration.rtt_s,
            "calibrated_error": self.calibration.error,
        }

    def agents(self) -> pd.DataFrame:
        """Mean QoE of every agent, real and simulated, best first."""
        means = self.episodes.groupby("agent", sort=False)[["real", "replay", "twin"]].mean()
        return means.sort_values("real", ascending=False)


def _correlation(measure: Any, means: pd.DataFrame) -> float:
    return float(measure(means["real"], means["twin"]).statistic)


def _levels(steps: pd.DataFrame) -> dict[tuple[str, int, int], pd.DataFrame]:
    keys = ["agent", "training_seed", "episode"]
    return {key: part.sort_values("step") for key, part in steps.groupby(keys, sort=False)}


def _replay(env: Any, episode: Any, levels: list[int]) -> tuple[list[dict[str, float]], float]:
    """Play given levels in the simulator; return (download time and buffer per segment, mean reward)."""
    _, info = env.reset(seed=episode.env_seed, options=episode.options)
    inner = env.unwrapped
    rows = []
    rewards = []
    if inner.first_quality is not None:
        rows.append(
            {"replayed_s": info["startup_s"], "replayed_buffer_s": inner.buffer_s, "replayed_wall_s": inner.wall_time_s}
        )
        levels = levels[1:]
    for level in levels:
        _, reward, _, _, info = env.step(level)
        rewards.append(reward)
        rows.append(
            {
                "replayed_s": info["download_time_s"],
                "replayed_buffer_s": info["buffer_s"],
                "replayed_wall_s": info["wall_time_s"],
            }
        )
    return rows, math.fsum(rewards) / max(len(rewards), 1)


def calibrate(condition: Condition, steps: pd.DataFrame, traces: Mapping[int, int]) -> Calibration:
    """Find the payload share and the latency with which the simulator's link takes as long as the real one did.

    Every download begins, on the trace, when the real one was asked for, so that the error of one says nothing of the
    next. The median of the absolute relative error is minimised (Nelder–Mead from the simulator's defaults).

    Args:
        condition: what was played.
        steps: the segments.
        traces: episode → trace.
    """
    parts = [
        (condition.traces[traces[episode]], part[["asked_s", "size", "delay_s"]].to_numpy(float))
        for episode, part in steps.groupby("episode")
    ]
    links = [(trace, link_arrays(trace, 1.0), table) for trace, table in parts]

    def errors(payload: float, rtt: float) -> np.ndarray:
        found = []
        for trace, arrays, table in links:
            total = arrays[0][-1]
            for asked, size, delay in table:
                offset = wrap(total, trace.start_s + asked + rtt)
                found.append(abs((rtt + transfer_s(*arrays, offset, size / payload)) / delay - 1.0))
        return np.array(found)

    def cost(point: np.ndarray) -> float:
        payload, rtt = point
        if not 0.5 < payload <= 1.0 or not 0.0 <= rtt < 2.0:
            return 1e6
        # A little of the mean, because a median has flat places.
        each = errors(payload, rtt)
        return float(np.median(each) + 0.05 * np.minimum(each, 1.0).mean())

    begin = np.array([0.95, condition.rtt_s])
    simplex = begin + np.array([[0.0, 0.0], [0.02, 0.0], [0.0, 0.02]])
    best = optimize.minimize(
        cost, begin, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-7}
    )
    payload, rtt = (float(value) for value in best.x)
    each = errors(payload, rtt)
    return Calibration(payload, rtt, float(np.median(each)), len(each))


def compare_condition(
    condition: Condition, real: EvaluationResult, seed: int, options: Mapping[str, Any] | None = None
) -> Comparison:
    """Replay and re-decide every real episode of a condition in the simulator.

    Args:
        condition: what was played; its traces must be those of `real`.
        real: the testbed's result.
        seed: of the run.
        options: further arguments of ``ABR-v0``, to try what brings it nearer.

    Raises:
        DatasetError: the traces have changed since.
    """
    if real.manifest["traces"]["digest"] != condition.traces.digest:
        raise DatasetError(f"{condition.name}: the traces are no longer those that were played")
    kwargs = {**condition.kwargs, **(options or {})}
    env: Any = condition.recipe().spec.make(disable_env_checker=True, **kwargs)
    plans = plan_episodes(len(condition.traces), len(condition.traces), seed)
    named = {(a["label"], a["training_seed"]): a for a in real.manifest["agents"]}
    simulated = [
        {"name": a["name"], "label": a["label"], "training_seed": a["training_seed"], **a["kwargs"]}
        for a in named.values()
        if not a["name"].startswith(OWN_RULE)
    ]
    twin = evaluate(
        agents=simulated, setting=kwargs, episodes=len(plans), seed=seed, baseline=real.manifest["baseline"],
        trace_steps=range(len(plans)), progress=False,
    )  # fmt: skip
    twin_rows = twin.frame.set_index(["agent", "training_seed", "episode"])
    twin_steps = _levels(twin.steps) if len(twin.steps) else {}
    failed = real.frame.set_index(["agent", "training_seed", "episode"])["failed"].to_dict()
    real_rows = real.frame.set_index(["agent", "training_seed", "episode"])
    segments, episodes = [], []
    for key, part in _levels(real.steps).items():
        if failed[key]:
            continue
        levels = part["level"].astype(int).tolist()
        replayed, qoe = _replay(env, plans[key[2]], levels)
        own = part.reset_index(drop=True).rename(
            columns={"delay_s": "real_s", "buffer_s": "real_buffer_s", "wall_s": "real_wall_s"}
        )
        segments.append(pd.concat([own, pd.DataFrame(replayed)], axis=1))
        known = key in twin_rows.index
        again = twin_steps[key]["level"].astype(int).tolist() if known else []
        episodes.append(
            {
                "agent": key[0],
                "training_seed": key[1],
                "episode": key[2],
                "real": real_rows.loc[key, "qoe"],
                "replay": qoe,
                "twin": twin_rows.loc[key, "qoe"] if known else math.nan,
                "same_levels": float(np.mean(np.array(again) == np.array(levels[-len(again) :])))
                if known
                else math.nan,
            }
        )
    if not segments:
        raise DatasetError(f"{condition.name}: every episode failed")
    traces = {plan.index: int(plan.trace_index or 0) for plan in plans}
    good = real.steps[
        [
            not failed[k]
            for k in zip(real.steps["agent"], real.steps["training_seed"], real.steps["episode"], strict=True)
        ]
    ]
    found = calibrate(condition, good, traces)
    return Comparison(condition, real, pd.concat(segments, ignore_index=True), pd.DataFrame(episodes), found)


def compare(folder: str | Path, options: Mapping[str, Any] | None = None) -> dict[str, Comparison]:
    """Compare everything that a testbed run left in `folder` with the simulator.

    Args:
        folder: what ``netllm-gym testbed run`` wrote.
        options: further arguments of ``ABR-v0``.

    Raises:
        DatasetError: no run there, or one whose traces have changed.
    """
    found = {}
    for name, told in store.load_told(folder).items():
        call = told["call"]
        chosen = load_conditions(call["conditions"], call["profile"], call["traces"], call["videos"], call["chunks"])
        condition = next((c for c in chosen if c.name == name), None)
        if condition is None:
            raise DatasetError(f"{folder}: {name} is no longer a condition")
        found[name] = compare_condition(condition, EvaluationResult.load(Path(folder) / name), call["seed"], options)
    return found
