"""Catalog builders of workloads: TPC-H profiles through fetch, synthetic DAG families from their seed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from netllm_gym.arrays import load_arrays, save_arrays
from netllm_gym.errors import ConfigError, DamagedError, DownloadError
from netllm_gym.files import cache_dir
from netllm_gym.traces import catalog
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.jobs.families import random_workload
from netllm_gym.traces.jobs.readers.tpch import QUERIES, SIZES, read_tpch
from netllm_gym.traces.jobs.readers.wfcommons import read_wfcommons
from netllm_gym.traces.jobs.statistics import mean_work_s
from netllm_gym.traces.jobs.trace import JobTrace
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload, synthetic_workload
from netllm_gym.traces.splits import SPLITS

REMEDY = "delete it and fetch or import again"


USUAL_EXECUTORS = 50
SAMPLES_A_JOB = 3_000  # about, of a job that is drawn: stages x waves x levels x durations


def save_workload(path: Path, workload: Workload) -> None:
    """Write the job templates as plain arrays, by atomic rename; durations in whole microseconds."""
    stages = [(j, stage) for j, template in enumerate(workload.templates) for stage in template.stages]
    edges = [(j, a, b) for j, template in enumerate(workload.templates) for a, b in template.edges]
    lists = [
        (i, w, level, samples)
        for i, (_, stage) in enumerate(stages)
        for w, wave in enumerate((stage.fresh, stage.first, stage.rest))
        for level, samples in wave.items()
    ]
    save_arrays(
        path,
        name=np.array([template.name for template in workload.templates]),
        stage_job=np.array([j for j, _ in stages], np.int32),
        stage_tasks=np.array([stage.tasks for _, stage in stages], np.int64),
        edge=np.array(edges, np.int32).reshape(-1, 3),
        list_key=np.array([entry[:3] for entry in lists], np.int32).reshape(-1, 3),
        list_end=np.cumsum([0] + [len(entry[3]) for entry in lists]),
        samples_us=np.array([round(x * 1e6) for entry in lists for x in entry[3]], np.int64),
        blocks=np.array(workload.blocks),
        gap_s=np.array(workload.mean_interarrival_s),
        arrivals_s=np.array(workload.arrivals_s if workload.arrivals_s is not None else [], np.float64),
    )


def load_stored(path: Path, name: str) -> Workload:
    """Read what :func:`save_workload` wrote.

    Raises:
        DamagedError: not such a file, or damaged.
    """
    columns = load_arrays(path, REMEDY)
    try:
        samples = (columns["samples_us"] / 1e6).tolist()
        waves: list[tuple[dict[int, list[float]], ...]] = [({}, {}, {}) for _ in columns["stage_tasks"]]
        for (i, w, level), (begin, end) in zip(
            columns["list_key"].tolist(), pairwise(columns["list_end"].tolist()), strict=True
        ):
            waves[i][w][level] = samples[begin:end]
        stages: list[list[StageProfile]] = [[] for _ in columns["name"]]
        for j, tasks, tables in zip(columns["stage_job"].tolist(), columns["stage_tasks"].tolist(), waves, strict=True):
            stages[j].append(StageProfile(tasks, *tables))
        edges: list[list[tuple[int, int]]] = [[] for _ in columns["name"]]
        for j, a, b in columns["edge"].tolist():
            edges[j].append((a, b))
        templates = tuple(
            JobTemplate(str(job), tuple(stages[j]), tuple(edges[j])) for j, job in enumerate(columns["name"])
        )
        arrivals = tuple(columns["arrivals_s"].tolist()) or None
        return Workload(name, templates, float(columns["gap_s"]), arrivals, int(columns["blocks"]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DamagedError(f"{path}: not a stored workload ({error}); {REMEDY}") from None


def _cached(entry: catalog.Entry) -> Path:
    stem = "wfcommons" if "instances" in entry else "tpch"
    return cache_dir() / "traces" / f"cluster--{stem}-{entry['sha256'][:12]}.npz"  # one file for every cut of it


def fetch_workload(name: str, progress: bool = False) -> Workload:
    """Download, verify and parse the TPC-H profiles, and keep the parsed workload in the cache.

    Raises:
        DownloadError: they cannot be had or differ from the pinned content.
    """
    entry = catalog.describe(name)
    if "instances" in entry:
        return _fetch_instances(name, entry, progress)
    root = entry["root"]
    files = fetch_files(Source(entry["repository"], entry["commit"]), [f"{root}/*"], entry["sha256"], progress)
    workload = read_tpch(files, root)
    save_workload(_cached(entry), workload)
    _stored.cache_clear()
    return workload


def _fetch_instances(name: str, entry: catalog.Entry, progress: bool) -> Workload:
    """Fetch WfCommons instances, a job each, called by their path."""
    source = Source(entry["repository"], entry["commit"])
    files = fetch_files(source, entry["instances"], entry["sha256"], progress)
    workload = Workload(name, tuple(read_wfcommons(data, path) for path, data in files.items()))
    save_workload(_cached(entry), workload)
    _stored.cache_clear()
    return workload


@cache
def _stored(path: Path) -> Workload:
    return load_stored(path, "cluster/tpch")


def _sequences(workload: Workload, entry: catalog.Entry, split: str) -> tuple[JobTrace, ...]:
    first, count = entry["seeds"][split]
    catalog.check_drawn(workload.name, count, 0)
    return tuple(JobTrace(workload, seed) for seed in range(first, first + count))


@catalog.register_trace_kind("workload", fetch=fetch_workload)
def _build_public(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    path = _cached(entry)
    if not path.is_file():
        raise DownloadError(f"{name} is not on this machine yet: netllm-gym traces fetch {name}")
    whole = _stored(path)
    if "instances" in entry:
        return _by_application(name, entry, whole, as_published)
    if as_published:
        if "published_seeds" not in entry:
            raise ConfigError(f"{name} has no as-published split")
        return {"test": tuple(JobTrace(whole, seed) for seed in entry["published_seeds"])}
    splits: dict[str, tuple] = {}
    for split in SPLITS:
        queries = entry.get("queries", {}).get(split, list(QUERIES))
        sizes = entry.get("sizes", {}).get(split, list(SIZES))
        kept = tuple(whole.templates[SIZES.index(s) * len(QUERIES) + q - 1] for s in sizes for q in queries)
        gap = entry["mean_interarrival_s"]
        part = Workload(name, kept, gap[split] if isinstance(gap, dict) else gap, blocks=len(sizes))
        splits[split] = _sequences(part, entry, split)
    return splits


def _by_application(name: str, entry: catalog.Entry, whole: Workload, as_published: bool) -> dict[str, tuple]:
    """Cut workflows by the application they ran: instances of one differ in little but their size."""
    if as_published:
        raise ConfigError(f"{name} has no as-published split")
    splits: dict[str, tuple] = {}
    for split in SPLITS:
        kept = tuple(t for t in whole.templates if t.name.startswith(tuple(entry["applications"][split])))
        splits[split] = _sequences(Workload(name, kept, entry["mean_interarrival_s"][split]), entry, split)
    return splits


@catalog.register_trace_kind("synthetic-workload")
def _build_synthetic(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    if as_published:
        raise ConfigError(f"{name} is synthetic: it has no as-published split")
    splits: dict[str, tuple] = {}
    catalog.check_drawn(name, entry["templates"], entry["templates"] * SAMPLES_A_JOB)
    for number, split in enumerate(SPLITS):  # each split has jobs of its own
        drawn = synthetic_workload(
            entry["families"], entry["templates"], entry["seed"] + number, entry["mean_interarrival_s"]
        )
        part = Workload(name, drawn.templates, drawn.mean_interarrival_s)
        splits[split] = _sequences(part, entry, split)
    return splits


@catalog.register_trace_kind("random-workload")
def _build_random(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    """Draw a workload of its own for every sequence; 50 executors are kept busy to the share `load`."""
    if as_published:
        raise ConfigError(f"{name} is synthetic: it has no as-published split")
    splits: dict[str, tuple] = {}
    for split in SPLITS:
        first, count = entry["seeds"][split]
        catalog.check_drawn(name, count, count * entry["templates"] * SAMPLES_A_JOB)
        found = []
        for seed in range(first, first + count):
            drawn = random_workload(np.random.default_rng(seed), entry["shapes"], entry["templates"], name)
            gap = mean_work_s(drawn) / (USUAL_EXECUTORS * entry["load"])
            found.append(JobTrace(replace(drawn, mean_interarrival_s=gap), seed))
        splits[split] = tuple(found)
    return splits
