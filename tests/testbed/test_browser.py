"""dash.js in headless Chromium: our agents and its own rules, in real time on a short video."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.testbed import dashjs, runner, tools

ARGUMENTS = {"conditions": ["broadband"], "profile": "embedded", "traces": 1, "chunks": 3}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there is no Chromium, or dash.js cannot be fetched."""
    pytest.importorskip("playwright")
    try:
        tools.chromium()
    except ConfigError as error:
        pytest.skip(str(error))
    try:
        dashjs.bring()
    except (ConfigError, DownloadError) as error:
        pytest.skip(f"dash.js cannot be fetched: {error}")


def test_dash_js_plays_agents_and_its_own_rules(browser, ffmpeg, tmp_path: Path) -> None:
    agents = ["dash.js/bola"]
    result = runner.run(agents, client="dash.js", parallel=3, out=tmp_path, progress=False, **ARGUMENTS)["broadband"]
    frame = result.frame.set_index("agent")
    assert not frame["failed"].any(), frame["reason"].tolist()
    assert (frame["steps"] == 2).all()
    assert (frame["dropped_frames"] >= 0).all() and (frame["player_kbps"] > 0).all()
    assert frame.loc[["abr/robust-mpc", "abr/constant"], "latency_p50_ms"].notna().all()
    assert np.isnan(frame.loc["dash.js/bola", "latency_p50_ms"])
    steps = result.steps[result.steps["agent"] == "abr/constant"]
    assert (steps["level"] == 0).all() and steps["chunk"].tolist() == [0, 1, 2]
    assert (steps["delay_s"] >= steps["first_byte_s"]).all() and (steps["asked_s"].diff().dropna() > 0).all()


def test_an_unknown_rule_is_refused(browser, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no rule 'festive'"):
        runner.run(["dash.js/festive"], client="dash.js", out=tmp_path, progress=False, **ARGUMENTS)


def test_another_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="not the pinned package"):
        dashjs.extract(b"something else")
    data = b"no archive"
    monkeypatch.setattr(dashjs, "INTEGRITY", "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode())
    with pytest.raises(DownloadError):
        dashjs.extract(data)
