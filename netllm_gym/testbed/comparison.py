"""How far the simulator is from the real player: every real episode beside its simulated twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from netllm_gym import zoo
from netllm_gym.envs.abr.kernel import link_arrays, transfer_s, wrap
from netllm_gym.errors import DatasetError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.runner import evaluate
from netllm_gym.evaluation.specs import EnvRecipe, Episode, plan_episodes
from netllm_gym.play import Play
from netllm_gym.testbed import own_rules, store
from netllm_gym.testbed.plan import ENV, Condition, load_conditions
from netllm_gym.traces import NetworkTrace

# The simulator's default buffer cap; dash.js stops a chunk before its target.
FULL_S = 60.0
# The simulator's default share of the link that is video.
PAYLOAD = 0.95
KEY = ["agent", "training_seed", "episode"]
Key = tuple[str, int, int]
WAYS = ("plain", "calibrated")
REAL = ("delay_s", "buffer_s", "wall_s")


@dataclass(frozen=True)
class Calibration:
    """The simulator's parameters as the real downloads want them.

    Attributes:
        payload: share of the link's bytes that is video.
        rtt_s: seconds from a request to its first byte.
        gap_s: mean seconds between an arrival and the next request (pauses at a full buffer not counted), by agent:
            the decision, and what the player needs besides.
        error: median relative error of a download's time with `payload` and `rtt_s`, each begun when it really began.
        segments: how many downloads say so.
    """

    payload: float
    rtt_s: float
    gap_s: Mapping[str, float]
    error: float
    segments: int

    def kwargs(self, agent: str) -> dict[str, Any]:
        """Arguments of ``ABR-v0`` that follow from it for one agent."""
        return {
            "payload": self.payload,
            "rtt_s": self.rtt_s,
            "decision_latency_s": self.gap_s.get(agent, 0.0),
            "latency_on_trace": True,
        }


@dataclass
class Comparison:
    """One condition, real and simulated.

    Attributes:
        condition: what was played.
        real: the result of the testbed.
        segments: a row per downloaded segment: download time, buffer and clock, real and replayed with the same levels
            (``plain_…``: the simulator as it is; ``calibrated_…``: with the arguments of `calibration`); ``…_alone_s``
            is its download time when it begins on the trace where the real one began.
        episodes: a row per episode: QoE, real and simulated: replayed with the same levels (``plain_replay``,
            ``calibrated_replay``), and with the agent deciding anew (``plain_twin``, ``calibrated_twin``; NaN for a
            browser's own rule, which no simulator plays), with the share of levels in which it decided the same.
        calibration: see :class:`Calibration`.
        changed: agents whose weights have changed since: they have no twin.
    """

    condition: Condition
    real: EvaluationResult
    segments: pd.DataFrame
    episodes: pd.DataFrame
    calibration: Calibration
    changed: list[str] = field(default_factory=list)

    def row(self, way: str = "plain") -> dict[str, Any]:
        """The headline numbers.

        ``alone_error_…``: relative error of a segment's download time when it begins on the trace where the real one
        began. ``time_error_…``: when whole episodes are replayed with the same levels, so that errors add up and the
        trace is met elsewhere; of the agents that a simulator can play.

        Args:
            way: ``plain`` or ``calibrated``.
        """
        # A browser's own rules pause by rules of their own, which no simulator follows: their replays drift.
        ours = self.segments[self.segments["agent"].isin(self.episodes.dropna(subset=[f"{way}_twin"])["agent"])]
        ratio = ours[f"{way}_s"] / ours["real_s"]
        error = (ratio - 1.0).abs()
        alone = (self.segments[f"{way}_alone_s"] / self.segments["real_s"] - 1.0).abs()
        means = self.agents()[["real", f"{way}_twin"]].dropna()
        ranked = len(means) > 1 and (means.nunique() > 1).all()
        real = self.episodes["real"]
        return {
            "condition": self.condition.name,
            "simulator": way,
            "episodes": len(self.episodes),
            "segments": len(self.segments),
            "alone_error_median": float(alone.median()),
            "alone_error_p95": float(alone.quantile(0.95)),
            "time_error_median": float(error.median()),
            "time_error_p95": float(error.quantile(0.95)),
            "qoe_error_replay": float((self.episodes[f"{way}_replay"] - real).abs().mean()),
            "qoe_error_twin": float((self.episodes[f"{way}_twin"] - real).abs().mean()),
            "same_levels": float(self.episodes[f"{way}_same_levels"].mean()),
            "spearman": float(stats.spearmanr(*means.T.to_numpy()).statistic) if ranked else math.nan,
            "kendall": float(stats.kendalltau(*means.T.to_numpy()).statistic) if ranked else math.nan,
        }

    def calibrated(self) -> dict[str, Any]:
        """The calibrated parameters."""
        gaps = self.calibration.gap_s
        return {
            "condition": self.condition.name,
            "payload": self.calibration.payload,
            "rtt_s": self.calibration.rtt_s,
            "set_rtt_s": self.condition.rtt_s,
            "gap_s_mean": float(np.mean([*gaps.values()])) if gaps else math.nan,
            "gap_s_largest": max(gaps.values(), default=math.nan),
            "slowest": max(gaps, key=lambda label: gaps[label], default=""),
            "time_error_median": self.calibration.error,
        }

    def gaps(self) -> list[str]:
        """Say why numbers are missing, a sentence for each cause."""
        found = [
            f"{label} failed in every episode, so it is not compared: {reason}"
            for label, reason in self.real.failures.items()
        ]
        found += [f"{label} is no longer the agent that played; it has no simulated twin" for label in self.changed]
        means = self.agents()
        if rules := [str(label) for label in means.index if own_rules.is_own(str(label))]:
            found.append(f"{', '.join(rules)}: no simulator plays a browser's own rules, so they have no twin")
        for way in WAYS:
            if math.isnan(self.row(way)["spearman"]):
                ranked = len(means[["real", f"{way}_twin"]].dropna())
                cause = f"{ranked} with a twin" if ranked < 2 else "all of one mean"
                found.append(f"spearman and kendall ({way}) need agents that can be ranked; here: {cause}")
        if not self.calibration.gap_s:
            found.append("gap_s is of agents that a simulator can play; there is none")
        return found

    def agents(self) -> pd.DataFrame:
        """Mean QoE of every agent, real and simulated, best first."""
        names = ["real", *(f"{way}_{kind}" for way in WAYS for kind in ("replay", "twin"))]
        means = self.episodes.groupby("agent", sort=False)[names].mean()
        return means.sort_values("real", ascending=False)


def _key(row: Mapping[Any, Any]) -> Key:
    return str(row["agent"]), int(row["training_seed"]), int(row["episode"])


def _episodes(steps: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    """Yield the segments of every episode in order."""
    for key, part in steps.groupby(KEY, sort=False):
        yield (str(key[0]), int(key[1]), int(key[2])), part.sort_values("step").reset_index(drop=True)


def _replay(env: Any, episode: Episode, levels: Sequence[int], way: str) -> tuple[list[dict[str, float]], float]:
    """Play given levels in the simulator; return (download time, buffer and clock per segment, mean reward)."""
    played = Play(env, seed=episode.env_seed, options=episode.options)
    inner = env.unwrapped
    rows: list[dict[str, float]] = []

    def note(seconds: float) -> None:
        rows.append({f"{way}_s": seconds, f"{way}_buffer_s": inner.buffer_s, f"{way}_wall_s": inner.wall_time_s})

    if inner.first_quality is not None:
        note(played.info["startup_s"])
        levels = levels[1:]
    for level in levels:
        played.advance(level)
        note(played.info["download_time_s"])
    return rows, played.total_reward / max(played.steps, 1)


def _gaps(steps: pd.DataFrame, full_s: float) -> dict[str, float]:
    """Mean seconds between an arrival and the next request, by agent.

    A pause at a full buffer (at `full_s` or above before it) is left out; any other is the player's own slowness.
    """
    ordered = steps.sort_values([*KEY, "step"])
    paused = ordered["sleep_s"].where(ordered["buffer_s"] + ordered["sleep_s"] >= full_s, 0.0)
    freed = ordered.assign(free_s=ordered["asked_s"] + ordered["delay_s"] + paused)
    gaps = (ordered["asked_s"] - freed.groupby(KEY)["free_s"].shift()).clip(lower=0.0)
    means = gaps.groupby(ordered["agent"]).mean().fillna(0.0)
    # Browsers' own rules pause on purpose, at levels of their own.
    return {str(label): float(gap) for label, gap in means.items() if not own_rules.is_own(str(label))}


class _Aligned:
    """Download times on one trace when every download begins where the real one began."""

    def __init__(self, trace: NetworkTrace) -> None:
        self.start_s, self.arrays = trace.start_s, link_arrays(trace, 1.0)

    def seconds(self, part: pd.DataFrame, payload: float, rtt: float) -> np.ndarray:
        """Download time of every segment in `part`."""
        total = self.arrays[0][-1]
        return np.array(
            [
                rtt + transfer_s(*self.arrays, wrap(total, self.start_s + asked + rtt), size / payload)
                for asked, size in part[["asked_s", "size"]].to_numpy(float)
            ]
        )


def calibrate(condition: Condition, steps: pd.DataFrame, traces: Mapping[int, int]) -> Calibration:
    """Find the payload share and the latency with which the simulator's link takes as long as the real one did.

    Every download begins, on the trace, when the real one was asked for, so that the error of one says nothing of the
    next. The median of the absolute relative error is minimised (Nelder–Mead from the simulator's defaults).

    Args:
        condition: what was played.
        steps: the segments.
        traces: episode → trace.
    """
    tables = [
        (_Aligned(condition.traces[traces[int(str(episode))]]), part) for episode, part in steps.groupby("episode")
    ]
    real = np.concatenate([part["delay_s"].to_numpy(float) for _, part in tables])

    def errors(payload: float, rtt: float) -> np.ndarray:
        seconds = np.concatenate([link.seconds(part, payload, rtt) for link, part in tables])
        return np.abs(seconds / real - 1.0)

    def cost(point: np.ndarray) -> float:
        payload, rtt = point
        if not 0.5 < payload <= 1.0 or not 0.0 <= rtt < 2.0:
            return 1e6
        # A little of the mean, because a median has flat places.
        each = errors(payload, rtt)
        return float(np.median(each) + 0.05 * np.minimum(each, 1.0).mean())

    begin = np.array([PAYLOAD, condition.rtt_s])
    simplex = begin + np.array([[0.0, 0.0], [0.02, 0.0], [0.0, 0.02]])
    best = optimize.minimize(
        cost, begin, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-7}
    )
    payload, rtt = (float(value) for value in best.x)
    each = errors(payload, rtt)
    return Calibration(payload, rtt, _gaps(steps, FULL_S - condition.video.chunk_s), float(np.median(each)), len(each))


def _specs(real: EvaluationResult) -> tuple[list[dict[str, Any]], list[str]]:
    """The agents of a result that a simulator can play, as arguments of :func:`netllm_gym.evaluate`, and the labels of
    those whose weights are no longer those that played."""
    specs, changed = [], []
    for agent in real.manifest["agents"]:
        if own_rules.is_own(agent["name"]):
            continue
        if zoo.content(agent["name"]) != agent["checkpoint"]:
            changed.append(agent["label"])
            continue
        own = {"name": agent["name"], "label": agent["label"], "training_seed": agent["training_seed"]}
        specs.append({**own, **agent["kwargs"]})
    return specs, changed


class _Simulated:
    """The simulator in one way: replays given levels, and lets agents decide anew."""

    def __init__(self, condition: Condition, way: str, seed: int, kwargs: Callable[[str], dict[str, Any]]) -> None:
        self.way, self.seed = way, seed
        self.kwargs = lambda agent: {**condition.kwargs, **kwargs(agent)}
        self.condition = condition
        self.plans = plan_episodes(len(condition.traces), len(condition.traces), seed)
        self._envs: dict[str, Any] = {}
        self._twins: dict[Key, tuple[float, list[int]]] = {}

    def replay(self, agent: str, episode: int, levels: Sequence[int]) -> tuple[pd.DataFrame, float]:
        """Play the same levels: a row per segment, and the mean reward."""
        if agent not in self._envs:
            self._envs[agent] = EnvRecipe.of(ENV, self.kwargs(agent)).make()
        rows, qoe = _replay(self._envs[agent], self.plans[episode], levels, self.way)
        return pd.DataFrame(rows), qoe

    def decide(self, specs: Sequence[dict[str, Any]]) -> None:
        """Let every agent play all episodes."""
        for spec in specs:
            result = evaluate(
                agents=[spec], setting=self.kwargs(spec["label"]), episodes=len(self.plans), seed=self.seed,
                trace_steps=range(len(self.plans)), progress=False,
            )  # fmt: skip
            qoe = {_key(row): float(row["qoe"]) for row in result.frame.to_dict("records")}
            for key, part in _episodes(result.steps):
                self._twins[key] = (qoe[key], part["level"].astype(int).tolist())

    def compared(self, key: Key, levels: Sequence[int], qoe: float) -> dict[str, float]:
        """What is to be said of one episode, replayed with mean reward `qoe`."""
        twin, again = self._twins.get(key, (math.nan, []))
        same = float(np.mean(np.array(again) == np.array(levels[-len(again) :]))) if again else math.nan
        return {f"{self.way}_replay": qoe, f"{self.way}_twin": twin, f"{self.way}_same_levels": same}


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
        DatasetError: the traces have changed since, or nothing was played to its end.
    """
    if real.manifest["traces"]["digest"] != condition.traces.digest:
        raise DatasetError(f"{condition.name}: the traces are no longer those that were played")
    rows = {_key(row): row for row in real.frame.to_dict("records")}
    good = {key for key, row in rows.items() if not row["failed"]}
    parts = [(key, part) for key, part in _episodes(real.steps) if key in good]
    if not parts:
        reason = next(iter(real.failures.values()), "no segment was kept")
        raise DatasetError(f"{condition.name}: every episode failed: {reason}")
    traces = {int(row["episode"]): int(row["trace_index"]) for row in rows.values()}
    calibration = calibrate(condition, pd.concat([part for _, part in parts]), traces)
    ways = [
        _Simulated(condition, "plain", seed, lambda agent: dict(options or {})),
        _Simulated(condition, "calibrated", seed, lambda agent: {**calibration.kwargs(agent), **(options or {})}),
    ]
    specs, changed = _specs(real)
    for way in ways:
        way.decide(specs)
    segments, episodes = [], []
    for key, part in parts:
        levels = part["level"].astype(int).tolist()
        own = part.rename(columns={name: f"real_{name.removeprefix('delay_')}" for name in REAL})
        row = {**dict(zip(KEY, key, strict=True)), "real": rows[key]["qoe"]}
        link = _Aligned(condition.traces[traces[key[2]]])
        own["plain_alone_s"] = link.seconds(part, PAYLOAD, condition.rtt_s)
        own["calibrated_alone_s"] = link.seconds(part, calibration.payload, calibration.rtt_s)
        columns = [own]
        for way in ways:
            frame, qoe = way.replay(key[0], key[2], levels)
            columns.append(frame)
            row |= way.compared(key, levels, qoe)
        segments.append(pd.concat(columns, axis=1))
        episodes.append(row)
    return Comparison(
        condition, real, pd.concat(segments, ignore_index=True), pd.DataFrame(episodes), calibration, changed
    )


def compare(folder: str | Path, options: Mapping[str, Any] | None = None) -> dict[str, Comparison]:
    """Compare everything that a testbed run left in `folder` with the simulator.

    Args:
        folder: what ``netllm-gym testbed run`` wrote.
        options: further arguments of ``ABR-v0``.

    Raises:
        DatasetError: no run there, or one whose traces have changed.
    """
    comparisons = {}
    for name, manifest in store.load_manifests(folder).items():
        call = manifest["call"]
        chosen = load_conditions(call["conditions"], call["profile"], call["traces"], call["videos"], call["chunks"])
        condition = next((c for c in chosen if c.name == name), None)
        if condition is None:
            raise DatasetError(f"{folder}: {name} is no longer a condition")
        comparisons[name] = compare_condition(
            condition, EvaluationResult.load(Path(folder) / name), call["seed"], options
        )
    return comparisons
