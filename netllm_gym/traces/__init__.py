"""What happened: network, head-motion and workload traces, their catalog, readers, synthesis and splits."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import netllm_gym.traces.jobs.sets  # noqa: F401 (registers the kinds of job sets)
from netllm_gym.errors import ConfigError
from netllm_gym.files import on_disk
from netllm_gym.traces import catalog
from netllm_gym.traces.head.readers import read_head_csv
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.head.user import holds_head_logs
from netllm_gym.traces.head.user import read_heads as read_head_folder
from netllm_gym.traces.network.published import PublishedLog, published_logs
from netllm_gym.traces.network.sets import fetch_video, load_video
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.protocol import check_opening, training
from netllm_gym.traces.splits import audit
from netllm_gym.traces.traceset import TraceSet
from netllm_gym.traces.user import (
    ImportOptions,
    import_heads,
    import_set,
    import_traces,
    imported,
    keep,
    load_imported,
    read_user_path,
    understand,
)
from netllm_gym.traces.video.manifest import VideoManifest, synthetic_video

__all__ = [
    "HeadTrace",
    "ImportOptions",
    "NetworkTrace",
    "PublishedLog",
    "TraceSet",
    "VideoManifest",
    "audit",
    "fetch",
    "holds_head_logs",
    "import_heads",
    "import_set",
    "import_traces",
    "imported",
    "keep",
    "load",
    "load_video",
    "names",
    "published_logs",
    "read_head_csv",
    "read_head_folder",
    "synthetic_video",
    "training",
    "understand",
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
        ConfigError: a path where nothing is, a set without such a split, or a test split asked for by code that trains
            (see ``protocol``).
    """
    if isinstance(name, TraceSet):
        if name.split != "all" or catalog.split_name(name.name)[0] in catalog.entries():  # a path has no splits
            check_opening(name.split)
        return name
    text = str(name)
    if not text or (isinstance(name, Path) and text == "."):
        raise ConfigError("an empty name of traces: a catalog name or a path is needed ('./' is this folder)")
    if len(text) > 4096 or "\0" in text:
        raise ConfigError(f"no name of traces and no path: {text[:40]!r}…")
    if text.startswith("user/"):
        check_opening(split)
        return load_imported(text, split)
    if text not in catalog.entries() and on_disk(text):
        return read_user_path(text)
    base, _ = catalog.split_name(text)
    if base not in catalog.entries() and _is_path(text):
        raise ConfigError(f"no such file or folder: {text}")
    check_opening(split)
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


def _is_path(text: str) -> bool:
    """Whether a name that is in no catalog was meant as a path: it looks like one, or resembles no name."""
    if text.startswith((".", "/", "~")) or text.endswith("/") or Path(text).suffix:
        return True
    kinds = {name.partition("/")[0] for name in catalog.entries()}
    return text.partition("/")[0] not in kinds and not difflib.get_close_matches(text, catalog.entries(), cutoff=0.6)


def fetch(name: str, progress: bool = False) -> None:
    """Bring a public set (or ``video/NAME``) and the videos it is played with onto this machine.

    Raises:
        UnknownNameError, DownloadError: as for :func:`load`.
    """
    base, _ = catalog.split_name(name)
    entry = catalog.describe(base)
    if entry["kind"] == "video":
        with catalog.entry_at_fault(base, fetch_video):
            fetch_video(base.removeprefix("video/"), progress)
    elif bring := catalog.fetcher(entry["kind"]):
        with catalog.entry_at_fault(base, bring):
            bring(base, progress)
        for video in entry.get("videos", ()):
            fetch_video(video, progress)
        catalog.build.cache_clear()
