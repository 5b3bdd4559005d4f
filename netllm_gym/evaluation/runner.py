"""Run an evaluation: every agent on the same episodes, on any number of processes, resumable after a kill."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import gymnasium as gym
import joblib
import pandas as pd

from netllm_gym.agents.base import Agent, EnvInfo, check_serves
from netllm_gym.errors import CheckpointError, ConfigError, MissingExtraError
from netllm_gym.evaluation import examples, provenance
from netllm_gym.evaluation.courses import timeline_agents
from netllm_gym.evaluation.looks import count_looks, note_look
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.rollout import BLOCK, forget, metric_of, play_block, terms_of
from netllm_gym.evaluation.settings import Setting, load_setting, task_of
from netllm_gym.evaluation.specs import (
    AgentSpec,
    EnvRecipe,
    Episode,
    agent_specs,
    canonical,
    code_digest,
    digest_of,
    plan_episodes,
)
from netllm_gym.files import one_writer, read_sealed, sweep, write_sealed
from netllm_gym.progress import Progress, bar_of
from netllm_gym.versions import versions

_OWN_COLUMNS = frozenset(
    {
        "agent", "training_seed", "episode", "trace_index", "trace", "group", "seed", "steps", "mean_reward",
        "repeat_rate", "latency_p50_ms", "latency_p99_ms", "lockstep", "failed", "reason", "notice",
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Unit:
    """A unit of work: one agent on one block of episodes."""

    spec: AgentSpec
    episodes: tuple[Episode, ...]
    traced: tuple[int, ...]
    key: str | None  # None: an agent given as an object has no content to be recognised by

    def stored_in(self, folder: Path | None) -> Path | None:
        if folder is None or self.key is None:
            return None
        return folder / "episodes" / f"{self.key[:32]}.json"


def _read_block(path: Path | None, key: str | None) -> dict[str, Any] | None:
    """Return a finished block, or ``None``; a damaged file counts as not finished and is played again."""
    if path is None or not path.is_file():
        return None
    try:
        block = json.loads(read_sealed(path))
        return block if block["key"] == key and block["rows"] and "courses" in block else None
    except (ValueError, KeyError, TypeError):  # a damaged file is a ValueError too
        return None


def _work(
    recipe: EnvRecipe,
    specs: Sequence[AgentSpec],
    groups: Sequence[tuple[Episode, ...]],
    traced: Sequence[int],
    content: Any,
    timeout_s: float | None,
) -> list[_Unit]:
    common = {
        "env": recipe.spec.id,
        "kwargs": canonical(recipe.kwargs),
        "traces": content,
        "versions": versions(),
        "code": code_digest(),
        "timeout_s": timeout_s,
    }
    units = []
    for spec in specs:
        agent_key = None if spec.instance is not None else spec.key
        for episodes in groups:
            marked = tuple(e.index for e in episodes if e.index in traced)
            # Episodes carry their seeds, so the evaluation's own seed is in the key with them. So are the
            # labels, which the stored rows repeat.
            label = (spec.label, spec.training_seed)
            key = None if agent_key is None else digest_of([common, agent_key, label, episodes, marked])
            units.append(_Unit(spec, episodes, marked, key))
    return units


def _groups(plans: Sequence[Episode]) -> list[tuple[Episode, ...]]:
    """Cut the episodes into blocks. The first is one by itself: it measures a decision that no batch shares."""
    return [tuple(plans[a:b]) for a, b in itertools.pairwise([0, *range(1, len(plans), BLOCK), len(plans)])]


def _blocks(
    recipe: EnvRecipe, units: Sequence[_Unit], folder: Path | None, workers: int, timeout_s: float | None, bar: Progress
) -> list[dict[str, Any]]:
    """Return the block of each unit: from `folder` where it is finished, else played now and kept there."""
    blocks = [_read_block(unit.stored_in(folder), unit.key) for unit in units]
    waiting = [i for i, block in enumerate(blocks) if block is None]
    total = sum(len(unit.episodes) for unit in units)
    done = total - sum(len(units[i].episodes) for i in waiting)
    task = bar.add_task("evaluate", total=total, completed=done)
    for number, block in _play(recipe, [units[i] for i in waiting], workers, uuid4().hex, timeout_s):
        unit = units[waiting[number]]
        blocks[waiting[number]] = block
        if path := unit.stored_in(folder):
            write_sealed(path, json.dumps({"key": unit.key, **block}).encode() + b"\n")
        bar.update(task, advance=len(unit.episodes), description=f"evaluate {unit.spec.label}")
    return [block for block in blocks if block]


def _play(
    recipe: EnvRecipe, units: Sequence[_Unit], workers: int, run: str, timeout_s: float | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the unit, its block) as blocks finish, in any order."""
    here = [i for i, unit in enumerate(units) if workers == 1 or unit.spec.instance is not None]
    # Trained agents are named last and take longest: they begin, so that no core waits for them at the end.
    away = sorted(set(range(len(units))).difference(here), reverse=True)
    if away:
        # No backend is named, so that `with joblib.parallel_config(backend="ray")` moves the same work to a
        # cluster. Ray's backend hands results over only when all are there, so it gets the work in waves.
        streams = joblib.parallel.get_active_backend()[0].supports_return_generator
        wave = len(away) if streams else 2 * workers
        form = "generator_unordered" if streams else "list"
        with joblib.Parallel(n_jobs=workers, return_as=form, batch_size=1) as parallel:
            for begin in range(0, len(away), wave):
                numbers = away[begin : begin + wave]
                yield from parallel(joblib.delayed(_numbered)(i, recipe, units[i], run, timeout_s) for i in numbers)
    try:
        for i in here:
            yield _numbered(i, recipe, units[i], run, timeout_s)
    finally:
        forget()


def _numbered(
    number: int, recipe: EnvRecipe, unit: _Unit, run: str, timeout_s: float | None
) -> tuple[int, dict[str, Any]]:
    return number, play_block(recipe, unit.spec, unit.episodes, unit.traced, run, timeout_s)


def _first_seed(specs: Sequence[AgentSpec], label: str) -> int:
    return min(spec.training_seed for spec in specs if spec.label == label)


def _fits(spec: AgentSpec, env: gym.Env, episode: Episode) -> bool:
    """Build an agent and let it begin an episode; return whether it is privileged.

    A misspelt name, a broken checkpoint, a missing extra or an agent made for another environment is an error now and
    not a failed episode later.
    """
    agent = spec.build()
    check_serves(agent, env)
    env.reset(seed=episode.env_seed, options=episode.options or None)
    try:
        agent.reset(EnvInfo.of(env, episode.agent_seed, agent.privileged))
    except (CheckpointError, MissingExtraError):
        raise
    except Exception:  # of the agent or this episode alone: recorded as a failed episode when it is played
        pass
    return agent.privileged


@one_writer("out", "the evaluation")
def evaluate(
    env: str = "netllm_gym/ABR-v0",
    agents: Sequence[str | Agent | Mapping[str, Any]] = (),
    setting: str | Mapping[str, Any] | Setting | None = None,
    episodes: int | None = None,
    seed: int = 0,
    workers: int = 1,
    baseline: str | None = None,
    floor: str | None = None,
    oracle: str | None = None,
    out: str | Path | None = None,
    profile: str = "embedded",
    trace_steps: Sequence[int] | Literal["examples"] = (),
    progress: bool = True,
    timeout_s: float | None = None,
) -> EvaluationResult:
    """Compare agents on the same episodes.

    Args:
        env: registered id of an environment.
        agents: names, checkpoint folders, :class:`Agent` objects, or ``{"name": …, keyword arguments}``; such
            a dict may carry a ``label`` for tables and a ``training_seed`` (agents with one label are runs of
            one recipe). Objects are played in this process and are not resumable: what is in them cannot be
            recognised again.
        setting: arguments of the environment, or a setting of the catalog (by name, or loaded), which also
            brings the baseline, the floor and the oracle.
        episodes: how many; by default every trace once. More walk over the traces again with other seeds.
        seed: the same seed gives every agent the same episodes, today and tomorrow.
        workers: processes. The numbers do not depend on it.
        baseline: the agent that the others are compared with; by default the setting's, or else the first
            agent.
        floor, oracle: ends of the normalised score; by default the setting's. Those not among `agents` are
            added.
        out: folder for the results. Finished blocks of 16 episodes are kept there, and the same command takes
            them up again. Without it nothing is written.
        profile: of a setting given by name: ``embedded`` or ``paper``.
        trace_steps: numbers of the episodes whose every step is recorded (for a timeline); ``"examples"``: those where
            the best rival gains most on the baseline, least, and in between, played once more for that.
        progress: show a progress bar with the time left on stderr.
        timeout_s: seconds for one decision; an episode in which an agent takes longer has failed.

    Returns:
        One row per (agent, episode) and what is needed to judge and repeat them.

    Raises:
        UnknownNameError: an environment, agent or setting that nobody knows.
        ConfigError: an argument out of range or in conflict with another.
        CheckpointError, DownloadError: an agent or a trace set that cannot be had.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if timeout_s is not None and not timeout_s > 0:
        raise ConfigError(f"timeout_s must be positive, got {timeout_s}")
    call = {
        "env": env, "agents": list(agents), "setting": setting, "episodes": episodes, "seed": seed,
        "workers": workers, "baseline": baseline, "floor": floor, "oracle": oracle, "out": out,
        "profile": profile, "trace_steps": trace_steps if isinstance(trace_steps, str) else list(trace_steps),
        "timeout_s": timeout_s,
    }  # fmt: skip
    if isinstance(setting, str):
        setting = load_setting(task_of(env), setting, profile)
    if isinstance(setting, Setting):
        env, kwargs = setting.env, dict(setting.kwargs)
        baseline, floor, oracle = (
            baseline or setting.baseline,
            floor or setting.floor,
            oracle or setting.oracle,
        )
    else:
        kwargs = dict(setting or {})
    recipe = EnvRecipe.of(env, kwargs)
    specs = agent_specs(agents, (baseline, floor, oracle))
    baseline = baseline or specs[0].label
    probe = recipe.make()
    metric, terms = metric_of(probe), terms_of(probe)
    if clash := _OWN_COLUMNS & {metric["name"], *terms}:
        raise ConfigError(f"the environment's metric or term {sorted(clash)[0]!r} has the name of a result column")
    traces = getattr(probe.unwrapped, "traces", None)
    count = len(traces) if traces is not None and hasattr(traces, "__len__") else None
    content = getattr(traces, "digest", None)
    plans = plan_episodes(episodes, count, seed)
    if isinstance(trace_steps, str) and trace_steps != "examples":
        raise ConfigError(f'trace_steps takes numbers of episodes or "examples", got {trace_steps!r}')
    traced: Sequence[int] = () if isinstance(trace_steps, str) else trace_steps
    if wrong := [index for index in traced if not 0 <= index < len(plans)]:
        raise ConfigError(f"trace_steps names episode {wrong[0]}, there are {len(plans)}")
    privileged = sorted({spec.label for spec in specs if _fits(spec, probe, plans[0])})
    trained = sorted({spec.label for spec in specs if spec.trained})
    probe.close()

    folder = None if out is None else Path(out)
    if folder is not None:
        sweep(folder)
        sweep(folder / "episodes")
    units = _work(recipe, specs, _groups(plans), traced, content, timeout_s)
    tested: str | None = content if isinstance(content, str) and getattr(traces, "split", None) == "test" else None
    waiting = {unit.spec.label for unit in units if _read_block(unit.stored_in(folder), unit.key) is None}
    if tested and waiting:  # before playing: a run that is killed has looked too
        note_look(tested, str(getattr(traces, "name", "")), sorted(waiting))
    with bar_of(progress) as bar:
        blocks = _blocks(recipe, units, folder, workers, timeout_s, bar)

    rows = [row for block in blocks for row in block["rows"]]
    steps = [step for block in blocks for step in block["steps"]]
    courses = [stay for block in blocks for stay in block["courses"]]
    manifest = {
        "env": recipe.spec.id,
        "env_kwargs": canonical(recipe.kwargs),
        "setting": setting.describe() if isinstance(setting, Setting) else None,
        "traces": {
            "digest": content,
            **{name: getattr(traces, name, None) for name in ("name", "split", "licence", "citation")},
        },
        "agents": [spec.describe() for spec in specs],
        "privileged": privileged, "trained": trained,
        "margin": dict(setting.margin) if isinstance(setting, Setting) and setting.margin else None,
        "baseline": baseline, "floor": floor, "oracle": oracle,
        "metric": metric, "terms": terms,
        "seed": seed, "episodes": len(plans),
        "test_looks": count_looks(tested) if tested else None,
        **provenance.record(call),
    }  # fmt: skip
    result = EvaluationResult(pd.DataFrame(rows), manifest, pd.DataFrame(steps), pd.DataFrame(courses))
    if trace_steps == "examples":
        manifest["examples"] = examples.choose(result)
        picked = sorted(manifest["examples"].values())
        shown = timeline_agents(result)
        again = [spec for spec in specs if spec.label in shown and spec.training_seed == _first_seed(specs, spec.label)]
        units = _work(recipe, again, [(plans[i],) for i in picked], picked, content, timeout_s)
        with bar_of(progress) as bar:
            blocks = _blocks(recipe, units, folder, workers, timeout_s, bar)
        result.steps = pd.DataFrame([step for block in blocks for step in block["steps"]])
        result.courses = pd.DataFrame([stay for block in blocks for stay in block["courses"]])
    for agent, reason in result.failures.items():
        warnings.warn(f"{agent} failed in every episode: {reason}", stacklevel=3)
    for agent, notice in result.notices.items():
        warnings.warn(f"{agent} plays outside what it was trained on: {notice}", stacklevel=3)
    if folder is not None:
        result.save(folder)
    return result
