"""Streaming episodes on one video, played by agents, with what each level earns when an actor-critic goes on from it.

Lessons in drawn worlds (:mod:`netllm_gym.recipes.abr_lessons`) average over futures that could have come; these values
are of the one that came. Episodes begin anywhere in a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netllm_gym.agents.abr.lessons import UNIT
from netllm_gym.agents.abr.worlds import MAX_LEVELS
from netllm_gym.agents.base import EnvInfo
from netllm_gym.datasets.collect import CollectConfig
from netllm_gym.datasets.experience import Experience, merge
from netllm_gym.datasets.levels import ENV, by_levels
from netllm_gym.envs.lookup import make_env
from netllm_gym.recipes.data import collected
from netllm_gym.traces import NetworkTrace

TEACHER, VIDEO = "abr/actor-critic", "envivio-dash3"
HOME = "abr/fcc-hsdpa"
# Agents, episodes, share of random levels and seed, by split.
AT_HOME = {
    "train": (((TEACHER,), 486, 0.1, 0), (("abr/robust-mpc", "abr/bba"), 324, 0.15, 1)),
    "valid": (((TEACHER, "abr/robust-mpc"), 176, 0.05, 2),),
}
AWAY = {"train": (("abr/robust-mpc", TEACHER), 100, 0.1, 3), "valid": (("abr/robust-mpc", TEACHER), 24, 0.05, 4)}


def played(split: str, say: Callable[[str], None], links: Mapping[str, Sequence[NetworkTrace]]) -> Experience:
    """Return episodes on the links of several families, shown by rows.

    They are collected into Minari datasets, once.

    Args:
        split: ``train`` or ``valid``.
        say: receives lines of progress.
        links: family → links whose episodes are wanted.

    Raises:
        DownloadError: a set has not been fetched (``netllm-gym traces fetch NAME``).
    """
    wanted = [(name, mix) for name in links for mix in (AT_HOME[split] if name == HOME else (AWAY[split],))]
    parts = []
    for traces, (agents, episodes, epsilon, seed) in wanted:
        kwargs: dict[str, Any] = {"split": split, "random_start": True, "traces": traces, "video": VIDEO}
        config = CollectConfig(ENV, agents, episodes, epsilon, seed, env_kwargs=kwargs, values_of=TEACHER)
        name = f"netllm_gym/played/{traces.split('/')[1]}-{split}-{config.key}-v0"
        whole = collected(config, name, say)
        wanted_links = {link.name for link in links[traces]}
        whole = replace(whole, episodes=[one for one in whole.episodes if one.trace in wanted_links])
        static = EnvInfo.of(make_env(ENV, kwargs)).static
        parts.append(by_levels(whole, static, MAX_LEVELS, UNIT))
    return merge(parts)
