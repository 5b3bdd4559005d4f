"""Fit the regime-switching model to a set of network traces.

What is matched are statistics of *windows*: real traces are cut into pieces of one length (320 s, or the median trace
where that is shorter), because the variance and the autocorrelation of a sample depend on its length. The model is
simulated at that same length with the same random numbers for every candidate, and least squares over its seven
parameters minimise the difference. What the model cannot show, such as stretches of no throughput at all, is left out
of the fit and stays out of the synthetic set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from netllm_gym.errors import ConfigError
from netllm_gym.traces.network import NetworkTrace
from netllm_gym.traces.synthetic import RegimeModel

WINDOW_S = 320.0
LAGS = (1, 2, 5, 10)
LEAST_WINDOWS = 5
SIMULATED = 150
# Means and variation count as relative errors, autocorrelations as absolute ones, twice as dear.
_WEIGHTS = np.array([1.0, 0.5, 1.0, 0.5, *(2.0 for _ in LAGS)])


@dataclass(frozen=True)
class Profile:
    """Statistics of windows of throughput.

    Attributes:
        mean_mbps: mean over windows of their mean.
        spread: standard deviation of the log of the windows' means.
        cv: median coefficient of variation within a window.
        cv_spread: standard deviation of the log of the coefficients of variation.
        autocorrelation: median over windows at :data:`LAGS` steps.
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
    for row in rows:
        mean, std = float(row.mean()), float(row.std())
        if mean <= 0 or std <= 1e-9 * mean:
            continue
        centred = row - mean
        power = float(np.dot(centred, centred))
        means.append(mean)
        variations.append(std / mean)
        correlations.append([float(np.dot(centred[lag:], centred[:-lag])) / power for lag in LAGS])
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
    if steps <= 2 * LAGS[-1]:
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
        return _WEIGHTS * (simulated(model_of(x)).vector() - measured.vector())

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


def catalog_entry(name: str, source: str, fit: Calibration, seed: int, counts: tuple[int, int, int]) -> str:
    """Return the catalog's TOML of a synthetic family fitted to the train split of `source`."""
    measured, model = fit.measured, fit.model
    correlations = ", ".join(f"{value:.3f}" for value in measured.autocorrelation)
    reached = ", ".join(f"{value:.3f}" for value in fit.reached.autocorrelation)
    lines = [
        f"# Fitted to {measured.windows} windows of {source}, train; the fit reaches mean {fit.reached.mean_mbps:.4g},",
        f"# spread {fit.reached.spread:.3f}, CV {fit.reached.cv:.3f} (spread {fit.reached.cv_spread:.3f}), "
        f"autocorrelation {reached}.",
        f'["{name}"]',
        'kind = "synthetic-network"',
        f'title = "Synthetic links with the statistics of {source}"',
        'licence = "MIT (this package)"',
        'citation = "netllm_gym"',
        f"seed = {seed}",
        f"length_s = {fit.length_s:.1f}",
        "counts = { train = %d, valid = %d, test = %d }" % counts,  # noqa: UP031 - braces are TOML's
        "",
        f'["{name}".measured]',
        f'source = "{source}"',
        f"mean_mbps = {measured.mean_mbps:.4g}",
        f"spread = {measured.spread:.3f}",
        f"cv = {measured.cv:.3f}",
        f"cv_spread = {measured.cv_spread:.3f}",
        f"autocorrelation = [{correlations}]  # at {', '.join(map(str, LAGS))} steps",
        "",
        f'["{name}".families.{name.rpartition("/")[2].removeprefix("synthetic-")}]',
        *(f"{key} = {value:g}" for key, value in vars(model).items()),
        "",
    ]
    return "\n".join(lines) + "\n"
