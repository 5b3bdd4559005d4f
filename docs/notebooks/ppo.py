# # PPO with Stable-Baselines3
#
# The environments are plain Gymnasium environments, so any library trains on them. `wrappers.flat` turns the Dict
# observations into one scaled vector.

# +
import gymnasium as gym
from stable_baselines3 import PPO

import netllm_gym
from netllm_gym.wrappers import flat

env = flat(gym.make("netllm_gym/ABR-v0", traces="abr/synthetic", split="train", random_start=True))
model = PPO("MlpPolicy", env, n_steps=512, batch_size=128, seed=0, device="cpu", verbose=0)
model.learn(4096)
# -

# A policy becomes an agent in three lines, and is compared as any other. Four thousand steps are a demonstration, no training.


# +
@netllm_gym.register_agent("abr/sb3-ppo")
class Policy(netllm_gym.Agent):
    """A Stable-Baselines3 policy behind the protocol of this package."""

    def act(self, observation, info):
        return int(model.predict(env.observation(observation), deterministic=True)[0])


result = netllm_gym.evaluate(agents=["abr/sb3-ppo", "abr/bba"], setting="default", episodes=8, progress=False)
result.summary()
# -

# `ClusterScheduling-v0` has illegal actions: MaskablePPO of sb3-contrib takes `env.unwrapped.action_masks()`.
