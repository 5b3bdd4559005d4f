"""The whole chain on adaptive bitrate streaming: traces → dataset → agents → evaluation → report.

Everything it does is one public call a user can make himself; finished steps are kept, so the same command resumes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netllm_gym import traces as trace_room
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.extras import require
from netllm_gym.files import write_json

BEHAVIOUR = ("abr/robust-mpc", "abr/bba", "abr/oracle")
CLASSICAL = ("abr/bba", "abr/robust-mpc", "abr/random", "abr/oracle")
# What a minute buys on two CPU cores (the language model's training stops by the clock).
EPISODES_PER_MINUTE = 60
LLM_SHARE = 0.45
LLM_OPTIONS: dict[str, Any] = {}


def _video_of(traces: str) -> str:
    base, _ = trace_room.catalog.split_name(traces)
    videos = trace_room.catalog.describe(base).get("videos", ())
    return videos[0] if videos else "synthetic"


def quickstart(
    traces: str = "abr/synthetic",
    minutes: float = 10.0,
    out: str | Path = "runs/quickstart",
    seed: int = 0,
    workers: int = 2,
    say: Callable[[str], None] = print,
) -> Path:
    """Run the chain and return the path of ``report.html``.

    Args:
        traces: an ABR trace set of the catalog; a public one is fetched first.
        minutes: about how long it may take on two CPU cores; it scales the dataset and the training of the language
            model, which gets :data:`LLM_SHARE` of it.
        out: folder for checkpoints and report.
        seed: of everything random.
        workers: processes for collecting and evaluating; the numbers do not depend on them.
        say: receives a line per step.

    Raises:
        ConfigError: fewer than two minutes.
        MissingExtraError: the packages that train its agents are not installed.
        UnknownNameError, DownloadError: a trace set that is unknown or cannot be had.
    """
    from netllm_gym.datasets.collect import CollectConfig, collect
    from netllm_gym.datasets.store import describe
    from netllm_gym.evaluation import evaluate
    from netllm_gym.recipes import recipe_of, train

    if minutes < 2:
        raise ConfigError(f"the chain needs at least 2 minutes, got {minutes:g}")
    for extra in ("llm", "rl"):  # before anything is collected for trainings that could not begin
        require(extra, "quickstart")
    begin = time.monotonic()
    out = Path(out)

    def step(number: int, line: str) -> None:
        say(f"[{number}/5 {(time.monotonic() - begin) / 60:4.1f} min] {line}")

    step(1, f"traces: {traces}")
    try:
        train_set = trace_room.load(traces, "train")
    except DownloadError:
        trace_room.fetch(traces, progress=True)
        train_set = trace_room.load(traces, "train")
    video = _video_of(traces)
    test_set = trace_room.load(traces, "test")
    say(f"  {len(train_set)} training and {len(test_set)} test traces, none in both; video {video}")

    step(2, "offline datasets, with hindsight values of every action")
    episodes = round(EPISODES_PER_MINUTE * minutes)

    def gather(split: str, agents: tuple[str, ...], count: int, epsilon: float) -> str:
        kwargs = {"traces": traces, "split": split, "video": video, "random_start": True}
        config = CollectConfig(
            agents=agents, episodes=count, epsilon=epsilon, seed=seed, hindsight=True, env_kwargs=kwargs
        )
        name = f"netllm_gym/abr/quickstart_{split}_{config.key}-v0"
        collect(config, name, workers, progress=False)
        say(f"  {name}: {count} episodes, mean QoE {describe(name)['returns']['reward_mean']:.3f}")
        return name

    data = [gather("train", BEHAVIOUR, episodes, 0.15)]
    valid = [gather("valid", BEHAVIOUR, max(4, episodes // 6), 0.1)]

    step(3, "agents")

    def learn(name: str, recipe: str, **options: Any) -> str:
        folder = out / name
        about = {"recipe": recipe, "options": options, "data": data, "valid": valid, "seed": seed, "minutes": minutes}
        marker = folder / "recipe.json"
        if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == about:
            say(f"  {name}: kept")
            return str(folder)
        started = time.monotonic()
        known = recipe_of(recipe)
        chosen_by = valid if known.valid == "needed" else None
        limit = minutes * LLM_SHARE if known.timed else None
        train(recipe, data, folder, chosen_by, limit, seed, options, say=lambda line: say(f"    {line}"))
        write_json(marker, about)
        say(f"  {name}: trained in {time.monotonic() - started:.0f} s")
        return str(folder)

    trained = [
        learn("cql", "cql", steps=round(200 * minutes)),
        learn("decision-transformer", "decision-transformer", steps=round(30 * minutes)),
    ]
    # The states an imitator leads itself into are not those its teachers visited: let a first student play, and
    # label what it sees (DAgger; Ross et al., AISTATS 2011).
    student = learn("student", "regret-mlp", ensemble=2)
    data.append(gather("train", (student,), episodes // 2, 0.05))
    valid.append(gather("valid", (student,), max(4, episodes // 6), 0.05))
    trained += [learn("regret-mlp", "regret-mlp"), learn("llm", "llm", **LLM_OPTIONS)]

    step(4, f"evaluation on {len(test_set)} unseen traces, the same for every agent")
    result = evaluate(
        agents=[*CLASSICAL, *({"name": folder, "label": Path(folder).name} for folder in trained)],
        setting={"traces": traces, "split": "test", "video": video},
        baseline="abr/robust-mpc",
        floor="abr/constant",
        oracle="abr/oracle",
        seed=seed,
        workers=workers,
        out=out / "evaluation",
        trace_steps=(0,),
    )

    step(5, "report")
    page = result.report(out / "evaluation")
    for line in _table(result):
        say(line)
    say(f"done in {(time.monotonic() - begin) / 60:.1f} minutes")
    return page


def _table(result: Any) -> list[str]:
    """Render the summary as lines of text: QoE with its interval, the difference to RobustMPC, the verdict."""
    lines = [
        f"  {'agent':22s} {'QoE/chunk':>9s}  {'95 % CI':>16s}  {'vs RobustMPC':>24s}  {'gap closed':>10s}  verdict"
    ]
    for row in result.summary().reset_index().to_dict("records"):
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        paired = f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        paired = paired if row["difference"] == row["difference"] else "-"  # the baseline itself
        numbers = f"{row['mean']:9.3f}  {interval:>16s}  {paired:>24s}  {row['score']:10.1%}"
        lines.append(f"  {row['agent']:22s} {numbers}  {row['verdict']}")
    return lines
