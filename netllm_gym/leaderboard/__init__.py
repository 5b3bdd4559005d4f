"""Results that others can add: one small JSON file an evaluation, which anybody can score again from its agents.

A submission names agents and a setting of the catalog; it holds the digest of every agent's rows and of its weights. It
is signed by its own digest: that shows damage and edits by accident, no author. Trust comes from scoring again
(:func:`rescore`), which a workflow does for every pull request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from netllm_gym import zoo
from netllm_gym.agents import registry
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import EvaluationResult, evaluate
from netllm_gym.evaluation.result import CLOCK
from netllm_gym.evaluation.specs import canonical, digest_of
from netllm_gym.files import finite, write_json
from netllm_gym.leaderboard.submission import (
    AGENTS,
    FORMAT,
    SCORES,
    Entry,
    Submission,
    checked,
    read_all,
    read_submission,
)
from netllm_gym.leaderboard.table import page_of, table_of
from netllm_gym.settings import load_setting

__all__ = [
    "Entry", "Submission", "failures_of", "page_of", "read_all", "read_submission", "rescore", "submit", "table_of",
]  # fmt: skip


def rows_digest(result: EvaluationResult, label: str, training_seed: int) -> str:
    """SHA-256 over the rows of one agent, clock readings left out."""
    frame = result.frame
    rows = frame[(frame["agent"] == label) & (frame["training_seed"] == training_seed)]
    plain = rows.drop(columns=["agent", *(name for name in CLOCK if name in rows)]).sort_values("episode")
    return digest_of(json.loads(plain.to_json(orient="split", double_precision=12, index=False)))


def submit(
    folder: str | Path, by: str = "", note: str = "", agents: Sequence[str] = (), out: str | Path | None = None
) -> Path:
    """Write the submission of an evaluation and return its path.

    Args:
        folder: what ``evaluate(out=…)`` wrote.
        by, note: who submits, and a sentence; at most 200 characters each.
        agents: labels to submit, default: all. The baseline is always among them.
        out: file to write; default: ``submission.json`` in the folder.

    Raises:
        DatasetError: no results, or results changed by hand.
        ConfigError: not an evaluation of a setting of the catalog, an agent that nobody else can build or that failed
            in every episode, or too long texts.
    """
    result = EvaluationResult.load(Path(folder))
    manifest = result.manifest
    place = manifest.get("setting")
    if not place:
        raise ConfigError(
            f"{folder}: only evaluations of a setting of the catalog can be submitted (--task, --setting)"
        )
    setting = load_setting(place["task"], place["name"], place["profile"])
    if canonical(dict(setting.kwargs)) != manifest["env_kwargs"]:
        raise ConfigError(
            f"{folder}: arguments of the environment were replaced, so this is no {place['name']} setting"
        )
    known = {spec["label"] for spec in manifest["agents"]}
    wanted = {*(agents or known), manifest["baseline"]}
    if odd := sorted(wanted - known):
        raise ConfigError(f"{folder} has no agent {odd[0]!r}; it has {', '.join(sorted(known))}")
    entries = []
    for spec in manifest["agents"]:
        if spec["label"] not in wanted:
            continue
        name = str(spec["name"])
        if registry.factory(name) is None and (Path(name) / "agent.json").is_file():
            name = f"{AGENTS}/{Path(name).name}"
        elif registry.factory(name) is None:
            raise ConfigError(
                f"{spec['label']} was given as an object or as module:Class; register it or save a checkpoint"
            )
        entries.append(
            {
                "label": spec["label"],
                "name": name,
                "kwargs": spec.get("kwargs", {}),
                "training_seed": spec["training_seed"],
                "weights": zoo.content(str(spec["name"])) or "",
                "rows": rows_digest(result, spec["label"], spec["training_seed"]),
            }
        )
    table = result.summary().set_index("agent")
    for label in dict.fromkeys(entry["label"] for entry in entries):
        if not math.isfinite(table.loc[label, "mean"]):
            raise ConfigError(
                f"{folder}: {label} has no score, as it failed in every episode; name the others (agents)"
            )
    scores = {
        label: {**{key: _plain(table.loc[label, key]) for key in SCORES}, "verdict": str(table.loc[label, "verdict"])}
        for label in dict.fromkeys(entry["label"] for entry in entries)
    }
    content = {
        "format": FORMAT, "by": by, "note": note, **{key: place[key] for key in ("task", "name", "profile")},
        "traces": manifest["traces"]["digest"] or "", "metric": {k: manifest["metric"][k] for k in ("name", "better")},
        "episodes": manifest["episodes"], "seed": manifest["seed"], "baseline": manifest["baseline"], "agents": entries,
        "scores": scores, "test_uses": manifest.get("test_uses") or 0, "versions": manifest["versions"],
    }  # fmt: skip
    if odd := [entry["label"] for entry in entries if finite(entry["kwargs"]) != entry["kwargs"]]:
        raise ConfigError(f"{folder}: an argument of {odd[0]} is not finite, which no submission can hold")
    target = Path(out) if out else Path(folder) / "submission.json"
    signed = {**content, "digest": digest_of(content)}
    checked(target, signed)
    write_json(target, signed)
    return target


def _plain(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _built(submission: Submission, entry: Entry) -> dict[str, Any]:
    """Return the agent as :func:`evaluate` takes it, after a look at its weights.

    Raises:
        ConfigError: an agent that is not here, or with other weights than the submission says.
    """
    name = entry.name
    if registry.factory(name) is None:
        folder = submission.path.parent / name
        inside = (submission.path.parent / AGENTS).resolve()
        if not name.startswith(f"{AGENTS}/") or not (folder / "agent.json").is_file():
            raise ConfigError(
                f"{submission.path}: nobody knows the agent {name}; registered names and {AGENTS}/FOLDER can be scored"
            )
        if inside not in folder.resolve().parents or any(path.is_symlink() for path in folder.rglob("*")):
            raise ConfigError(f"{submission.path}: {name} leads out of {AGENTS}/")
        name = str(folder)
    if (zoo.content(name) or "") != entry.weights:
        raise ConfigError(f"{submission.path}: {entry.label} has other weights here than the submission was made with")
    return {**entry.kwargs, "name": name, "label": entry.label, "training_seed": entry.training_seed}


def rescore(
    submission: Submission,
    agents: Sequence[str] = (),
    workers: int = 1,
    say: Callable[[str], None] = print,
    out: str | Path | None = None,
) -> dict[str, str]:
    """Play a submission again and return label → what came out.

    ``same``: the same decisions and rewards. ``close``: the mean moved by less than a twentieth of its interval, as
    networks may on another processor. Anything else says by how much it differs.

    Args:
        submission: read by :func:`read_submission`.
        agents: labels to play, default: all; the baseline plays too.
        workers: processes.
        say: receives a line where public traces are fetched.
        out: folder that keeps finished episodes.

    Raises:
        ConfigError: other traces, or an agent that cannot be built or has other weights.
        UnknownNameError: no such setting.
    """
    setting = load_setting(submission.task, submission.setting, submission.profile)
    setting.bring(say)
    wanted = set(agents) or {entry.label for entry in submission.entries}
    if odd := sorted(wanted - {entry.label for entry in submission.entries}):
        raise ConfigError(f"{submission.path} has no agent {odd[0]!r}")
    played = [entry for entry in submission.entries if entry.label in {*wanted, submission.baseline}]
    result = evaluate(
        agents=[_built(submission, entry) for entry in played], setting=setting, episodes=submission.episodes,
        seed=submission.seed, workers=workers, baseline=submission.baseline, out=out,
    )  # fmt: skip
    if (result.manifest["traces"]["digest"] or "") != submission.traces:
        raise ConfigError(f"{submission.path}: the traces here are not those it was made on")
    table = result.summary().set_index("agent")
    found: dict[str, str] = {}
    for entry in played:
        if entry.label not in wanted:
            continue
        claimed, mean = submission.scores[entry.label], float(table.loc[entry.label, "mean"])
        if rows_digest(result, entry.label, entry.training_seed) == entry.rows:
            found.setdefault(entry.label, "same")
            continue
        low, high, said = claimed["ci_low"], claimed["ci_high"], claimed["mean"]
        if said is not None and None not in (low, high) and abs(mean - said) <= 0.05 * (high - low):
            found[entry.label] = "close"
        else:
            found[entry.label] = f"differs: {mean:.6g}, submitted {said}"
    return found


def failures_of(outcomes: Mapping[str, str]) -> list[str]:
    """Return the labels whose score did not come out again."""
    return [label for label, outcome in outcomes.items() if outcome not in ("same", "close")]
