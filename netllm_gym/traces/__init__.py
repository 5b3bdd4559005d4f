"""What happened: network, head-motion and workload traces, their catalog, readers, synthesis and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netllm_gym.traces.jobs.sets  # noqa: F401 (registers the kinds of job sets)
from netllm_gym.errors import ConfigError
from netllm_gym.traces import catalog
from netllm_gym.traces.head.readers import read_head_csv
from netllm_gym.traces.head.sets import read_head_folder
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.head.user import holds_head_logs, import_heads, imported_heads, is_imported, read_heads
from netllm_gym.traces.jobs.user import holds_workload, workload_set
from netllm_gym.traces.network.published import PublishedLog, published_logs
from netllm_gym.traces.network.sets import fetch_video, load_video
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.network.user import import_traces, read_path, user_set
from netllm_gym.traces.protocol import check_opening, training
from netllm_gym.traces.splits import audit
from netllm_gym.traces.traceset import TraceSet
from netllm_gym.traces.video.manifest import VideoManifest, synthetic_video

__all__ = [
    "HeadTrace",
    "NetworkTrace",
    "PublishedLog",
    "TraceSet",
    "VideoManifest",
    "audit",
    "fetch",
    "holds_head_logs",
    "import_heads",
    "import_traces",
    "load",
    "load_video",
    "names",
    "published_logs",
    "read_head_csv",
    "read_head_folder",
    "synthetic_video",
    "training",
]

names = catalog.names


def load(name: str | Path | TraceSet, split: str = "test") -> TraceSet:
    """Return one split of a trace set.

    Args:
        name: a catalog name (``abr/fcc-hsdpa``; ``…/as-published`` for the split the authors used), the name of an
            imported set (``user/NAME``), a path (file or folder: all its traces, whatever the split), or a
            :class:`TraceSet`, returned as it is.
        split: ``train``, ``valid``, ``test``, or ``all``.

    Raises:
        UnknownNameError: no such set.
        DownloadError: a public set that has not been fetched.
        TraceFormatError: a file that cannot be read.
        ConfigError: the set has no such split, or a test split is asked for by code that trains (see ``protocol``).
    """
    if isinstance(name, TraceSet):
        if name.split != "all" or catalog.split_name(name.name)[0] in catalog.entries():  # a path has no splits
            check_opening(name.split)
        return name
    text = str(name)
    if text.startswith("user/"):
        check_opening(split)
        if is_imported(text):
            return imported_heads(text, split)
        return user_set(text, split)
    if text not in catalog.entries() and Path(text).exists():
        if holds_head_logs(text):
            return read_heads(text)
        if holds_workload(text):
            return workload_set(text)
        return read_path(Path(text))
    check_opening(split)
    base, _ = catalog.split_name(text)
    entry = catalog.describe(base)
    if entry["kind"] == "video":
        raise ConfigError(f"{text} is a video, not a trace set; use load_video")
    splits = catalog.build(text)
    if split == "all":
        traces: tuple[Any, ...] = tuple(trace for members in splits.values() for trace in members)
    elif split in splits:
        traces = splits[split]
    else:
        raise ConfigError(f"{text} has no split {split!r}; it has {', '.join(splits)}")
    source = f"{entry['repository']}@{entry['commit'][:10]}" if "repository" in entry else "drawn from a seed"
    return TraceSet(text, split, traces, entry["licence"], entry.get("citation", ""), source)


def fetch(name: str, progress: bool = False) -> None:
    """Bring a public set (or ``video/NAME``) and the videos it is played with onto this machine.

    Raises:
        UnknownNameError, DownloadError: as for :func:`load`.
    """
    base, _ = catalog.split_name(name)
    entry = catalog.describe(base)
    if entry["kind"] == "video":
        fetch_video(base.removeprefix("video/"), progress)
    elif bring := catalog.fetcher(entry["kind"]):
        bring(base, progress)
        for video in entry.get("videos", ()):
            fetch_video(video, progress)
        catalog.build.cache_clear()
