# # PPO with Stable-Baselines3 and in CleanRL's manner
#
# The environments are plain Gymnasium environments, so any library trains on them. `wrappers.flat` turns the Dict
# observations into one scaled vector. The trainings here last seconds: they show how, not how well.

# +
import warnings

import gymnasium as gym
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO

import netllm_gym
from netllm_gym.sb3 import ABRVecEnv
from netllm_gym.wrappers import flat

warnings.filterwarnings("ignore")
SMALL = {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "seed": 0, "device": "cpu"}
# -

# ## Streaming, many episodes at once
#
# The batched environment runs in compiled code. `ABRVecEnv` is that batch as a `VecEnv`; it makes PPO 7 times faster than 16
# environments in Python (`python benchmarks/ppo.py`).

LINKS = {"traces": "abr/synthetic", "video": "synthetic"}
many = ABRVecEnv(64, split="train", random_start=True, **LINKS)
model = PPO("MlpPolicy", many, n_steps=47, batch_size=1504, n_epochs=4, learning_rate=1e-3, seed=0, device="cpu")
model.learn(64 * 47 * 20)

# A policy becomes an agent in three lines, and is compared as any other.

# +
view = flat(gym.make("netllm_gym/ABR-v0", **LINKS))


@netllm_gym.register_agent("abr/sb3-ppo")
class Policy(netllm_gym.Agent):
    """A Stable-Baselines3 policy behind the protocol of this package."""

    def act(self, observation, info):
        return int(model.predict(view.observation(observation), deterministic=True)[0])


result = netllm_gym.evaluate(agents=["abr/sb3-ppo", "abr/bba"], setting="default", episodes=8, progress=False)
result.summary()
# -

# ## The same loop in CleanRL's manner
#
# `examples/ppo_cleanrl.py` is PPO in one file. On one core it learns from some 70,000 samples a second.

# +
import sys
from pathlib import Path

sys.path.insert(0, str(Path(netllm_gym.__file__).parent.parent / "examples"))
import ppo_cleanrl

args = ppo_cleanrl.Args(total_steps=200_000, num_envs=64)
network, reads, rate = ppo_cleanrl.train(args, say=None, split="train", random_start=True, **LINKS)
print(f"{rate:,.0f} samples per CPU second")
# -

# ## Viewport prediction
#
# The action is the next viewports themselves, a Box in degrees; `RescaleAction` brings it to the −1 to 1 that PPO expects.

# +
from gymnasium.wrappers import RescaleAction

heads = flat(gym.make("netllm_gym/ViewportPrediction-v0", traces="viewport/synthetic", split="train", future=5))
heads = RescaleAction(heads, -1.0, 1.0)
PPO("MlpPolicy", heads, **SMALL).learn(128)
# -

# ## Viewport streaming
#
# A quality for every tile: a MultiDiscrete action.

tiles = flat(gym.make("netllm_gym/ViewportStreaming-v0", traces="viewport/synthetic", split="train", max_chunks=20))
PPO("MlpPolicy", tiles, **SMALL).learn(128)

# ## Cluster scheduling
#
# Some actions are illegal. MaskablePPO of sb3-contrib asks the environment for `action_masks()`, which `flat` passes on.

cluster = flat(
    gym.make("netllm_gym/ClusterScheduling-v0", traces="cluster/synthetic", split="train", executors=10, jobs=5)
)
MaskablePPO("MlpPolicy", cluster, **SMALL).learn(128)

# ## CleanRL's manner on every environment
#
# `examples/ppo_any.py` is PPO in one file for all four: levels, tiles, masked pointers and angles. It draws legal actions only.

# +
import ppo_any

budget = ppo_any.Args(total_steps=512, num_steps=64, epochs=2)
for env_id, kwargs in {
    "netllm_gym/ABR-v0": LINKS,
    "netllm_gym/ViewportPrediction-v0": {"traces": "viewport/synthetic", "future": 5},
    "netllm_gym/ViewportStreaming-v0": {"traces": "viewport/synthetic", "max_chunks": 20},
    "netllm_gym/ClusterScheduling-v0": {"traces": "cluster/synthetic", "executors": 10, "jobs": 5},
}.items():
    policy, mean = ppo_any.train(budget, env_id, say=None, split="train", **kwargs)
    print(f"{env_id}: mean reward of a decision {mean:.3f}")
