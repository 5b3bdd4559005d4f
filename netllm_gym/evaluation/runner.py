"""Run an evaluation: every agent on the same episodes, on any number of processes, resumable after a kill."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import pandas as pd

from netllm_gym.agents.base import Agent, EnvInfo, check_serves
from netllm_gym.answers import shut, warn_if_unseeded
from netllm_gym.envs.lookup import traces_of
from netllm_gym.errors import CheckpointError, ConfigError, MissingExtraError
from netllm_gym.evaluation import examples, provenance
from netllm_gym.evaluation.blocks import finished_blocks, groups_of, read_block, units_of
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.rollout import metric_of, terms_of
from netllm_gym.evaluation.settings import Setting, load_setting, task_of
from netllm_gym.evaluation.specs import AgentSpec, EnvRecipe, Episode, agent_specs, canonical, plan_episodes
from netllm_gym.evaluation.timelines import timeline_agents
from netllm_gym.evaluation.use_counts import count_test_uses, record_test_use
from netllm_gym.files import one_writer, sweep
from netllm_gym.progress import bar_of

LONGEST_S = 10**8  # three years: a timer counts no further everywhere
_OWN_COLUMNS = frozenset(
    {
        "agent", "training_seed", "episode", "trace_index", "trace", "group", "seed", "steps", "mean_reward",
        "repeat_rate", "latency_p50_ms", "latency_p99_ms", "lockstep", "failed", "reason", "notice",
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """An evaluation that was checked and can be played.

    Attributes:
        recipe, specs, plans: the environment, the agents and their episodes.
        roles: ``baseline``, ``floor`` and ``oracle``.
        setting: of the catalog, where one was named.
        traces: of the environment; ``None`` where it has none.
        metric, terms: that the environment declares.
        privileged: labels of agents that see the future.
        folder, workers, timeout_s, progress: as :func:`evaluate` takes them.
    """

    recipe: EnvRecipe
    specs: list[AgentSpec]
    plans: list[Episode]
    roles: dict[str, str | None]
    setting: Setting | None
    traces: Any
    metric: dict[str, str]
    terms: dict[str, dict[str, str]]
    privileged: list[str]
    folder: Path | None
    workers: int
    timeout_s: float | None
    progress: bool

    @property
    def content(self) -> Any:
        """Digest of the traces."""
        return getattr(self.traces, "digest", None)

    @property
    def tested(self) -> str | None:
        """Digest of the traces where they are a test split."""
        test = isinstance(self.content, str) and getattr(self.traces, "split", None) == "test"
        return self.content if test else None

    def play(
        self, specs: Sequence[AgentSpec], groups: Sequence[tuple[Episode, ...]], traced: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return the finished blocks of agents and groups of episodes, playing those that are not kept yet."""
        units = units_of(self.recipe, specs, groups, traced, self.content, self.timeout_s)
        waiting = {unit.spec.label for unit in units if read_block(unit.stored_in(self.folder), unit.key) is None}
        if self.tested and waiting:  # before playing: a run that is killed has looked too
            record_test_use(self.tested, str(getattr(self.traces, "name", "")), sorted(waiting))
        with bar_of(self.progress) as bar:
            return finished_blocks(self.recipe, units, self.folder, self.workers, self.timeout_s, bar)

    def manifest(self) -> dict[str, Any]:
        """Return what a reader needs to judge the rows, without how they were made."""
        setting = self.setting
        return {
            "env": self.recipe.spec.id,
            "env_kwargs": canonical(self.recipe.kwargs),
            "setting": setting.describe() if setting else None,
            "traces": {
                "digest": self.content,
                **{name: getattr(self.traces, name, None) for name in ("name", "split", "licence", "citation")},
                "notes": list(getattr(self.traces, "notes", ())),
            },
            "agents": [spec.describe() for spec in self.specs],
            "privileged": self.privileged,
            "trained": sorted({spec.label for spec in self.specs if spec.trained}),
            "margin": dict(setting.margin) if setting and setting.margin else None,
            **self.roles,
            "metric": self.metric,
            "terms": self.terms,
        }


def _joined(blocks: Sequence[Mapping[str, Any]], key: str) -> pd.DataFrame:
    return pd.DataFrame([row for block in blocks for row in block[key]])


def _prepared(
    env: str,
    agents: Sequence[str | Agent | Mapping[str, Any]],
    setting: str | Mapping[str, Any] | Setting | None,
    profile: str,
    roles: Mapping[str, str | None],
    episodes: int | None,
    seed: int,
    **how: Any,
) -> _Job:
    """Check everything that can be checked before an episode is played."""
    if isinstance(setting, str):
        setting = load_setting(task_of(env), setting, profile)
    chosen = setting if isinstance(setting, Setting) else None
    if chosen:
        env, kwargs = chosen.env, dict(chosen.kwargs)
        roles = {role: name or getattr(chosen, role) for role, name in roles.items()}
    else:
        kwargs = dict(setting or {})  # type: ignore[arg-type]
    recipe = EnvRecipe.of(env, kwargs)
    specs = agent_specs(agents, tuple(roles.values()))
    probe = recipe.make()
    try:
        metric, terms = metric_of(probe), terms_of(probe)
        if clash := _OWN_COLUMNS & {metric["name"], *terms}:
            raise ConfigError(f"the environment's metric or term {sorted(clash)[0]!r} has the name of a result column")
        traces = traces_of(probe)
        count = None if traces is None else len(traces)
        plans = plan_episodes(episodes, count, seed)
        warn_if_unseeded(probe, plans[0].env_seed, plans[0].options or None)
        privileged = sorted({spec.label for spec in specs if _fits(spec, probe, plans[0])})
    finally:
        shut(probe)
    roles = {**roles, "baseline": roles["baseline"] or specs[0].label}
    return _Job(recipe, specs, plans, roles, chosen, traces, metric, terms, privileged, **how)


def _traced(trace_steps: Sequence[int] | str, episodes: int) -> Sequence[int]:
    """Return the episodes to record from the start; those chosen as examples are known only afterwards."""
    if isinstance(trace_steps, str):
        if trace_steps != "examples":
            raise ConfigError(f'trace_steps takes numbers of episodes or "examples", got {trace_steps!r}')
        return ()
    if wrong := [index for index in trace_steps if not 0 <= index < episodes]:
        raise ConfigError(f"trace_steps names episode {wrong[0]}, there are {episodes}")
    return trace_steps


def _add_examples(job: _Job, result: EvaluationResult) -> None:
    """Choose the episodes to show, and play them once more with every step recorded."""
    result.manifest["examples"] = examples.choose(result)
    picked = sorted(result.manifest["examples"].values())
    if not picked:  # nobody is left to compare
        return
    shown = timeline_agents(result)
    specs = [s for s in job.specs if s.label in shown and s.training_seed == _first_seed(job.specs, s.label)]
    blocks = job.play(specs, [(job.plans[i],) for i in picked], picked)
    result.steps, result.timelines = _joined(blocks, "steps"), _joined(blocks, "timelines")


def _first_seed(specs: Sequence[AgentSpec], label: str) -> int:
    return min(spec.training_seed for spec in specs if spec.label == label)


def _fits(spec: AgentSpec, env: gym.Env, episode: Episode) -> bool:
    """Build an agent and let it begin an episode; return whether it is privileged.

    A misspelt name, a broken checkpoint, a missing extra or an agent made for another environment is an error now and
    not a failed episode later.
    """
    agent = spec.build()
    check_serves(agent, env)
    try:
        env.reset(seed=episode.env_seed, options=episode.options or None)
        agent.reset(EnvInfo.of(env, episode.agent_seed, agent.privileged))
    except (CheckpointError, MissingExtraError):
        raise
    except (Exception, SystemExit):  # of the agent or this episode: recorded as a failed one when it is played
        pass
    return agent.privileged


def refuse(
    env: str, agents: Sequence[str | Agent | Mapping[str, Any]], setting: Mapping[str, Any], episodes: int | None
) -> None:
    """Refuse what :func:`evaluate` would refuse before it plays, for those who work for hours until they call it.

    Raises:
        NetLLMGymError: as for :func:`evaluate`.
    """
    _prepared(
        env, agents, dict(setting), "embedded", {"baseline": None, "floor": None, "oracle": None}, episodes, 0,
        folder=None, workers=1, timeout_s=None, progress=False,
    )  # fmt: skip


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
    if timeout_s is not None and not 0 < timeout_s <= LONGEST_S:
        raise ConfigError(f"timeout_s must be positive and at most {LONGEST_S:,}, got {timeout_s}")
    call = {
        "env": env, "agents": list(agents), "setting": setting, "episodes": episodes, "seed": seed,
        "workers": workers, "baseline": baseline, "floor": floor, "oracle": oracle, "out": out,
        "profile": profile, "trace_steps": trace_steps if isinstance(trace_steps, str) else list(trace_steps),
        "timeout_s": timeout_s,
    }  # fmt: skip
    folder = None if out is None else Path(out).absolute()  # an environment may go elsewhere
    job = _prepared(
        env, agents, setting, profile, {"baseline": baseline, "floor": floor, "oracle": oracle}, episodes, seed,
        folder=folder, workers=workers, timeout_s=timeout_s, progress=progress,
    )  # fmt: skip
    traced = _traced(trace_steps, len(job.plans))
    if folder is not None:
        sweep(folder)
        sweep(folder / "episodes")
    blocks = job.play(job.specs, groups_of(job.plans), traced)
    manifest = {
        **job.manifest(),
        "seed": seed,
        "episodes": len(job.plans),
        "test_uses": count_test_uses(job.tested) if job.tested else None,
        **provenance.record(call),
    }
    result = EvaluationResult(_joined(blocks, "rows"), manifest, _joined(blocks, "steps"), _joined(blocks, "timelines"))
    if trace_steps == "examples":
        _add_examples(job, result)
    for agent, reason in result.failures.items():
        warnings.warn(f"{agent} failed in every episode: {reason}", stacklevel=3)
    for agent, notice in result.notices.items():
        warnings.warn(f"{agent} plays outside what it was trained on: {notice}", stacklevel=3)
    if result.undeclared:
        warnings.warn(f"{job.recipe.spec.id} shows what its spaces do not declare: {result.undeclared}", stacklevel=3)
    if folder is not None:
        result.save(folder)
    return result
