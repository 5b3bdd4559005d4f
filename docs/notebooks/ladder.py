# # Your video ladder
#
# An ABR environment takes any video: its bitrates, the length of a chunk, and the size of every chunk at every level.

# +
import gymnasium as gym
import numpy as np

import netllm_gym
from netllm_gym.traces import VideoManifest

rng = np.random.default_rng(0)
bitrates_kbps = np.array([400, 900, 1800, 3500])
chunk_s, chunks = 2.0, 60
complexity = rng.lognormal(0.0, 0.2, chunks)  # some scenes need more bytes than others
video = VideoManifest("mine", bitrates_kbps, chunk_s, np.outer(complexity, bitrates_kbps * 1000 / 8 * chunk_s))
print(
    video.levels, "levels,", video.chunks, "chunks,", round(video.chunk_bytes.sum(axis=0)[-1] / 1e6, 1), "MB at the top"
)
# -

# Rules and planners play it at once, on any trace set.

env = gym.make("netllm_gym/ABR-v0", traces="abr/synthetic", video=video, render_mode="rgb_array")
for name in ("abr/bba", "abr/robust-mpc", "abr/oracle"):
    agent = netllm_gym.make_agent(name)
    observation, info = env.reset(seed=7)
    agent.reset(netllm_gym.EnvInfo.of(env, privileged=agent.privileged))
    total, over = 0.0, False
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        total += reward
    print(f"{name:16s} {total / (chunks - 1):.3f} QoE per chunk")

# The last episode, drawn:

# +
import matplotlib.pyplot as plt

plt.figure(figsize=(8, 4.4))
plt.imshow(env.render())
plt.axis("off")
plt.show()
# -

# A JSON file, a folder of size files or a DASH manifest works too: `video="path/to/manifest.mpd"`.
