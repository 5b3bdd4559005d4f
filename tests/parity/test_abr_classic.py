"""The classic 142 test traces: rules equal the published per-chunk logs on every chunk."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent, traces
from netllm_gym.errors import ConfigError, DownloadError

SET = "abr/pensieve-classic"
pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def logs(fcc_hsdpa: str) -> dict[str, dict[str, traces.PublishedLog]]:
    try:
        traces.fetch(SET)
        return traces.published_logs(SET)
    except DownloadError as error:
        pytest.skip(str(error))


def test_eleven_schemes_on_142_traces(logs) -> None:
    assert len(logs) == 11
    assert {len(scheme) for scheme in logs.values()} == {142}
    means = {name: float(np.mean([log.qoe for log in scheme.values()])) for name, scheme in logs.items()}
    expected = {"ppo": 0.9859, "comyco": 0.9843, "pensieve": 0.9250, "netllm": 0.9015, "genet": 0.8554}
    expected |= {"robust-mpc": 0.9245, "hyb": 0.8605, "quetra": 0.8495, "rate-based": 0.7103}
    for name, mean in expected.items():
        assert means[name] == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize(("agent_name", "scheme"), [("abr/bba", "bb"), ("abr/bola", "bola")])
def test_rule_equals_its_log_on_every_chunk(agent_name: str, scheme: str, logs) -> None:
    env = gym.make(
        "netllm_gym/ABR-v0",
        traces=f"{SET}/as-published",
        video="envivio-dash3",
        first_quality=1,
        disable_env_checker=True,
    )
    agent = make_agent(agent_name)
    assert {trace.name for trace in env.unwrapped.traces} == logs[scheme].keys()
    for i, trace in enumerate(env.unwrapped.traces):
        log = logs[scheme][trace.name]
        observation, info = env.reset(options={"trace": i})
        agent.reset(EnvInfo.of(env))
        rows, over = [], False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            rows.append((info["bitrate_mbps"] * 1000, info["buffer_s"], info["stall_s"], reward))
        published = np.column_stack([log.bitrate_kbps, log.buffer_s, log.stall_s, log.reward])[1:]
        np.testing.assert_allclose(rows, published, rtol=0, atol=1e-9, err_msg=trace.name)


def test_the_split_is_leak_free(logs) -> None:
    splits = {split: traces.load(SET, split).traces for split in ("train", "valid", "test")}
    assert traces.audit(splits).clean
    assert sum(len(members) for members in splits.values()) == 269


def test_sets_without_logs_say_so() -> None:
    with pytest.raises(ConfigError, match="no published logs"):
        traces.published_logs("abr/fcc-hsdpa")
