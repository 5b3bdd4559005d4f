# # Offline data with Minari and d3rlpy
#
# Datasets are Minari's. Collect one, read it with Minari's own API, then train an algorithm of d3rlpy on it.

# +
import os
import tempfile

os.environ.setdefault("MINARI_DATASETS_PATH", tempfile.mkdtemp())
import minari

import netllm_gym
from netllm_gym import CollectConfig, collect

config = CollectConfig(
    agents=("abr/robust-mpc", "abr/bba"),
    episodes=24,
    epsilon=0.15,
    hindsight=True,
    env_kwargs={"traces": "abr/synthetic", "split": "train", "random_start": True},
)
collect(config, "me/abr/offline-v0", progress=False)
dataset = minari.load_dataset("me/abr/offline-v0")
print(dataset.total_episodes, "episodes,", dataset.total_steps, "steps")
episode = dataset[0]
print({key: value.shape for key, value in episode.observations.items()})
# -

# d3rlpy reads vectors, not Dicts: `d3rlpy.datasets.get_minari` refuses these datasets. The recipes of this package flatten
# the observations and train the algorithm; the checkpoint plays like any other agent.

# +
agent = netllm_gym.train("bc", ["me/abr/offline-v0"], tempfile.mkdtemp() + "/bc", options={"steps": 200})
result = netllm_gym.evaluate(
    agents=[{"name": agent.name, "label": "behaviour cloning"}, "abr/bba"],
    setting="default",
    episodes=8,
    progress=False,
)
result.summary()
# -

# To use d3rlpy's own classes, ask for the flat view:

# +
from netllm_gym.agents.offline.algorithms import as_mdp_dataset

experience = netllm_gym.load_experience("me/abr/offline-v0")
mdp = as_mdp_dataset(experience)
print(mdp.episodes[0].observations.shape, mdp.dataset_info.action_size, "actions")
