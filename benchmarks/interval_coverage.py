"""How often do the package's own verdicts err when nothing differs? Simulated with the functions that ship.

    python benchmarks/interval_coverage.py [--repeats 4000] [--draws 2000] [--workers 1] [--json FILE]

Each line draws data in which the true mean difference is zero and counts how often the 95 % interval leaves zero out:
5 % is right. The lognormal has sigma 1 and is centred at its mean: a few recordings make most of the mean, as a few
bad links do. Crossed data are a video's part plus a viewer's part plus noise. Trainings add a part per training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netllm_gym.evaluation.bootstrap import Bootstrap
from netllm_gym.evaluation.formats import table

CLUSTERS = (6, 8, 10, 18, 38)
CROSSED = ((6, 6), (6, 21), (10, 10), (18, 20))
TRAININGS = ((1, 1.0), (1, 2.0), (3, 2.0), (5, 1.0), (5, 2.0), (10, 2.0))

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lognormal, sigma 1, minus its mean."""
    return rng.lognormal(size=shape) - np.exp(0.5)


KINDS: dict[str, Draw] = {"normal": normal, "lognormal": skewed}


@dataclass(frozen=True)
class Line:
    """One line of the table: recordings, videos × viewers, or recordings and trainings."""

    videos: int
    viewers: int = 0
    trainings: int = 0
    spread: float = 0.0

    @property
    def label(self) -> str:
        """What it is, in words."""
        if self.viewers:
            return f"{self.videos} videos × {self.viewers} viewers"
        if self.trainings:
            many = f"{self.trainings} training{'s' * (self.trainings > 1)}"
            return f"{self.videos} recordings, {many} that spread by {self.spread:g} × the recordings' error"
        return f"{self.videos} recordings of two episodes"

    def sample(self, draws: int) -> Bootstrap:
        """The groups of its episodes."""
        if self.viewers:
            video, viewer = np.divmod(np.arange(self.videos * self.viewers), self.viewers)
            return Bootstrap({"video": video, "viewer": viewer}, draws)
        return Bootstrap(np.repeat(np.arange(self.videos), 1 if self.trainings else 2), draws)

    def draw(self, rng: np.random.Generator, part: Draw) -> np.ndarray:
        """An experiment in which nothing differs."""
        size = (self.videos, self.viewers)
        if self.viewers:
            return (part(rng, (size[0], 1)) + part(rng, (1, size[1])) + rng.normal(size=size)).ravel()
        if self.trainings:
            trained = self.spread / np.sqrt(self.videos) * rng.normal(size=(self.trainings, 1))
            return part(rng, (self.videos,)) + trained + 0.5 * rng.normal(size=(self.trainings, self.videos))
        return np.repeat(part(rng, (self.videos,)), 2) + 0.3 * rng.normal(size=2 * self.videos)


LINES = (
    *(Line(groups) for groups in CLUSTERS),
    *(Line(*size) for size in CROSSED),
    *(Line(38, 0, seeds, spread) for seeds, spread in TRAININGS),
)


def false_rate(line: Line, kind: str, repeats: int, draws: int, seed: int = 0) -> float:
    """Share of `repeats` experiments whose 95 % interval leaves out the true zero."""
    sample, wrong = line.sample(draws), 0
    for number in range(repeats):
        rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(number,)))
        low, high = sample.mean(line.draw(rng, KINDS[kind])).interval()
        wrong += not low <= 0.0 <= high
    return wrong / repeats


def rows(repeats: int, draws: int, workers: int = 1) -> list[dict[str, object]]:
    """Return one row per line: what it is, and the false rate for normal and for skewed parts."""
    jobs = [(line, kind, repeats, draws) for line in LINES for kind in KINDS]
    with ProcessPoolExecutor(workers) as pool:
        rates = list(pool.map(false_rate, *zip(*jobs, strict=True)))
    return [
        {"data": line.label, **dict(zip(KINDS, rates[len(KINDS) * number :], strict=False))}
        for number, line in enumerate(LINES)
    ]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1, help="processes; the numbers do not depend on them")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = rows(given.repeats, given.draws, given.workers)
    body = [[str(row["data"]), *(f"{100 * float(str(row[kind])):.1f} %" for kind in KINDS)] for row in found]
    print("\n".join(table(["data", *KINDS], body)))
    if given.json:
        given.json.write_text(
            json.dumps({"repeats": given.repeats, "draws": given.draws, "rows": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
