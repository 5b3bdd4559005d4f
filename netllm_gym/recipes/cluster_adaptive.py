"""``cluster-adaptive``: the coefficients of ``cluster/adaptive``, searched for on random workloads and public ones."""

from __future__ import annotations

import time
from dataclasses import asdict

from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import write_checkpoint
from netllm_gym.agents.cluster.adaptive import ENV, KIND, Adaptive
from netllm_gym.agents.cluster.search import SearchConfig, search
from netllm_gym.recipes.base import Training, register_recipe

CARD = "# cluster/adaptive\n\nagent.json holds what `netllm-gym train cluster-adaptive` chose.\n"


@register_recipe("cluster-adaptive", SearchConfig, data=False, timed=True)
def train_cluster_adaptive(training: Training) -> Agent:
    """Search for the coefficients of cluster/adaptive, by playing whole episodes."""
    ends = None if training.minutes is None else time.monotonic() + 60.0 * training.minutes
    collected = search(training.config, training.say, lambda: ends is not None and time.monotonic() > ends)
    coefficients = [round(float(x), 4) for x in collected]
    config = {"coefficients": coefficients}
    description = {"kind": KIND, "env_id": ENV, "config": config, "recipe": asdict(training.config)}
    write_checkpoint(training.out, description, card=CARD)
    return Adaptive(coefficients)
