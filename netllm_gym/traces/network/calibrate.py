"""Fit the regime-switching model to a set of network traces.

What is matched are statistics of *windows*: real traces are cut into pieces of one length (320 s, or the median trace
where that is shorter), because the variance and the autocorrelation of a sample depend on its length. The model is
simulated at that same length with the same random numbers for every candidate, and least squares over its seven
parameters minimise the difference. What the model cannot show, such as stretches of no throughput at all, is left out
of the fit and stays out of the synthetic set. Where all traces change at a known second, the parts before and after it
are fitted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from netllm_gym.errors import ConfigError
from netllm_gym.traces.network.synthetic import RegimeModel
from netllm_gym.traces.network.trace import NetworkTrace

WINDOW_S = 320.0
LAGS = (1, 2, 5, 10)
LEAST_WINDOWS = 5
SIMULATED = 150
# Means and variation count as relative errors, autocorrelations as absolute ones, twice as dear.
_WEIGHTS = np.array([1.0, 0.5, 1.0, 0.5, *(2.0 for _ in LAGS)])


def lags_of(steps: int) -> tuple[int, ...]:
    """Return the :data:`LAGS` at which a window of `steps` still says something: less than half its length."""
    return tuple(lag for lag in LAGS if 2 * lag < steps)


@dataclass(frozen=True)
class Profile:
    """Statistics of windows of throughput.

    Attributes:
        mean_mbps: mean over windows of their mean.
        spread: standard deviation of the log of the windows' means.
        cv: median coefficient of variation within a window.
        cv_spread: standard deviation of the log of the coefficients of variation.
        autocorrelation: median over windows at the lags of :func:`lags_of`.
        windows: how many windows that are not at rest throughout.
    """

    mean_mbps: float
    spread: float
    cv: float
    cv_spread: float
    autocorrelation: tuple[float, ...]
    windows: int

    def vector(self) -> NDArray[np.float64]:
        """Coordinates in which differences are compared, shape ``[4 + lags]``."""
        return np.array(
            [
                np.log(self.mean_mbps),
                np.log(self.spread + 0.05),
                np.log(self.cv),
                np.log(self.cv_spread + 0.05),
                *self.autocorrelation,
            ]
        )


def profile(rows: Sequence[NDArray[np.float64]]) -> Profile:
    """Compute the statistics of windows of throughput in Mbit/s, each of shape ``[steps]``."""
    means, variations, correlations = [], [], []
    lags = lags_of(min((len(row) for row in rows), default=0))
    for row in rows:
        mean, std = float(row.mean()), float(row.std())
        if mean <= 0 or std <= 1e-9 * mean:
            continue
        centred = row - mean
        power = float(np.dot(centred, centred))
        means.append(mean)
        variations.append(std / mean)
        correlations.append([float(np.dot(centred[lag:], centred[:-lag])) / power for lag in lags])
    if len(means) < LEAST_WINDOWS:
        raise ConfigError(f"{len(means)} windows that vary; a fit needs at least {LEAST_WINDOWS}")
    return Profile(
        mean_mbps=float(np.mean(means)),
        spread=float(np.std(np.log(means))),
        cv=float(np.median(variations)),
        cv_spread=float(np.std(np.log(variations))),
        autocorrelation=tuple(float(value) for value in np.median(correlations, axis=0)),
        windows=len(means),
    )


def windows(traces: Sequence[NetworkTrace]) -> tuple[list[NDArray[np.float64]], float, float]:
    """Cut traces into windows of equal length.

    Returns:
        The windows, the step in seconds (1, or the median piece where that is longer, in whole seconds) and the length
        of a window in seconds.
    """
    step_s = max(1.0, float(np.rint(np.median(np.concatenate([trace.duration_s for trace in traces])))))
    length_s = min(WINDOW_S, float(np.median([trace.total_s for trace in traces])))
    steps = int(length_s / step_s + 1e-6)
    if len(lags_of(steps)) < 3:
        raise ConfigError(f"traces of {length_s:g} s in steps of {step_s:g} s are too short to calibrate from")
    rows = []
    for trace in traces:
        rates = trace.resampled(step_s)
        rows += [rates[begin : begin + steps] for begin in range(0, len(rates) - steps + 1, steps)]
    return rows, step_s, steps * step_s


@dataclass(frozen=True)
class Calibration:
    """A fitted model, what it was fitted to, and what it reaches.

    Attributes:
        model: the parameters.
        length_s: length of a window, to generate traces of.
        measured, reached: statistics of the real windows and of simulated ones.
    """

    model: RegimeModel
    length_s: float
    measured: Profile
    reached: Profile

    @property
    def worst(self) -> float:
        """Largest difference between measured and reached: of a log (about a relative error) or of an autocorrelation.

        Above about 0.3 the set has a structure that the model cannot show.
        """
        return float(np.abs(self.measured.vector() - self.reached.vector()).max())


def calibrate(traces: Sequence[NetworkTrace], seed: int = 0) -> Calibration:
    """Fit a :class:`RegimeModel` to `traces` (a train split: the fit must not see test traces).

    Raises:
        ConfigError: traces too short, too few, or at rest.
    """
    rows, step_s, length_s = windows(traces)
    measured = profile(rows)
    means = [float(row.mean()) for row in rows if row.mean() > 0]
    # Not the least of all: a real trace leaves its tunnel again, a synthetic one would stay there for its whole cycle.
    bounds = round(float(np.quantile(means, 0.05)), 4), round(max(means), 4)
    steps = len(rows[0])

    def model_of(x: NDArray[np.float64]) -> RegimeModel:
        return RegimeModel(
            mean_mbps=float(np.exp(x[0])),
            spread=float(np.exp(x[1])),
            cv=float(np.exp(x[2])),
            cv_spread=float(np.exp(x[3])),
            weight=float(1 / (1 + np.exp(-x[4]))),
            dwell_steps=float(1 + np.exp(x[5])),
            rho=float(0.999 / (1 + np.exp(-x[6]))),
            floor_mbps=bounds[0],
            ceiling_mbps=bounds[1],
            step_s=step_s,
        )

    def simulated(model: RegimeModel) -> Profile:
        streams = np.random.SeedSequence(seed).spawn(SIMULATED)
        return profile([model.draw(np.random.default_rng(stream), steps) for stream in streams])

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = simulated(model_of(x)).vector() - measured.vector()
        return _WEIGHTS[: len(difference)] * difference

    start = np.log([measured.mean_mbps, measured.spread + 0.05, measured.cv, measured.cv_spread + 0.05])
    low = np.array([*(start - 2.5), -4.0, 0.0, -4.0])
    high = np.array([*(start + 2.5), 4.0, np.log(steps), 5.0])
    fits = [
        # The simulation is a step function of dwell in the small, hence the coarse differences.
        least_squares(
            residuals,
            np.clip([*start, 1.0, np.log(dwell), rho], low, high),
            bounds=(low, high),
            diff_step=0.05,
            max_nfev=12,
        )
        for dwell, rho in ((8.0, 0.5), (40.0, 1.5))
    ]
    best = model_of(min(fits, key=lambda fit: fit.cost).x)
    rounded = RegimeModel(**{key: float(f"{value:.4g}") for key, value in vars(best).items()})
    return Calibration(rounded, length_s, measured, simulated(rounded))


def calibrate_phases(traces: Sequence[NetworkTrace], changes_s: Sequence[float], seed: int = 0) -> list[Calibration]:
    """Fit a model to each part of traces that all change at the same seconds.

    Args:
        traces: of equal length.
        changes_s: where one part ends and the next begins, increasing, within the traces.
        seed: of the simulation.

    Raises:
        ConfigError: a change outside the traces, or a part too short to fit.
    """
    total_s = min(trace.total_s for trace in traces)
    edges = [0.0, *changes_s, total_s]
    if (np.diff(edges) <= 0).any():
        raise ConfigError(f"changes must rise and lie within the {total_s:g} s that all traces last")
    step_s = max(1.0, float(np.rint(np.median(np.concatenate([trace.duration_s for trace in traces])))))
    fits = []
    for begin, end in pairwise(np.rint(np.array(edges) / step_s).astype(int)):
        parts = []
        for trace in traces:
            rates = trace.resampled(step_s)[begin:end]
            if rates.any():
                parts.append(NetworkTrace(trace.name, np.full(len(rates), step_s), rates))
        fits.append(calibrate(parts, seed))
    return fits


def catalog_entry(name: str, source: str, fits: Sequence[Calibration], seed: int, counts: tuple[int, int, int]) -> str:
    """Return the catalog's TOML of a synthetic family fitted to the train split of `source`, of one part or several."""
    single = len(fits) == 1
    left, right = ("[", "]") if single else ("[[", "]]")
    family = name.rpartition("/")[2].removeprefix("synthetic-")
    lines = []
    for fit in fits:
        reached = ", ".join(f"{value:.3f}" for value in fit.reached.autocorrelation)
        lines += [
            f"# Fitted to {fit.measured.windows} windows of {source}, train; the fit reaches mean "
            f"{fit.reached.mean_mbps:.4g},",
            f"# spread {fit.reached.spread:.3f}, CV {fit.reached.cv:.3f} (spread {fit.reached.cv_spread:.3f}), "
            f"autocorrelation {reached}.",
        ]
    lines += [
        f'["{name}"]',
        'kind = "synthetic-network"',
        f'title = "Synthetic links with the statistics of {source}"',
        'licence = "MIT (this package)"',
        'citation = "netllm_gym"',
        f"seed = {seed}",
        f"length_s = {sum(fit.length_s for fit in fits):.1f}",
        "counts = { train = %d, valid = %d, test = %d }" % counts,  # noqa: UP031 - braces are TOML's
        "",
    ]
    for fit in fits:
        measured = fit.measured
        correlations = ", ".join(f"{value:.3f}" for value in measured.autocorrelation)
        lags = ", ".join(map(str, LAGS[: len(measured.autocorrelation)]))
        lines += [
            f'{left}"{name}".measured{right}',
            f'source = "{source}"',
            f"mean_mbps = {measured.mean_mbps:.4g}",
            f"spread = {measured.spread:.3f}",
            f"cv = {measured.cv:.3f}",
            f"cv_spread = {measured.cv_spread:.3f}",
            f"autocorrelation = [{correlations}]  # at {lags} steps",
            "",
        ]
    for fit in fits:
        lines += [
            f'{left}"{name}".families.{family}{right}',
            *([] if single else [f"length_s = {fit.length_s:g}"]),
            *(f"{key} = {value:g}" for key, value in vars(fit.model).items()),
            "",
        ]
    return "\n".join(lines) + "\n"
