"""The whole chain on one task: traces → dataset → agents → evaluation → report.

Everything it does is one public call a user can make himself; finished steps are kept, so the same command resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym import traces as trace_room
from netllm_gym.errors import ConfigError, DownloadError, UnknownNameError
from netllm_gym.extras import require
from netllm_gym.quickstart.chain import Chain, Plan, lines_of
from netllm_gym.quickstart.tasks import PLANS

__all__ = ["PLANS", "Chain", "Plan", "quickstart"]


def quickstart(
    traces: str | None = None,
    minutes: float = 10.0,
    out: str | Path = "runs/quickstart",
    seed: int = 0,
    workers: int = 2,
    say: Callable[[str], None] = print,
    task: str = "abr",
    trainings: int = 1,
    learners: Sequence[str] | None = None,
) -> Path:
    """Run the chain and return the path of ``report.html``.

    Args:
        traces: a trace set of the task, of the catalog; default: the embedded one. A public one is fetched first.
        minutes: about how long one training of everything may take on two quiet CPU cores; it scales the datasets and
            the trainings.
        out: folder for checkpoints and report.
        seed: of everything random in the first training, the next one has `seed` + 1 and so on; episodes of the
            evaluation take it too.
        workers: processes for collecting and evaluating; the numbers do not depend on them.
        say: receives a line per step.
        task: one of :data:`PLANS`.
        trainings: how often everything is collected and trained; fewer than five speak of a checkpoint.
        learners: which of the plan's learners to train; default: all.

    Raises:
        ConfigError: fewer than two minutes, or no training.
        MissingExtraError: the packages that train its agents are not installed.
        UnknownNameError, DownloadError: a task, learner or trace set that is unknown, or traces that cannot be had.
    """
    from netllm_gym.evaluation import evaluate

    if task not in PLANS:
        raise UnknownNameError("task", task, PLANS)
    plan: Plan = PLANS[task]
    chosen = tuple(learners or plan.learners)
    for name in chosen:
        if name not in plan.learners:
            raise UnknownNameError(f"learner of {task}", name, plan.learners)
    if minutes < 2:
        raise ConfigError(f"the chain needs at least 2 minutes, got {minutes:g}")
    if trainings < 1:
        raise ConfigError(f"at least one training is needed, got {trainings}")
    for extra in ("llm", "rl"):  # before anything is collected for trainings that could not begin
        require(extra, "quickstart")
    begin = time.monotonic()
    place, name = Path(out), traces or plan.traces

    def step(number: int, line: str) -> None:
        say(f"[{number}/5 {(time.monotonic() - begin) / 60:4.1f} min] {line}")

    step(1, f"traces: {name}")
    try:
        train_set = trace_room.load(name, "train")
    except DownloadError:
        trace_room.fetch(name, progress=True)
        train_set = trace_room.load(name, "train")
    test_set = trace_room.load(name, "test")
    say(f"  {len(train_set)} training and {len(test_set)} test traces, none in both")

    agents: list[dict[str, Any]] = []
    for training in range(trainings):
        folder = place if training == 0 else place / f"training-{seed + training}"
        chain = Chain(name, minutes, folder, seed + training, workers, say)
        step(2, plan.data + (f", training {training + 1} of {trainings}" if trainings > 1 else ""))
        prepared = plan.prepare(chain, chosen)
        step(3, "agents")
        for learner, agent in plan.train(chain, prepared, chosen).items():
            agents.append({**agent, "label": learner, "training_seed": seed + training})

    step(4, f"evaluation on {len(test_set)} unseen traces, the same for every agent")
    setting = replace(plan.setting(name), baseline=plan.baseline)
    result = evaluate(
        agents=[*plan.rivals, *agents],
        setting=setting,
        episodes=plan.episodes,
        seed=seed,
        workers=workers,
        out=place / "evaluation",
        trace_steps=(0,),
    )

    step(5, "report")
    page = result.report(place / "evaluation")
    for line in lines_of(result):
        say(line)
    say(f"done in {(time.monotonic() - begin) / 60:.1f} minutes")
    return page
