"""The record of an evaluation: its rows, and the judgement made of them. Figures and pages read it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from netllm_gym.deprecation import renamed
from netllm_gym.errors import ConfigError, DatasetError, NetLLMGymError, UnknownNameError
from netllm_gym.evaluation.brief import Summary
from netllm_gym.evaluation.manifest import check_manifest
from netllm_gym.evaluation.power import Power, power
from netllm_gym.evaluation.rows import PREFIX, check_paired, factors, notice_parts, table
from netllm_gym.evaluation.specs import digest_of
from netllm_gym.evaluation.summary import Assessment, Roles, assess
from netllm_gym.files import atomic_path, write_json

FORMAT = 1
# Columns that depend on the machine's clock, not on what was decided.
CLOCK = ("latency_p50_ms", "latency_p99_ms")


@dataclass
class EvaluationRecord:
    """Episodes played by several agents, all the same ones.

    Attributes:
        frame: one row per (agent, training seed, episode): the trace and its source recording, return,
            metric, reward terms, action-repeat rate, decision latency (ms), and whether and why the agent
            failed.
        manifest: environment, agents, seeds, digests, versions and command.
        steps: one row per step of the episodes recorded with ``trace_steps``.
        timelines: of the same episodes, what the environment tells of their whole course (a cluster: which executor
            worked for which job, from when to when).
    """

    frame: pd.DataFrame
    manifest: dict[str, Any]
    steps: pd.DataFrame = field(default_factory=pd.DataFrame)
    timelines: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def metric(self) -> dict[str, str]:
        """The headline number: its column, how it is aggregated, which side is better."""
        return self.manifest["metric"]

    @property
    def terms(self) -> dict[str, dict[str, str]]:
        """The reward's terms: column → aggregate, unit, which side is better."""
        return self.manifest["terms"]

    @property
    def agents(self) -> list[str]:
        """Labels of the agents in the order in which they were given."""
        return list(dict.fromkeys(self.frame["agent"]))

    courses = renamed("courses", "timelines")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the rows without clock readings: equal digests mean equal decisions and rewards."""
        plain = self.frame.drop(columns=[name for name in CLOCK if name in self.frame])
        return digest_of(json.loads(plain.to_json(orient="split", double_precision=15, index=False)))

    @property
    def roles(self) -> Roles:
        """Who is baseline, floor, oracle, bound or trained, and the margin of equivalence."""
        m = self.manifest
        return Roles(
            m["baseline"], m["floor"], m["oracle"], frozenset(m["privileged"]), frozenset(m.get("trained", ())),
            m.get("margin"),
        )  # fmt: skip

    @cached_property
    def assessment(self) -> Assessment:
        """The summary with the comparisons and verdicts behind it."""
        return assess(self.frame, self.metric, self.terms, self.roles)

    def summary(self) -> Summary:
        """One row per agent; the columns are explained at :func:`netllm_gym.evaluation.summary.summarise`.

        It prints the six that matter; ``pandas.DataFrame(summary)`` prints all.
        """
        summary = Summary(self.assessment.table)
        summary.attrs, summary._headings = (
            dict(self.assessment.table.attrs),
            (self.metric["name"], self.manifest["baseline"]),
        )
        return summary

    @cached_property
    def failures(self) -> dict[str, str]:
        """Agents that failed in every episode, each with its most frequent reason."""
        found = {}
        for agent, rows in self.frame.groupby("agent", sort=False):
            if rows["failed"].astype(bool).all():
                found[str(agent)] = str(rows["reason"].mode().iat[0])
        return found

    @cached_property
    def notices(self) -> dict[str, str]:
        """Agents that played outside what they were trained on, each with what was new to it."""
        found: dict[str, dict[str, None]] = {}
        for agent, notice in zip(self.frame["agent"], self._notices, strict=True):
            if notice[0]:
                found.setdefault(str(agent), {})[notice[0]] = None
        return {agent: "; ".join(told) for agent, told in found.items()}

    @property
    def undeclared(self) -> str:
        """What the environment showed that its spaces do not declare, in how many episodes; empty where it did not."""
        told = [env for _, env in self._notices if env]
        return f"{told[0]} (in {len(told)} of {len(self.frame)} episodes)" if told else ""

    @property
    def _notices(self) -> list[tuple[str, str]]:
        if "notice" not in self.frame:  # an evaluation stored by an earlier version
            return [("", "")] * len(self.frame)
        return [notice_parts(notice) for notice in self.frame["notice"].fillna("")]

    @property
    def comparable(self) -> bool:
        """Whether anything is left to compare: the baseline finished an episode, and so did another of the agents."""
        aside = {self.manifest["floor"], self.manifest["oracle"], *self.manifest["privileged"]}
        baseline = self.manifest["baseline"]
        named = [agent for agent in self.agents if agent != baseline and agent not in aside]
        if not named:
            named = [agent for agent in self.agents if agent != baseline]
        return baseline not in self.failures and (not named or any(agent not in self.failures for agent in named))

    def power(self, agent: str, effect: float, relative: bool = True) -> Power:
        """How many traces and training seeds are needed to see that `agent` differs from the baseline by `effect`?

        Args:
            agent: whose paired differences to the baseline are the pilot.
            effect: share of the baseline's mean (0.05 for 5 %), or a value of the metric if not `relative`.
            relative: see `effect`.

        Raises:
            UnknownNameError: no such agent. ConfigError: the agent is the baseline, or one of them failed throughout.
        """
        baseline = self.manifest["baseline"]
        if agent not in self.agents:
            raise UnknownNameError("agent in these results", agent, self.agents)
        if agent == baseline:
            raise ConfigError(f"{agent} is the baseline itself")
        name = self.metric["name"]
        check_paired(self.frame, name)
        a = table(self.frame, agent, name)
        b = table(self.frame, baseline, name).mean(axis=0)
        both = ~pd.isna(a - b).any(axis=0)
        if not both.any():
            lost = baseline if baseline in self.failures else agent
            why = f": {self.failures[lost]}" if lost in self.failures else ""
            raise ConfigError(f"{agent} and {baseline} share no episode that both played to its end{why}")
        size = effect * abs(float(b[both].mean())) if relative else effect
        levels = {factor: level[both] for factor, level in factors(self.frame).items()}
        return power((a - b)[:, both], levels, size)

    def save(self, folder: str | Path, parquet: bool = False) -> Path:
        """Write ``episodes.csv`` (or ``.parquet``), ``summary.csv``, ``steps.csv``, ``timelines.csv`` and
        ``manifest.json``;
        return the folder.

        Raises:
            ConfigError: `parquet` without pyarrow.
        """
        folder = Path(folder)
        name = "episodes.parquet" if parquet else "episodes.csv"
        with atomic_path(folder / name) as path:
            if parquet:
                try:
                    self.frame.to_parquet(path, index=False)
                except ImportError as error:
                    raise ConfigError("Parquet files need pyarrow: pip install pyarrow") from error
            else:
                path.write_text(self.frame.to_csv(index=False), encoding="utf-8")
        for stem, frame in (("summary", self.summary()), ("steps", self.steps), ("timelines", self.timelines)):
            if len(frame):
                with atomic_path(folder / f"{stem}.csv") as path:
                    path.write_text(frame.to_csv(index=False), encoding="utf-8")
            else:
                (folder / f"{stem}.csv").unlink(missing_ok=True)
        write_json(folder / "manifest.json", {"format": FORMAT, **self.manifest, "rows": name, "digest": self.digest})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DatasetError: no result there, or one that is damaged or was changed by hand.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest.pop("format") != FORMAT:
                raise DatasetError(f"{folder}: the results were written by another version of netllm_gym")
            rows = folder / Path(manifest.pop("rows")).name
            expected = manifest.pop("digest")
            frame = pd.read_parquet(rows) if rows.suffix == ".parquet" else _read_csv(rows)
            steps, timelines = (
                next((_read_csv(folder / name) for name in names if (folder / name).is_file()), pd.DataFrame())
                for names in (("steps.csv",), ("timelines.csv", "courses.csv"))  # the second: of older results
            )
            if "test_looks" in manifest:  # its name in older results
                manifest["test_uses"] = manifest.pop("test_looks")
            check_manifest(folder, manifest, set(frame["agent"]))
            result = cls(frame, manifest, steps, timelines)
            check_paired(frame, result.metric["name"])
            found = result.digest
        except FileNotFoundError as error:
            raise DatasetError(f"{folder} holds no evaluation: {Path(str(error.filename)).name} is missing") from None
        except NetLLMGymError:
            raise
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DatasetError(f"{folder}: the results cannot be read ({reason})") from None
        if found != expected:
            raise DatasetError(f"{folder}: {rows.name} does not match its manifest (changed by hand?)")
        return result


_TEXT = frozenset({"agent", "trace", "group", "reason", "notice"})


def _read_csv(path: Path) -> pd.DataFrame:
    return parsed_rows(io.StringIO(path.read_text(encoding="utf-8")))


def parsed_rows(text: io.StringIO) -> pd.DataFrame:
    """Read a table whose floats come back bit for bit (pandas' own fast parser rounds the last one)."""
    frame = pd.read_csv(text, dtype=str, keep_default_na=False)
    return pd.DataFrame({name: _parsed(name, frame[name].tolist()) for name in frame})


def _parsed(name: str, texts: list[str]) -> list[Any]:
    if name in _TEXT or name.startswith(PREFIX):
        return texts
    if set(texts) <= {"True", "False"}:
        return [text == "True" for text in texts]
    try:
        return [int(text) for text in texts]
    except ValueError:
        return [float(text) if text else math.nan for text in texts]
