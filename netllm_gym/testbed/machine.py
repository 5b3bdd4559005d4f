"""Was the machine the bottleneck? How late event loops woke up, and how late segments left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.files import write_json

# A run whose segments leave later than this share of their own duration measures the machine, not the network.
TOLERATED = 0.02
TOLERATED_LAG_MS = 50.0


@dataclass
class Machine:
    """What was seen of the machine over all runs into one folder.

    Attributes:
        lags: per run, event-loop lag by process (milliseconds: p50, p99, max).
    """

    lags: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Machine:
        """Read what earlier runs left; nothing when there is none or it is damaged."""
        try:
            return cls(list(json.loads(path.read_text(encoding="utf-8"))["lags"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        """Keep it for the next run."""
        write_json(path, {"lags": self.lags})

    def add(self, lags: dict[str, Any]) -> None:
        """Enter one run."""
        self.lags.append(lags)

    def describe(self) -> dict[str, float]:
        """The worst of all runs, by process."""
        names = sorted({name for run in self.lags for name in run})
        return {
            f"{name}_lag_p99_ms": max(run[name]["p99_ms"] for run in self.lags if run.get(name))
            for name in names
            if any(run.get(name) for run in self.lags)
        }

    def worst_lag_ms(self) -> float:
        """The largest 99th percentile of any process in any run."""
        return max(self.describe().values(), default=0.0)

    def verdict(self, logs: Sequence[Sequence[dict[str, Any]]], speed: float = 1.0, kernel: bool = False) -> str:
        """Return one line: pacing error, event-loop lag, and whether they matter.

        Args:
            logs: what the content server sent, per session.
            speed: of the clock.
            kernel: over the kernel's link segments are late for TCP's reasons too, so only the lag is judged.
        """
        late, share = pacing(logs)
        if not len(late):
            return "pacing error unknown: no segment was sent"
        p50, p95, p99 = np.percentile(late, [50, 95, 99]) * 1000.0
        lags = ", ".join(f"{name[: -len('_lag_p99_ms')]} {value:.0f}" for name, value in self.describe().items())
        matter = float(np.percentile(share, 95))
        if kernel:
            good, what = self.worst_lag_ms() <= TOLERATED_LAG_MS, "TCP and the token bucket add"
        else:
            good, what = matter <= TOLERATED, "pacing error"
        word = "the machine kept up" if good else "THE MACHINE WAS A BOTTLENECK: use fewer --parallel"
        fast = f" (at speed {speed:g} every delay counts {speed:g}-fold)" if speed != 1 else ""
        return (
            f"{what} p50/p95/p99 {p50:.1f}/{p95:.1f}/{p99:.1f} ms, 95 % of segments within {100 * matter:.2f} % "
            f"of their time; event-loop lag p99 in ms: {lags or 'unknown'}{fast}: {word}"
        )


def pacing(logs: Sequence[Sequence[dict[str, Any]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much each whole segment left too late: in seconds, and as a share of its time on the link."""
    whole = [entry for log in logs for entry in log if entry["whole"]]
    late = np.array([entry["done_s"] - entry["planned_s"] for entry in whole])
    spent = np.array([max(entry["planned_s"] - entry["asked_s"], 1e-9) for entry in whole])
    return late, late / spent
