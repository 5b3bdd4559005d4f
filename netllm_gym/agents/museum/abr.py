"""`abr/…-as-published`: learned bitrate agents with the weights that their authors released, taken greedily.

All read Pensieve's state of six rows, newest value last: last bitrate / 4300 kbit/s, buffer / 10 s, throughput in MB/s,
download time / 10 s, next chunk's MB per level, chunks left / 48 (Mao et al., SIGCOMM 2017). A branch of 128 units
reads each row; 128 more read the branches. Pensieve and PPO choose a level of six from eight past downloads; Genet and
its UDR variants (Xia et al., SIGCOMM 2022) move one level down, stay, or go one up, from six past downloads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.museum.archive import NETLLM, PENSIEVE, PENSIEVE_PPO, Exhibit, Tensors
from netllm_gym.agents.registry import register_agent
from netllm_gym.errors import ConfigError

Floats = NDArray[np.float32]

LEVELS = 6
WIDTH = 128
CHUNKS = 48.0
TOP_KBPS = np.float32(4300.0)
CLASSIC = "abr/pensieve-classic"
# Branches in the order in which they are joined: the row that each reads.
ROWS = ("bitrate", "buffer", "throughput", "delay", "sizes", "left")
_TENSORFLOW = dict(
    zip((*ROWS, "hidden", "out"), (
        "FullyConnected", "FullyConnected_1", "Conv1D", "Conv1D_1", "Conv1D_2", "FullyConnected_2", "FullyConnected_3",
        "FullyConnected_4",
    ), strict=True)
)  # fmt: skip
_TORCH = dict(
    zip((*ROWS, "hidden", "out"), (
        "fc1_actor", "fc2_actor", "conv1_actor", "conv2_actor", "conv3_actor", "fc3_actor", "fc4_actor", "pi_head",
    ), strict=True)
)  # fmt: skip


def _inputs(part: str, history: int) -> int:
    return {"throughput": history, "delay": history, "sizes": LEVELS, "hidden": len(ROWS) * WIDTH, "out": WIDTH}.get(
        part, 1
    )


def tensorflow_shapes(history: int, actions: int) -> dict[str, tuple[int, ...]]:
    """Tensors of the actor in the TensorFlow checkpoints."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, layer in _TENSORFLOW.items():
        size, width = _inputs(part, history), actions if part == "out" else WIDTH
        shapes[f"actor/{layer}/W"] = (4, 1, size, width) if layer.startswith("Conv") else (size, width)
        shapes[f"actor/{layer}/b"] = (width,)
    return shapes


def torch_shapes(history: int, actions: int) -> dict[str, tuple[int, ...]]:
    """Tensors of the actor in the torch checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, layer in _TORCH.items():
        width = actions if part == "out" else WIDTH
        shapes[f"{layer}.weight"] = (width, _inputs(part, history))
        shapes[f"{layer}.bias"] = (width,)
    return shapes


def layers(tensors: Tensors) -> dict[str, tuple[Floats, Floats]]:
    """Return part → (matrix ``[inputs, width]``, bias) of either kind of checkpoint."""
    found = {}
    for part in (*ROWS, "hidden", "out"):
        if f"{_TORCH[part]}.weight" in tensors:
            found[part] = (tensors[f"{_TORCH[part]}.weight"].T, tensors[f"{_TORCH[part]}.bias"])
            continue
        matrix = tensors[f"actor/{_TENSORFLOW[part]}/W"]
        # A kernel of four slides over a row of one step whose columns are channels: padding leaves its second tap.
        found[part] = (matrix[1, 0] if matrix.ndim == 4 else matrix, tensors[f"actor/{_TENSORFLOW[part]}/b"])
    return found


class PublishedABR(Agent):
    """A released actor, taken greedily.

    Args:
        exhibit: its weights.
        history: past downloads that it reads.
        moves: whether its actions are down, stay and up instead of levels.
        left_row: whether the last branch reads the chunks left. Pensieve's released code slices another row there:
            its branch reads the size of the lowest level of the chunk before.

    Raises:
        DownloadError, CheckpointError, MissingExtraError: weights that cannot be had or read.
    """

    def __init__(self, exhibit: Exhibit, history: int, moves: bool, left_row: bool = True) -> None:
        self.layers = layers(exhibit.tensors())
        self.history, self.moves, self.left_row = history, moves, left_row

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode on a ladder of six levels."""
        video: Any = env_info.static.get("video")
        if getattr(video, "levels", None) != LEVELS:
            raise ConfigError(f"{self.name} chooses among {LEVELS} levels of a video, not in {env_info.env_id}")
        self.kbps = np.asarray(video.bitrates_kbps, np.float32)
        self.before = np.float32(0.0)

    def state(self, observation: Any) -> dict[str, Floats]:
        """Return what each branch reads."""
        sizes = np.asarray(observation["next_chunk_bytes"], np.float32) / np.float32(1e6)
        left = np.float32(min(float(observation["chunks_left"][0]), CHUNKS) / CHUNKS)
        return {
            "bitrate": np.array([self.kbps[int(observation["last_quality"])] / TOP_KBPS], np.float32),
            "buffer": np.asarray(observation["buffer_s"], np.float32) / np.float32(10.0),
            "throughput": observation["throughput_mbps"][-self.history :] / np.float32(8.0),
            "delay": observation["download_time_s"][-self.history :] / np.float32(10.0),
            "sizes": sizes,
            "left": np.array([left if self.left_row else self.before], np.float32),
        }

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Return the most probable level."""
        state = self.state(observation)
        self.before = state["sizes"][0]
        branches = [np.maximum(state[row] @ self.layers[row][0] + self.layers[row][1], 0.0) for row in ROWS]
        matrix, bias = self.layers["hidden"]
        hidden = np.maximum(np.concatenate(branches) @ matrix + bias, 0.0)
        best = int(np.argmax(hidden @ self.layers["out"][0] + self.layers["out"][1]))
        if self.moves:
            return int(np.clip(int(observation["last_quality"]) + best - 1, 0, LEVELS - 1))
        return best


def _genet(folder: str, epoch: int, sha256: str) -> Exhibit:
    path = f"adaptive_bitrate_streaming/data/all_models/{folder}/nn_model_ep_{epoch}.ckpt"
    return Exhibit(NETLLM, path, sha256, tensorflow_shapes(6, 3))


EXHIBITS = {
    "genet": _genet("genet", 9900, "84794c92b4b52dc5115de862555d65d5b7fcb568521fd07b88e8027eefb25f49"),
    "udr-1": _genet("udr_1", 57600, "29ee8a64c870f1a753d9086d440ed33edd0098a9864115452a68223ab2e91b4d"),
    "udr-2": _genet("udr_2", 52400, "23a8d6d0d3e22f316e6395d95cdf9498afb309ba51b10de19a53554cacf5d7f4"),
    "udr-3": _genet("udr_3", 58000, "88a5c90403ef80cf8a891bf5e7f3ed82c6621fc418376f8b24104f1ed9cb0a59"),
    "udr-real": _genet("udr_real", 49000, "3cdd500e9f9fabe93daf04c13848047f0d1a80dbd059e60dd9ae6e636cadfa58"),
    "pensieve": Exhibit(
        PENSIEVE, "test/models/pretrain_linear_reward.ckpt",
        "a99722f6df860f9a7ddeed356d3436894adbdc1ce4ffc56d6954535a877e90d5", tensorflow_shapes(8, 6), CLASSIC,
        "inferred: two later repositories hand these traces on as Pensieve's; its own no longer holds any",
    ),
    "ppo": Exhibit(
        PENSIEVE_PPO, "src/pretrain/nn_model_ep_155400.pth",
        "5c17de7f472b8c7ab688f6500f5f810b8f6b24596d7dd5d3514592355b4b24a9", torch_shapes(8, 6), CLASSIC,
        "inferred: the training set in the same repository; the checkpoint does not name it",
    ),
}  # fmt: skip


@register_agent("abr/genet-as-published")
def genet() -> PublishedABR:
    """Genet's curriculum, as NetLLM's repository releases it."""
    return PublishedABR(EXHIBITS["genet"], 6, moves=True)


@register_agent("abr/udr-1-as-published")
def udr_1() -> PublishedABR:
    """Genet's rival trained on uniformly drawn links of the first, narrowest range."""
    return PublishedABR(EXHIBITS["udr-1"], 6, moves=True)


@register_agent("abr/udr-2-as-published")
def udr_2() -> PublishedABR:
    """Genet's rival trained on uniformly drawn links of the second range."""
    return PublishedABR(EXHIBITS["udr-2"], 6, moves=True)


@register_agent("abr/udr-3-as-published")
def udr_3() -> PublishedABR:
    """Genet's rival trained on uniformly drawn links of the full range."""
    return PublishedABR(EXHIBITS["udr-3"], 6, moves=True)


@register_agent("abr/udr-real-as-published")
def udr_real() -> PublishedABR:
    """Genet's rival trained on recorded links."""
    return PublishedABR(EXHIBITS["udr-real"], 6, moves=True)


@register_agent("abr/pensieve-as-published")
def pensieve() -> PublishedABR:
    """Pensieve of 2017 (hongzimao/pensieve, ``pretrain_linear_reward``)."""
    return PublishedABR(EXHIBITS["pensieve"], 8, moves=False, left_row=False)


@register_agent("abr/ppo-as-published")
def ppo() -> PublishedABR:
    """Pensieve's network trained by PPO (yindaheng98/Pensieve-PPO, epoch 155,400)."""
    return PublishedABR(EXHIBITS["ppo"], 8, moves=False)
