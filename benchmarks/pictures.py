"""Draw the pictures of the documentation: ``python benchmarks/pictures.py`` (a minute, embedded traces only).

``docs/images/environments.gif`` shows the four environments side by side; ``docs/images/<name>.png`` one frame each.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

import netllm_gym

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE, FRAMES = (360, 200), 36
# name -> environment, agent, arguments, steps between two frames, steps left out at first
PLAYED: dict[str, tuple[str, str, dict[str, Any], int, int]] = {
    "abr": (
        "ABR-v0", "abr/robust-mpc", {"traces": "abr/synthetic", "split": "test", "video": "synthetic"}, 1, 0,
    ),
    "viewport-prediction": (
        "ViewportPrediction-v0", "viewport/damped-velocity", {"traces": "viewport/synthetic"}, 1, 0,
    ),
    "viewport-streaming": (
        "ViewportStreaming-v0", "streaming/predictive", {"traces": "viewport/synthetic"}, 1, 14,
    ),
    "cluster": (
        "ClusterScheduling-v0", "cluster/tuned", {"traces": "cluster/synthetic", "executors": 20, "jobs": 25}, 6, 0,
    ),
}  # fmt: skip


def frames_of(env_id: str, agent: str, kwargs: dict[str, Any], every: int, skip: int, count: int) -> list[np.ndarray]:
    """Return up to `count` frames of one episode, the last repeated where it is shorter."""
    env: Any = gym.make(f"netllm_gym/{env_id}", render_mode="rgb_array", **kwargs)
    played = netllm_gym.play(env, netllm_gym.make_agent(agent), 4)
    frames = [env.render() for _ in islice(played, skip, skip + count * every, every)]
    return frames + [frames[-1]] * (count - len(frames))


def fitted(frame: np.ndarray) -> Image.Image:
    """Scale a frame into its place, on white."""
    image, place = Image.fromarray(frame), Image.new("RGB", SIZE, "white")
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    place.paste(image, ((SIZE[0] - image.width) // 2, (SIZE[1] - image.height) // 2))
    return place


def main() -> None:
    """Draw and write."""
    OUT.mkdir(exist_ok=True)
    films = {name: frames_of(*how, FRAMES) for name, how in PLAYED.items()}
    for name, frames in films.items():
        Image.fromarray(frames[len(frames) * 2 // 3]).quantize(64).save(OUT / f"{name}.png", optimize=True)
    pages = []
    for k in range(FRAMES):
        page = Image.new("RGB", (2 * SIZE[0] + 8, 2 * SIZE[1] + 8), "white")
        for number, frames in enumerate(films.values()):
            page.paste(fitted(frames[k]), ((SIZE[0] + 8) * (number % 2), (SIZE[1] + 8) * (number // 2)))
        pages.append(page)
    shown = Image.new("RGB", (pages[0].width, 3 * pages[0].height))
    for number, k in enumerate((FRAMES // 4, FRAMES // 2, FRAMES - 1)):
        shown.paste(pages[k], (0, number * pages[0].height))
    palette = shown.quantize(96, method=Image.Quantize.MAXCOVERAGE)
    moving = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    target = OUT / "environments.gif"
    moving[0].save(target, save_all=True, append_images=moving[1:], duration=300, loop=0, optimize=True)
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
