"""The chains: adaptive bitrate streaming, viewport prediction, cluster scheduling.

Everything is limited by episodes and steps, so that a busy machine takes longer and gives the same numbers. The rates
are what a minute buys on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from netllm_gym import traces as trace_room
from netllm_gym.quickstart.chain import Chain, Plan
from netllm_gym.settings import Setting, load_setting

# Adaptive bitrate streaming.
BEHAVIOUR = ("abr/robust-mpc", "abr/bba", "abr/oracle")
TEACHER = "abr/actor-critic"
PLAYERS = (TEACHER, TEACHER, "abr/robust-mpc", "abr/bba")
EPISODES_PER_MINUTE = 60
LLM_STEPS_PER_MINUTE = 60
LLM_OPTIONS: dict[str, Any] = {"layers": 2, "lora_rank": 8, "lora_alpha": 16.0, "eval_every": 50, "patience": 99}


class ABRData(NamedTuple):
    """Training and validation datasets: with an oracle's action values, and with what a good player earns. Empty where
    no chosen learner needs them."""

    train: list[str]
    valid: list[str]
    lessons: list[str]
    checks: list[str]


def _video_of(traces: str) -> str:
    base, _ = trace_room.catalog.split_name(traces)
    videos = trace_room.catalog.describe(base).get("videos", ())
    return videos[0] if videos else "synthetic"


def _abr_setting(traces: str) -> Setting:
    place = {"traces": traces, "split": "test", "video": _video_of(traces)}
    return replace(load_setting("abr", "default", "embedded"), kwargs=place)


def _gather(chain: Chain, split: str, agents: tuple[str, ...], count: int, epsilon: float, values_of: str = "") -> str:
    """Collect episodes with action values: the oracle's, or those of playing on with the agent `values_of`."""
    from netllm_gym.datasets.collect import CollectConfig, collect
    from netllm_gym.datasets.store import describe

    config = CollectConfig(
        agents=agents, episodes=count, epsilon=epsilon, seed=chain.seed, hindsight=not values_of, values_of=values_of,
        env_kwargs={"traces": chain.traces, "split": split, "video": _video_of(chain.traces), "random_start": True},
    )  # fmt: skip
    name = f"netllm_gym/abr/quickstart_{split}_{config.key}-v0"
    collect(config, name, chain.workers, progress=False)
    chain.say(f"  {name}: {count} episodes, mean QoE {describe(name)['returns']['reward_mean']:.3f}")
    return name


def _abr_data(chain: Chain, chosen: Sequence[str]) -> ABRData:
    episodes = chain.scaled(EPISODES_PER_MINUTE)
    data = ABRData([], [], [], [])
    if {"cql", "decision-transformer"} & set(chosen):
        data.train.append(_gather(chain, "train", BEHAVIOUR, episodes, 0.15))
        data.valid.append(_gather(chain, "valid", BEHAVIOUR, max(4, episodes // 6), 0.1))
    if {"regret-mlp", "llm"} & set(chosen):
        # What an action earns when a good player goes on from there, instead of the best that hindsight could have
        # done: no lucky future is imitated.
        data.lessons.append(_gather(chain, "train", PLAYERS, episodes, 0.1, TEACHER))
        data.checks.append(_gather(chain, "valid", PLAYERS, max(4, episodes // 6), 0.05, TEACHER))
    return data


def _abr_agents(chain: Chain, data: ABRData, chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    trained = {}
    if "cql" in chosen:
        trained["cql"] = chain.learn("cql", "cql", data.train, data.valid, steps=chain.scaled(200))
    if "decision-transformer" in chosen:
        trained["decision-transformer"] = chain.learn(
            "decision-transformer", "decision-transformer", data.train, data.valid, steps=chain.scaled(30)
        )
    if "regret-mlp" in chosen:
        trained["regret-mlp"] = chain.learn("regret-mlp", "regret-mlp", data.lessons, data.checks)
    if "llm" in chosen:
        options = {"steps": chain.scaled(LLM_STEPS_PER_MINUTE, 4), **LLM_OPTIONS}
        trained["llm"] = chain.learn("llm", "llm", data.lessons, data.checks, **options)
    return {name: {"name": folder} for name, folder in trained.items()}


# Viewport prediction: the model corrects the damped velocity, so few steps are worth something.
VIEWPORT_STEPS_PER_MINUTE = 300
VIEWPORT_OPTIONS: dict[str, Any] = {"layers": 1, "eval_every": 200, "stride": 5, "batch_size": 128}


def _viewport_setting(traces: str) -> Setting:
    return replace(load_setting("viewport", "default", "embedded"), kwargs={"traces": traces, "split": "test"})


def _viewport_data(chain: Chain, chosen: Sequence[str]) -> None:
    chain.say("  the recipe cuts them from the logs itself: ten samples of history, thirty ahead")


def _viewport_agents(chain: Chain, data: None, chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    options = {"traces": chain.traces, "steps": chain.scaled(VIEWPORT_STEPS_PER_MINUTE, 4), **VIEWPORT_OPTIONS}
    folder = chain.learn("llm", "viewport-llm", **options)
    return {"llm": {"name": "viewport/llm", "checkpoint": folder}}


# Cluster scheduling: clone the tuned rule, then in the states that the clone itself comes to.
CLUSTER_STEPS_PER_MINUTE = 60
CLUSTER_OPTIONS: dict[str, Any] = {"layers": 2, "eval_every": 50, "batch_size": 32}
CLUSTER = {"executors": 30, "jobs": 40}


def _cluster_setting(traces: str) -> Setting:
    kwargs = {"traces": traces, "split": "test", **CLUSTER}
    note = f"{CLUSTER['executors']} executors, {CLUSTER['jobs']} jobs"
    return replace(load_setting("cluster", "default", "embedded"), kwargs=kwargs, note=note)


def _cluster_data(chain: Chain, chosen: Sequence[str]) -> dict[str, Any]:
    return {"traces": chain.traces, "jobs": CLUSTER["jobs"]}


def _cluster_agents(chain: Chain, data: dict[str, Any], chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    trained = {}
    if "cql" in chosen:
        folder = chain.learn(
            "cql", "cluster-cql", **data, sequences=4, executors=CLUSTER["executors"], steps=chain.scaled(100)
        )
        trained["cql"] = {"name": "cluster/cql", "checkpoint": folder}
    if "llm" in chosen:
        steps = chain.scaled(CLUSTER_STEPS_PER_MINUTE, 4)
        common = {**data, "executors": [CLUSTER["executors"]], "sequences": [4, 1], **CLUSTER_OPTIONS}
        first = chain.learn("student", "cluster-llm", **common, steps=max(4, steps // 3))
        folder = chain.learn("llm", "cluster-llm", **common, steps=steps, student=first)
        trained["llm"] = {"name": "cluster/llm", "checkpoint": folder}
    return trained


PLANS = {
    "abr": Plan(
        "abr/synthetic", "abr/robust-mpc", ("abr/bba", "abr/robust-mpc", "abr/random", "abr/oracle"),
        ("cql", "decision-transformer", "regret-mlp", "llm"), "offline datasets, with values of every action",
        _abr_setting, _abr_data, _abr_agents,
    ),
    "viewport": Plan(
        "viewport/synthetic", "viewport/hold-last",
        ("viewport/hold-last", "viewport/damped-velocity", "viewport/ridge", "viewport/gru", "viewport/oracle"),
        ("llm",), "windows of head motion", _viewport_setting, _viewport_data, _viewport_agents,
    ),
    "cluster": Plan(
        "cluster/synthetic", "cluster/fair",
        ("cluster/fair", "cluster/strict-fair", "cluster/tuned", "cluster/fifo", "cluster/random"),
        ("cql", "llm"), "schedules of four rules, with what the tuned one would have done", _cluster_setting,
        _cluster_data, _cluster_agents, episodes=20,
    ),
}  # fmt: skip
