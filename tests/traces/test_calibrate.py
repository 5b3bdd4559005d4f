"""Fits of the synthetic model, and that the committed ones have the statistics they claim."""

from __future__ import annotations

import os
import tomllib

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.traces import NetworkTrace, catalog
from netllm_gym.traces.network.calibrate import calibrate, calibrate_phases, catalog_entry, profile, windows
from netllm_gym.traces.network.sets import _build_synthetic
from netllm_gym.traces.network.synthetic import PhasedModel, RegimeModel, synthetic_traces

FITTED = [name for name in traces.names("abr/synthetic-") if "measured" in catalog.describe(name)]


def _parts(name: str) -> list[tuple[dict, slice]]:
    """What was measured of each part of a family's traces, and which of their samples it covers."""
    entry = catalog.describe(name)
    if isinstance(entry["measured"], dict):
        return [(entry["measured"], slice(None))]
    (phases,) = entry["families"].values()
    edges = np.cumsum([0, *(round(phase["length_s"] / phase["step_s"]) for phase in phases)])
    return [(part, slice(edges[i], edges[i + 1])) for i, part in enumerate(entry["measured"])]


def _rows(name: str, split: str) -> list[np.ndarray]:
    members = traces.load(name, split).traces
    return [t.throughput_mbps for t in members] if len(_parts(name)) > 1 else windows(members)[0]


def test_every_family_has_a_synthetic_twin() -> None:
    assert len(FITTED) == 6
    for name in FITTED:
        assert {part["source"] for part, _ in _parts(name)} == {name.replace("synthetic-", "")}


@pytest.mark.parametrize("name", FITTED)
def test_generated_sets_match_what_was_measured(name: str) -> None:
    for expected, samples in _parts(name):
        found = profile([row[samples] for row in _rows(name, "all")])
        # 185 independent draws: the mean of a wide log-normal is known to about spread / sqrt(185).
        assert found.mean_mbps == pytest.approx(expected["mean_mbps"], rel=0.05 + 0.2 * expected["spread"])
        assert found.spread == pytest.approx(expected["spread"], rel=0.25)
        assert found.cv == pytest.approx(expected["cv"], rel=0.2)
        np.testing.assert_allclose(found.autocorrelation, expected["autocorrelation"], atol=0.1)


@pytest.mark.realdata
@pytest.mark.parametrize("name", FITTED)
def test_measured_is_what_the_train_split_says(name: str) -> None:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    source = name.replace("synthetic-", "")
    try:
        traces.fetch(source)
    except DownloadError as error:
        pytest.skip(str(error))
    members = traces.load(source, "train").traces
    parts = _parts(name)
    rows = windows(members)[0] if len(parts) == 1 else [trace.throughput_mbps for trace in members]
    for expected, samples in parts:
        found = profile([row[samples] for row in rows])
        assert found.mean_mbps == pytest.approx(expected["mean_mbps"], rel=1e-3)
        np.testing.assert_allclose(found.autocorrelation, expected["autocorrelation"], atol=1e-3)


def test_fit_recovers_the_statistics_of_a_known_model() -> None:
    truth = RegimeModel(2.0, 0.4, 0.5, 0.2, 0.7, 20.0, 0.6)
    fit = calibrate(synthetic_traces(truth, "t", "train", 80, seed=5, length_s=120.0))
    assert fit.reached.mean_mbps == pytest.approx(fit.measured.mean_mbps, rel=0.05)
    assert fit.reached.cv == pytest.approx(fit.measured.cv, rel=0.1)
    np.testing.assert_allclose(fit.reached.autocorrelation, fit.measured.autocorrelation, atol=0.05)
    entry = tomllib.loads(catalog_entry("abr/synthetic-t", "abr/t", [fit], 1, (2, 2, 2)))["abr/synthetic-t"]
    assert RegimeModel(**entry["families"]["t"]) == fit.model


def test_a_structure_the_model_cannot_show_is_seen_in_the_fit() -> None:
    # One slow minute and two fast ones, as Sabre's FCC traces have.
    rng = np.random.default_rng(0)
    means = np.exp(rng.normal(0.0, 0.2, (20, 2)))
    rates = [np.concatenate([rng.normal(0.5 * a, 0.02, 12), rng.normal(9.0 * b, 0.5, 24)]) for a, b in means]
    stepped = [NetworkTrace(str(i), [5.0] * 36, row) for i, row in enumerate(rates)]
    assert calibrate(stepped).worst > 0.3
    # Told where the step is, it fits the parts, and the entry draws links that have it.
    fits = calibrate_phases(stepped, [60.0])
    assert [fit.length_s for fit in fits] == [60.0, 120.0]
    assert [fit.reached.mean_mbps for fit in fits] == pytest.approx([0.5, 9.0], rel=0.15)
    entry = tomllib.loads(catalog_entry("abr/synthetic-s", "abr/s", fits, 1, (2, 2, 2)))["abr/synthetic-s"]
    assert [part["mean_mbps"] for part in entry["measured"]] == pytest.approx([0.5, 9.0], rel=0.15)
    drawn = _build_synthetic("abr/synthetic-s", entry, False)["test"][1]
    assert drawn.total_s == 180.0
    assert drawn.throughput_mbps[:12].max() < 1.5 and drawn.throughput_mbps[12:].min() > 3.0
    for wrong in ([0.0], [180.0], [120.0, 60.0]):
        with pytest.raises(ConfigError, match="changes must rise"):
            calibrate_phases(stepped, wrong)
    with pytest.raises(ConfigError, match="too short"):
        calibrate_phases(stepped, [20.0])


def test_a_phased_model_comes_around_and_is_checked() -> None:
    slow, fast = (RegimeModel(mean, 0.0, 0.01, 0.0, 0.5, 5.0, 0.5) for mean in (1.0, 9.0))
    model = PhasedModel((slow, fast), (3.0, 2.0))
    drawn = model.draw(np.random.default_rng(0), 8)
    assert (drawn > 5).tolist() == [False] * 3 + [True] * 2 + [False] * 3
    for phases, lengths in (((), ()), ((slow,), (1.0, 2.0)), ((slow,), (0.5,))):
        with pytest.raises(ConfigError):
            PhasedModel(phases, lengths)


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ConfigError, match="too short"):
        calibrate([NetworkTrace("a", [1.0] * 9, [1.0] * 9)])
    with pytest.raises(ConfigError, match="windows that vary"):
        calibrate([NetworkTrace("a", [1.0] * 400, [1.0] * 400)] * 9)
