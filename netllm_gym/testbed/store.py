"""Played episodes on disk: one file each, whole or absent, and the evaluation result made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation import provenance
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.rollout import metric_of, terms_of
from netllm_gym.evaluation.specs import AgentSpec, canonical
from netllm_gym.evaluation.use_counts import count_test_uses, record_test_use
from netllm_gym.files import finite, lock, write_text
from netllm_gym.testbed.plan import ENV, Condition, SessionPlan

Record = dict[str, Any]


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """Hold `folder` for this process, as :func:`netllm_gym.files.lock` does.

    Raises:
        ConfigError: another testbed writes there.
        StorageError: nobody can.
    """
    return lock(folder, f"{folder} of another testbed")


def record_test_uses(plans: Sequence[SessionPlan]) -> None:
    """Count one more use of every test set that `plans` are played on, as an evaluation does.

    Called before anything is played: a run that is killed has used it too. Excerpts count for the whole set.
    """
    agents: dict[tuple[str, str], set[str]] = {}
    for plan in plans:
        traces, source = plan.condition.traces, plan.condition.source
        if traces.split == "test" and source:
            agents.setdefault((source, traces.name), set()).add(plan.spec.label)
    for (source, name), labels in agents.items():
        record_test_use(source, name, sorted(labels))


def path_of(folder: Path, plan: SessionPlan) -> Path:
    """Where the episode of a plan is kept."""
    return folder / plan.condition.name / "episodes" / f"{plan.key}.json"


def write_record(folder: Path, plan: SessionPlan, record: Mapping[str, Any]) -> None:
    """Keep a played episode.

    Raises:
        ConfigError: the disk is full or not writable.
    """
    try:
        write_text(path_of(folder, plan), json.dumps(finite(record), allow_nan=False) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}; the same command goes on from here") from None


def read_record(folder: Path, plan: SessionPlan) -> Record | None:
    """Return a played episode; ``None`` when there is none or its file is damaged (it is played again)."""
    try:
        record: Record = json.loads(path_of(folder, plan).read_text(encoding="utf-8"))
        return record if record["key"] == plan.key and record["row"] and "segments" in record else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _steps(plan: SessionPlan, record: Record) -> list[dict[str, Any]]:
    own = {"agent": plan.spec.label, "training_seed": plan.spec.training_seed, "episode": plan.episode.index}
    return [{**own, "step": int(segment["chunk"]), **segment} for segment in record["segments"]]


def result_of(
    condition: Condition,
    plans: Sequence[SessionPlan],
    records: Mapping[str, Record],
    specs: Sequence[AgentSpec],
    baseline: str,
    floor: str | None,
    how: Mapping[str, Any],
) -> EvaluationResult:
    """Return the evaluation result of one condition.

    Args:
        condition: what was played.
        plans: its sessions, all of them played.
        records: by key.
        specs: the agents in order.
        baseline, floor: as of :func:`netllm_gym.evaluate`.
        how: what the manifest says of the testbed.
    """
    env = condition.recipe().make()
    traces = condition.traces
    order = {(spec.label, spec.training_seed): n for n, spec in enumerate(specs)}
    ordered = sorted(plans, key=lambda p: (order[p.spec.label, p.spec.training_seed], p.episode.index))
    rows = [records[plan.key]["row"] for plan in ordered]
    manifest = {
        "env": ENV,
        "env_kwargs": canonical(condition.kwargs),
        "setting": None,
        "traces": {
            "digest": traces.digest,
            **{name: getattr(traces, name) for name in ("name", "split", "licence", "citation")},
        },
        "agents": [spec.describe() for spec in specs],
        "privileged": [],
        "baseline": baseline,
        "floor": floor,
        "oracle": None,
        "metric": metric_of(env),
        "terms": terms_of(env),
        "seed": how["seed"],
        "episodes": len(traces),
        "test_uses": count_test_uses(condition.source) if traces.split == "test" and condition.source else None,
        "testbed": {**how, "condition": condition.name, "note": condition.note},
        **provenance.record(how),
        "call": f"netllm_gym.testbed.run({', '.join(f'{key}={value!r}' for key, value in how['call'].items())})",
    }
    steps = [step for plan in ordered for step in _steps(plan, records[plan.key])]
    return EvaluationResult(pd.DataFrame(_with_numbers(rows)), manifest, pd.DataFrame(steps))


def _with_numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has no NaN of its own; what it made ``None`` is NaN again, and every row has every column."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: math.nan if row.get(name) is None else row[name] for name in columns} for row in rows]


def load_manifests(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return what the manifests below `folder` say of the testbed, by condition.

    Raises:
        DatasetError: no testbed has played there.
    """
    runs = {}
    for path in sorted(Path(folder).glob("*/manifest.json")):
        try:
            how = json.loads(path.read_text(encoding="utf-8")).get("testbed")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path}: {error}") from None
        if isinstance(how, dict):
            runs[path.parent.name] = how
    if not runs:
        raise DatasetError(f"{folder} holds no testbed run (netllm-gym testbed run --out {folder})")
    return runs
