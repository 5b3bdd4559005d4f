"""Small content and plans; everything here needs the extra `testbed`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netllm_gym.evaluation.specs import AgentSpec
from netllm_gym.testbed.plan import Condition, SessionPlan, plan_sessions
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest


def small_video(chunks: int = 5) -> VideoManifest:
    rng = np.random.default_rng(3)
    base = np.array([40_000, 90_000, 200_000])
    return VideoManifest("small", [80, 180, 400], 4.0, np.round(base * rng.uniform(0.9, 1.1, (chunks, 3))))


def small_condition(chunks: int = 5, traces: int = 2, mbps: float = 1.0) -> Condition:
    members = tuple(
        NetworkTrace(f"link-{n}", [3.0, 2.0, 5.0], [mbps, mbps / 2, mbps * 2], f"recording-{n}", float(n))
        for n in range(traces)
    )
    return Condition("small", "small", "test", TraceSet("small", "test", members), small_video(chunks), 0.04, "tests")


def small_plans(condition: Condition, *agents: str) -> list[SessionPlan]:
    return plan_sessions([condition], [AgentSpec.of(agent) for agent in agents], 0, {})


@pytest.fixture(scope="session")
def ffmpeg() -> None:
    """Skip where no ffmpeg can be had."""
    from netllm_gym.errors import ConfigError
    from netllm_gym.testbed import tools

    try:
        tools.ffmpeg()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def content_folder(ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small video, encoded once."""
    from netllm_gym.testbed import content

    return content.build(small_video(), tmp_path_factory.mktemp("content") / "small").folder
