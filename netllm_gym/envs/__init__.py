"""What would happen: Gymnasium environments. Importing this package registers their ids."""

from typing import Any

from gymnasium.envs.registration import register, registry

_ENVS: dict[str, dict[str, Any]] = {
    "netllm_gym/ViewportPrediction-v0": {"entry_point": "netllm_gym.envs.viewport.prediction:ViewportPredictionEnv"},
    "netllm_gym/ViewportStreaming-v0": {"entry_point": "netllm_gym.envs.viewport.streaming:ViewportStreamingEnv"},
    "netllm_gym/ABR-v0": {
        "entry_point": "netllm_gym.envs.abr.env:ABREnv",
        "vector_entry_point": "netllm_gym.envs.abr.vector:ABRVectorEnv",
    },
    "netllm_gym/Dict-v0": {"entry_point": "netllm_gym.envs.dict:DictEnv"},
    "netllm_gym/ClusterScheduling-v0": {"entry_point": "netllm_gym.envs.cluster.env:ClusterSchedulingEnv"},
}

for _id, _spec in _ENVS.items():
    if _id not in registry:
        register(id=_id, **_spec)
