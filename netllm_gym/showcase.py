"""A first look without any training: the agents that ship against their rivals on embedded traces, one film a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from netllm_gym.errors import NetLLMGymError, UnknownNameError


@dataclass(frozen=True)
class Show:
    """What one task plays.

    Attributes:
        agents: compared with each other.
        episodes: how many each plays.
        kwargs: the embedded environment, smaller than the settings of the evaluation.
        star: whose episode is drawn.
        frames: steps of it that become pictures.
    """

    agents: tuple[str, ...]
    episodes: int
    star: str
    frames: int
    kwargs: dict[str, Any] = field(default_factory=dict)


ABR = ("abr/bba", "abr/bola-e", "abr/actor-critic", "abr/regret-mlp", "abr/llm")
VIEWPORT = ("viewport/damped-velocity", "viewport/velocity", "viewport/ridge")
CLUSTER = ("cluster/fifo", "cluster/strict-fair", "cluster/tuned", "cluster/decima", "cluster/llm")
SHOWS = {
    "abr": Show(ABR, 16, "abr/llm", 48, {"traces": "abr/synthetic", "split": "test", "video": "synthetic"}),
    "viewport": Show(VIEWPORT, 32, "viewport/damped-velocity", 14, {"traces": "viewport/synthetic", "split": "test"}),
    "cluster": Show(
        CLUSTER, 4, "cluster/tuned", 60, {"traces": "cluster/synthetic", "split": "test", "executors": 20, "jobs": 25}
    ),
}


def showcase(
    out: str | Path = "runs/showcase",
    tasks: tuple[str, ...] = tuple(SHOWS),
    seed: int = 0,
    workers: int = 2,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Play every task once and return the reports that were written.

    Agents whose packages are not installed are named and left out.

    Args:
        out: folder of the reports (``<task>/report.html``) and animations (``<task>.gif``).
        tasks: some of :data:`SHOWS`.
        seed: of everything random.
        workers: processes; the numbers do not depend on them.
        say: receives lines of text.

    Raises:
        UnknownNameError: no such task.
    """
    from netllm_gym.agents.registry import make_agent
    from netllm_gym.evaluation import evaluate
    from netllm_gym.settings import load_setting

    pages = []
    for task in tasks:
        if task not in SHOWS:
            raise UnknownNameError("task", task, SHOWS)
        show, playing = SHOWS[task], []
        for name in show.agents:
            try:
                make_agent(name)
                playing.append(name)
            except NetLLMGymError as error:
                say(f"  {name} is left out: {error}")
        say(f"{task}: {len(playing)} agents on {show.episodes} episodes that nobody was trained on")
        folder = Path(out) / task
        setting = replace(load_setting(task, "default", "embedded"), kwargs=show.kwargs)
        if task == "cluster":
            setting = replace(setting, note=f"{show.kwargs['executors']} executors, {show.kwargs['jobs']} jobs")
        result = evaluate(
            agents=playing, setting=setting, episodes=show.episodes, seed=seed, workers=workers, out=folder
        )
        for line in repr(result.summary()).splitlines()[:-1]:
            say(f"  {line}")
        page = result.report(folder)
        film = animate(task, Path(out) / f"{task}.gif", seed)
        say(f"  report: {page}; an episode of {show.star}: {film}")
        pages.append(page)
    return pages


def animate(task: str, path: Path, seed: int = 0) -> Path:
    """Write one episode of a task as an animated GIF."""
    import gymnasium as gym
    from PIL import Image

    from netllm_gym.agents.registry import make_agent
    from netllm_gym.files import atomic_path
    from netllm_gym.play import play
    from netllm_gym.settings import load_setting

    show = SHOWS[task]
    try:
        agent = make_agent(show.star)
    except NetLLMGymError:
        agent = make_agent(show.agents[0])
    env: Any = gym.make(load_setting(task, "default", "embedded").env, render_mode="rgb_array", **show.kwargs)
    frames = [Image.fromarray(env.render()).quantize(64) for _ in islice(play(env, agent, seed), show.frames)]
    env.close()
    with atomic_path(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=180, loop=0)
    return path
