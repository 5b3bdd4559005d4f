"""How often do the package's own verdicts err when nothing differs? Simulated with the functions that ship.

    python benchmarks/coverage.py [--repeats 4000] [--draws 2000] [--json FILE]

Each line draws data in which the true mean difference is zero and counts how often the 95 % interval leaves zero out:
5 % is right. The lognormal has sigma 1 and is centred at its mean: a few recordings make most of the mean, as a few
bad links do. Crossed data are a video's part plus a viewer's part plus noise. Trainings add a part per training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
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


def false_rate(sample: Bootstrap, draw: Callable[[np.random.Generator], np.ndarray], repeats: int, seed: int) -> float:
    """Share of `repeats` experiments whose 95 % interval leaves out the true zero."""
    wrong = 0
    for number in range(repeats):
        rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(number,)))
        low, high = sample.mean(draw(rng)).interval()
        wrong += not low <= 0.0 <= high
    return wrong / repeats


def lines(repeats: int, draws: int, seed: int = 0) -> list[dict[str, object]]:
    """Return one row per kind of data: what it is, and the false rate for normal and for skewed parts."""
    rows: list[dict[str, object]] = []
    for groups in CLUSTERS:
        sample = Bootstrap(np.repeat(np.arange(groups), 2), draws)

        def clustered(rng: np.random.Generator, draw: Draw, groups: int = groups) -> np.ndarray:
            return np.repeat(draw(rng, (groups,)), 2) + 0.3 * rng.normal(size=2 * groups)

        rows.append(_row(f"{groups} recordings of two episodes", sample, clustered, repeats, seed))
    for videos, users in CROSSED:
        factors = {"video": np.repeat(np.arange(videos), users), "user": np.tile(np.arange(users), videos)}
        sample = Bootstrap(factors, draws)

        def crossed(rng: np.random.Generator, draw: Draw, size: tuple[int, int] = (videos, users)) -> np.ndarray:
            parts = draw(rng, (size[0], 1)) + draw(rng, (1, size[1])) + rng.normal(size=size)
            return parts.ravel()

        rows.append(_row(f"{videos} videos × {users} viewers", sample, crossed, repeats, seed))
    for seeds, spread in TRAININGS:
        sample = Bootstrap(np.arange(38), draws)

        def trained(rng: np.random.Generator, draw: Draw, seeds: int = seeds, spread: float = spread) -> np.ndarray:
            parts = spread / np.sqrt(38) * rng.normal(size=(seeds, 1))
            return draw(rng, (38,)) + parts + 0.5 * rng.normal(size=(seeds, 38))

        label = f"38 recordings, {seeds} training{'s' * (seeds > 1)} that spread by {spread:g} × the recordings' error"
        rows.append(_row(label, sample, trained, repeats, seed))
    return rows


def _row(label: str, sample: Bootstrap, draw: Callable[..., np.ndarray], repeats: int, seed: int) -> dict[str, object]:
    rates = {
        kind: false_rate(sample, lambda rng, part=part: draw(rng, part), repeats, seed) for kind, part in KINDS.items()
    }
    print(label, {kind: f"{100 * rate:.1f} %" for kind, rate in rates.items()}, flush=True)
    return {"data": label, **rates}


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = lines(given.repeats, given.draws)
    body = [[str(row["data"]), *(f"{100 * float(str(row[kind])):.1f} %" for kind in KINDS)] for row in rows]
    print("\n".join(table(["data", *KINDS], body)))
    if given.json:
        given.json.write_text(
            json.dumps({"repeats": given.repeats, "draws": given.draws, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
