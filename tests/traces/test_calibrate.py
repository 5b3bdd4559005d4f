"""Fits of the synthetic model, and that the committed ones have the statistics they claim."""

from __future__ import annotations

import os
import tomllib

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.traces import NetworkTrace, catalog
from netllm_gym.traces.calibrate import calibrate, catalog_entry, profile, windows
from netllm_gym.traces.synthetic import RegimeModel, synthetic_traces

FITTED = [name for name in traces.names("abr/synthetic-") if "measured" in catalog.describe(name)]


def test_every_stationary_family_has_a_synthetic_twin() -> None:
    assert len(FITTED) == 4
    for name in FITTED:
        assert catalog.describe(name)["measured"]["source"] == name.replace("synthetic-", "")


@pytest.mark.parametrize("name", FITTED)
def test_generated_sets_match_what_was_measured(name: str) -> None:
    entry = catalog.describe(name)
    expected = entry["measured"]
    found = profile(windows(traces.load(name, "all").traces)[0])
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
    expected = catalog.describe(name)["measured"]
    try:
        traces.fetch(expected["source"])
    except DownloadError as error:
        pytest.skip(str(error))
    found = profile(windows(traces.load(expected["source"], "train").traces)[0])
    assert found.mean_mbps == pytest.approx(expected["mean_mbps"], rel=1e-3)
    np.testing.assert_allclose(found.autocorrelation, expected["autocorrelation"], atol=1e-3)


def test_fit_recovers_the_statistics_of_a_known_model() -> None:
    truth = RegimeModel(2.0, 0.4, 0.5, 0.2, 0.7, 20.0, 0.6)
    fit = calibrate(synthetic_traces(truth, "t", "train", 80, seed=5, length_s=120.0))
    assert fit.reached.mean_mbps == pytest.approx(fit.measured.mean_mbps, rel=0.05)
    assert fit.reached.cv == pytest.approx(fit.measured.cv, rel=0.1)
    np.testing.assert_allclose(fit.reached.autocorrelation, fit.measured.autocorrelation, atol=0.05)
    entry = tomllib.loads(catalog_entry("abr/synthetic-t", "abr/t", fit, 1, (2, 2, 2)))["abr/synthetic-t"]
    assert RegimeModel(**entry["families"]["t"]) == fit.model


def test_a_structure_the_model_cannot_show_is_seen_in_the_fit() -> None:
    # One slow minute and two fast ones, as Sabre's FCC traces have.
    rng = np.random.default_rng(0)
    rates = [np.concatenate([rng.normal(0.5, 0.02, 12), rng.normal(9.0, 0.5, 24)]) for _ in range(20)]
    assert calibrate([NetworkTrace(str(i), [5.0] * 36, row) for i, row in enumerate(rates)]).worst > 0.3


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ConfigError, match="too short"):
        calibrate([NetworkTrace("a", [1.0] * 9, [1.0] * 9)])
    with pytest.raises(ConfigError, match="windows that vary"):
        calibrate([NetworkTrace("a", [1.0] * 400, [1.0] * 400)] * 9)
