"""``netllm_gym/ClusterScheduling-v0``: which stage gets how many executors, whenever some are free."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Collection
from operator import itemgetter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import traces as trace_room
from netllm_gym.envs.actions import whole_pair
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.cluster.model import ClusterModel
from netllm_gym.envs.cluster.simulator import ClusterSimulator, Tables
from netllm_gym.envs.cluster.state import COMMON, Job
from netllm_gym.envs.rendering import Rendered, check_render_mode
from netllm_gym.envs.reset_options import reset_options
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.traces import TraceSet
from netllm_gym.traces.jobs.trace import JobTrace, job_traces, paced
from netllm_gym.traces.jobs.workload import Workload

BIG = np.float32(3.4e38)


ON_ILLEGAL = ("repair", "error")
DURATIONS = ("profile", "history")
# What an episode is judged by, in info and in the sum of rewards (with the opposite sign).
OBJECTIVES = {"mean_jct": "mean_jct_s", "p99_jct": "p99_jct_s", "makespan": "makespan_s"}
ROOM = 48  # jobs as large as the largest for which the observation has rows by default
MOST_ROWS = 1 << 17


class ClusterSchedulingEnv(Rendered, gym.Env):
    """Schedule jobs that arrive at a cluster.

    ## Description
    One episode schedules `jobs` jobs on `executors` executors. A job is a graph of stages, a stage a number of tasks; a
    stage is runnable once its parents have finished. An executor that changes to another job moves for `moving_s`
    seconds. The simulator asks whenever executors are free and a stage is runnable.

    ## Action Space
    `MultiDiscrete([max_stages + 1, executors])`: `(row, count - 1)`, a row of the observation's stages and a number of
    executors (cut to the stage's demand). The last row, `max_stages`, ends the round and leaves the other executors
    idle. `info["action_mask"]` and `action_masks()` say what is legal.

    ## Observation Space
    `Dict`, padded to the sizes `S = max_stages`, `J = max_jobs`, `E = max_edges`:

    | key | shape | meaning |
    |---|---|---|
    | `stages` | [S, 5] | tasks to launch, recent duration (s), runnable, parents finished, row of its job; -1 pads |
    | `edges` | [E, 2] | rows of `stages`, parent and child; -1 pads |
    | `jobs` | [J, 3] | executors here or promised, owns the free executors, seconds in the system; -1 pads |
    | `stage_mask` | [S] | 1 where a row of `stages` is a stage |
    | `executors` | [3] | to be placed now, idle in the common pool, total |

    ## Rewards
    Minus the job-seconds spent in the system since the last decision, so that an episode that terminates sums to minus
    the sum of job completion times, in seconds. `objective` chooses another sum.

    ## Starting State
    An empty cluster with all executors idle, at the arrival of the first job of a sequence: the one of
    `reset(options={"trace": i})`, otherwise one drawn at random.

    ## Episode End
    1. Termination: all jobs have finished.
    2. Truncation: `time_limit_s` seconds of simulated time have passed.

    ## Arguments
    - `traces`: catalog name (``cluster/synthetic``, ``cluster/tpch``), a trace set of job sequences, or a workload
      (its sequences of seeds 0 to 99).
    - `split`: of the catalog entry. ``reset(options={"trace": i})`` picks a sequence, otherwise it is drawn at
      random.
    - `gap_s`: mean seconds between two arrivals, in place of the workload's own arrivals.
    - `load`: the same by the work that arrives over the work that `executors` can do; 1 leaves nothing idle.
    - `time_limit_s`: truncate once this much simulated time has passed.
    - `max_stages`, `max_jobs`, `max_edges`: sizes of the padded observation; exceeding one is an error. By default
      they grow with the workload: 48 jobs as large as the largest fit.
    - `on_illegal`: ``repair`` takes the first runnable stage and the nearest legal count in place of an action
      outside :meth:`action_masks`, and counts it in ``info["illegal_actions"]``; ``error`` raises.
    - `may_wait`: whether the masks allow to end a round while a stage is runnable. A learner that idles by accident
      is the worst scheduler of all, so by default they do not. The action itself is always obeyed (rules with caps
      mean it) wherever ``info["may_wait"]`` says so: not when nothing else would ever happen.
    - `durations`: ``profile`` shows the mean of a stage's profile until its first task has begun, as published
      simulators do; ``history`` shows only what tasks that have ended took: of the stage, or else of its job, or
      else of all.
    - `objective`: what the rewards sum up to, with the opposite sign: ``mean_jct`` (the sum of completion times),
      ``makespan`` (the end of the last job) or ``p99_jct`` (the 99th percentile of completion times, at the end).
    - `legacy`: as the published simulators: inverted interpolation of executor levels, a decision after each event.

    ## Version History
    * v0: initial version.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["rgb_array", "human"],
        "render_fps": 4,
        "modalities": {
            "stages": "graph", "edges": "graph", "jobs": "graph", "stage_mask": "category", "executors": "scalar",
        },
        "scales": {
            "stages": [100.0, 5.0, 1.0, 1.0, 50.0], "edges": 1.0, "jobs": [50.0, 1.0, 100.0],
            "stage_mask": 1.0, "executors": [50.0, 50.0, 50.0],
        },
        "reward_terms": {
            name: {"aggregate": "last", "unit": "s", "better": "lower"} for name in OBJECTIVES.values()
        },
        "metric": {"name": "mean_jct_s", "aggregate": "last", "better": "lower"},
    }  # fmt: skip

    @checked
    def __init__(
        self,
        traces: Workload | TraceSet | str = "cluster/synthetic",
        split: str = "test",
        jobs: int = 200,
        executors: int = 50,
        moving_s: float = 2.0,
        warmup_s: float = 1.0,
        time_limit_s: float | None = None,
        max_stages: int | None = None,
        max_jobs: int | None = None,
        max_edges: int | None = None,
        on_illegal: str = "repair",
        legacy: bool = False,
        render_mode: str | None = None,
        may_wait: bool = False,
        durations: str = "profile",
        gap_s: float | None = None,
        load: float | None = None,
        objective: str = "mean_jct",
    ):
        if executors < 1 or jobs < 1:
            raise ConfigError("executors and jobs must be at least 1")
        if any(bound is not None and bound < 1 for bound in (max_stages, max_jobs, max_edges)):
            raise ConfigError("max_stages, max_jobs and max_edges must be at least 1")
        if time_limit_s is not None and not time_limit_s > 0:
            raise ConfigError("time_limit_s must be positive")
        check_render_mode(render_mode)
        for name, value, known in (
            ("on_illegal", on_illegal, ON_ILLEGAL), ("durations", durations, DURATIONS),
            ("objective", objective, tuple(OBJECTIVES)),
        ):  # fmt: skip
            if value not in known:
                raise UnknownNameError(name, str(value), known)
        if isinstance(traces, Workload):
            traces = job_traces(traces, range(100))
        self.traces: TraceSet[JobTrace] = trace_room.load(traces, split)
        if not isinstance(self.traces[0], JobTrace):
            raise ConfigError(
                f"{self.traces.name} holds {type(self.traces[0]).__name__}s, a cluster needs job sequences"
            )
        self.traces = paced(self.traces, gap_s, load, executors)
        self.on_illegal, self.may_wait, self.history = on_illegal, may_wait, durations == "history"
        self.objective = OBJECTIVES[objective]
        self.metadata = {**self.metadata, "metric": {**self.metadata["metric"], "name": self.objective}}
        self._tables: Tables = {}
        self.jobs, self.executors, self.render_mode = jobs, executors, render_mode
        self.moving_s, self.warmup_s, self.legacy, self.time_limit_s = moving_s, warmup_s, legacy, time_limit_s
        max_stages, max_jobs, max_edges = self._rows_for(max_stages, max_jobs, max_edges)
        self.max_stages, self.max_jobs, self.max_edges = max_stages, max_jobs, max_edges
        self.observation_space = spaces.Dict({
            # per stage: tasks to launch, recent duration s, runnable now, parents finished, row of its job
            "stages": spaces.Box(-1.0, BIG, (max_stages, 5), np.float32),
            "edges": spaces.Box(-1, max_stages - 1, (max_edges, 2), np.int32),  # rows of `stages`; -1 pads
            # per job: executors here or promised, owns the free executors, seconds in the system
            "jobs": spaces.Box(-1.0, BIG, (max_jobs, 3), np.float32),
            "stage_mask": spaces.MultiBinary(max_stages),
            # to be placed now; idle in the common pool; total
            "executors": spaces.Box(0.0, float(executors), (3,), np.float32),
        })  # fmt: skip
        self.action_space = spaces.MultiDiscrete([max_stages + 1, executors])
        # What an observation looks like with nothing in it; copying is quicker than filling.
        self._blank: dict[str, np.ndarray] = {
            "stages": np.full((max_stages, 5), -1.0, np.float32),
            "edges": np.full((max_edges, 2), -1, np.int32),
            "jobs": np.full((max_jobs, 3), -1.0, np.float32),
            "stage_mask": np.zeros(max_stages, np.int8),
        }
        self._sim: ClusterSimulator | None = None
        self._rows = 0  # stages in the observation,
        self._bases: list[tuple[int, Job]] = []  # and each job with its first row

    @property
    def sim(self) -> ClusterSimulator:
        """The running simulator.

        Raises:
            ConfigError: the environment has not been reset yet.
        """
        if self._sim is None:
            raise ConfigError("call reset() first")
        return self._sim

    def _rows_for(self, stages: int | None, jobs: int | None, edges: int | None) -> tuple[int, int, int]:
        """Return the sizes of the padded observation: those given, or else what the workload may need."""
        workloads = {id(trace.workload): trace.workload for trace in self.traces}.values()
        templates = [template for workload in workloads for template in workload.templates]
        largest = max(len(t.stages) for t in templates), max(len(t.edges) for t in templates)
        room = min(self.jobs, ROOM)
        return (
            stages or min(MOST_ROWS, max(1024, room * largest[0])),
            jobs or max(256, min(self.jobs, MOST_ROWS)),
            edges or min(4 * MOST_ROWS, max(2048, room * largest[1])),
        )

    def static_info(self) -> dict[str, Any]:
        """Return what a deployed scheduler knows: the cluster and its delays, in seconds."""
        return {
            "executors": self.executors, "moving_s": self.moving_s, "warmup_s": self.warmup_s,
            "max_stages": self.max_stages,
        }  # fmt: skip

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Draw jobs and arrivals and run to the first decision."""
        super().reset(seed=seed)
        index = reset_options(options, ("trace",)).get("trace")
        if index is None:
            index = int(self.np_random.integers(len(self.traces)))
        if not 0 <= index < len(self.traces):
            raise ConfigError(f"trace {index} asked, {self.traces.name} has {len(self.traces)} in {self.traces.split}")
        self._trace = self.traces[index]
        self._sim = ClusterSimulator(
            self._trace.jobs(self.jobs), self.executors, self.moving_s, self.warmup_s, self.legacy,
            int(self.np_random.integers(2**62)), self._tables, self.history,
        )  # fmt: skip
        if self.render_mode:
            self._sim.agenda.gantt = []
        self._sim.advance()
        self._truncated, self._illegal = False, 0
        observation = self._observe()
        self.show()
        return observation, self._info()

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        """Apply one decision.

        Raises:
            ConfigError: the episode is over, or the action is not allowed by :meth:`action_masks`.
        """
        sim = self.sim
        if sim.done or self._truncated:
            raise ConfigError("the episode is over; call reset()")
        pair = whole_pair(action)
        if pair is None:
            raise ConfigError(f"an action is two whole numbers, a row and a count, got {action!r}")
        row, count = pair
        before = self._cost()
        if row == self.max_stages and not sim.forced:
            sim.close_round()
        else:
            legal_row = 0 <= row < self._rows and bool(self._mask[row])
            legal_count = 0 <= count < sim.committable
            strict = self.on_illegal == "error"
            if strict and not legal_row:
                raise ConfigError(f"row {row} is not a runnable stage; see action_masks()")
            if strict and not legal_count:
                raise ConfigError(f"count {count + 1} is beyond the {sim.committable} executors to be placed")
            self._illegal += not (legal_row and legal_count)
            row = row if legal_row else int(np.argmax(self._mask))
            sim.commit(*self._stage(row), min(max(count, 0), sim.committable - 1) + 1)
        sim.advance()
        self._truncated = not sim.done and self.time_limit_s is not None and sim.now >= self.time_limit_s
        observation = self._observe()
        self.show()
        return observation, before - self._cost(), sim.done, self._truncated, self._info()

    def _cost(self) -> float:
        """Return what the rewards so far sum up to, with the opposite sign."""
        sim = self.sim
        if self.objective == "makespan_s":
            return sim.now
        if self.objective == "p99_jct_s":
            return self._p99() if sim.done else 0.0
        return sim.job_seconds

    def _p99(self) -> float:
        return float(np.percentile([end - at for _, at, end in self.sim.finished], 99)) if self.sim.finished else 0.0

    def planning_model(self) -> ClusterModel | None:
        """Return what a scheduler knows of the running episode and the futures that it can imagine, never the true one.

        ``None`` with ``legacy=True``: the compiled simulator has no legacy rounds.
        """
        return None if self.legacy else ClusterModel(self.sim)

    def fork(self) -> ClusterSchedulingEnv:
        """Return an independent copy that goes on from here with the same future."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClusterSchedulingEnv:
        other = copy.copy(self)
        memo[id(self)] = other
        if self._sim is not None:
            other._sim = self._sim.fork()
            other._bases = [(base, other._sim.active[job.index]) for base, job in self._bases]
        for name in ("_mask", "_np_random"):
            if name in self.__dict__:
                other.__dict__[name] = copy.deepcopy(self.__dict__[name], memo)
        other.observation_space, other.action_space = (
            copy.deepcopy(space, memo) for space in (self.observation_space, self.action_space)
        )
        return other

    def action_masks(self) -> np.ndarray:
        """Return the legal rows and counts, one after the other, as sb3-contrib's MaskablePPO wants them."""
        return self._legal().view(bool)

    def _legal(self) -> np.ndarray:
        end, sim = self.max_stages, self.sim
        legal = np.zeros(end + 1 + self.executors, np.int8)
        legal[:end] = self._mask
        legal[end] = sim.done or (self.may_wait and not sim.forced)
        legal[end + 1 : end + 1 + max(1, sim.committable)] = 1
        return legal

    def _stage(self, row: int) -> tuple[Job, int]:
        """Return the job and the stage in a row of the observation."""
        base, job = self._bases[bisect_right(self._bases, row, key=itemgetter(0)) - 1]
        return job, job.alive[row - base]

    def _observe(self) -> dict[str, np.ndarray]:
        sim = self.sim
        features: list[float] = []
        links: list[int] = []
        heads: list[tuple[float, ...]] = []
        bases: list[tuple[int, Job]] = []
        base, runnable_rows = 0, []
        source, picked, now, deciding = sim.source_job, sim.picked, sim.now, sim.deciding
        for position, job in enumerate(sim.active.values()):
            bases.append((base, job))
            supply, alive = job.local + job.incoming, job.alive
            place, ends = job.layout()
            heads.append((supply, job is source, now - job.arrival_s))
            links += [base + end for end in ends]
            runnable: Collection[int] = ()
            if deciding and job.ready and (job is source or supply < self.executors):
                runnable = {s for s in job.ready if (job.index, s) not in picked} if picked else job.ready
                runnable_rows += [base + place[s] for s in runnable]
            unlaunched, open_parents = job.unlaunched, job.open_parents
            recent_s = sim.known_s(job) if self.history else job.recent_s
            for s in alive:
                features += (unlaunched[s], recent_s[s], s in runnable, not open_parents[s], position)
            base += len(alive)
        for name, size, bound in (
            ("max_stages", base, self.max_stages),
            ("max_jobs", len(heads), self.max_jobs),
            ("max_edges", len(links) // 2, self.max_edges),
        ):
            if size > bound:
                raise ConfigError(f"{size} in the system exceed {name}={bound}; raise {name}")
        seen = {name: array.copy() for name, array in self._blank.items()}
        if heads:
            seen["stages"].ravel()[: len(features)] = np.fromiter(features, np.float32, len(features))
            seen["jobs"][: len(heads)] = heads
            seen["edges"].ravel()[: len(links)] = links
            seen["stage_mask"][runnable_rows] = 1
        self._rows, self._bases, self._mask = base, bases, seen["stage_mask"].copy()
        idle = len(sim.pools.members[COMMON])
        seen["executors"] = np.array([sim.committable, idle, self.executors], np.float32)
        return seen

    def _info(self) -> dict[str, Any]:
        sim = self.sim
        return {
            "trace": self._trace.name,
            "trace_group": self._trace.group,
            "groups": {"sequence": self._trace.group},
            "action_mask": self._legal(),
            # over finished jobs; biased low when the episode was truncated
            "mean_jct_s": sim.completion_s / len(sim.finished) if sim.finished else 0.0,
            # at the end of the episode
            "p99_jct_s": self._p99() if sim.done or self._truncated else 0.0,
            "makespan_s": sim.now,
            "may_wait": not sim.forced and not sim.done,
            "illegal_actions": self._illegal,
            "jobs_done": len(sim.finished),
            "time_s": sim.now,
        }

    def record_timeline(self) -> None:
        """Note from now on which executor works for which job; ask right after ``reset``."""
        self.sim.agenda.gantt = []

    def timeline(self, until_s: float = 600.0) -> list[dict[str, float]]:
        """Return which executor worked for which job, from when to when, in the first `until_s` seconds.

        Tasks of one job that an executor runs without a pause are one stay.
        """
        stays: list[dict[str, float]] = []
        latest: dict[int, dict[str, float]] = {}
        for executor, job, start, end in sorted(self.sim.agenda.gantt or [], key=lambda bar: (bar[0], bar[2])):
            if start >= until_s:
                continue
            last = latest.get(executor)
            if last is not None and last["job"] == job and start - last["end_s"] < 1e-6:
                last["end_s"] = min(end, until_s)
                continue
            latest[executor] = {"executor": executor, "job": job, "start_s": start, "end_s": min(end, until_s)}
            stays.append(latest[executor])
        return stays

    def frame(self) -> np.ndarray:
        """Draw executors over time, coloured by job, and the jobs' DAGs: RGB ``[420, 960, 3]``."""
        from netllm_gym.envs.cluster.draw import draw_cluster

        sim = self.sim
        jobs = []
        for job in sim.active.values():
            tasks = [max(stage.tasks, 1) for stage in job.template.stages]
            launched = [1.0 - left / total for left, total in zip(job.unlaunched, tasks, strict=True)]
            jobs.append((job.index, launched, job.template.edges))
        return draw_cluster(sim.agenda.gantt or [], self.executors, sim.now, jobs)
