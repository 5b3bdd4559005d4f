"""Catalog builders of head-motion sets.

Besides ``train``, ``valid`` and ``test``, whose videos and users are all disjoint, a public set has two more
parts: ``crowd``, the training users on the videos of the other splits (what a deployed predictor may know
    about a
video), and ``other``, every remaining pair of user and video.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from netllm_gym.arrays import load_arrays, save_arrays
from netllm_gym.errors import ConfigError, DamagedError, DownloadError, TraceFormatError
from netllm_gym.files import cache_dir
from netllm_gym.traces import catalog
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.head.readers import read_netllm
from netllm_gym.traces.head.scales import HeadOptions
from netllm_gym.traces.head.synthetic import CALIBRATED, synthetic_head_traces
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.head.user import understand_heads

SPLITS = ("train", "valid", "test")
REMEDY = "delete it and fetch or import again"
_PATH = re.compile(r"video(\d+)/5Hz/simple_5Hz_user(\d+)\.csv$")


def save_heads(path: Path, traces: Sequence[HeadTrace]) -> None:
    """Write traces of one reading and rate to a sealed ``.npz`` (no pickle), by atomic rename."""
    save_arrays(
        path,
        compress=False,
        user=np.array([trace.user for trace in traces]),
        video=np.array([trace.video for trace in traces]),
        dataset=np.array(traces[0].dataset),
        reading=np.array(traces[0].reading),
        hz=np.array(traces[0].hz),
        start_s=np.array([trace.start_s for trace in traces]),
        offset=np.cumsum([0, *(len(trace) for trace in traces)]),
        angles_deg=np.concatenate([trace.angles_deg for trace in traces]),
        valid=np.concatenate([trace.valid for trace in traces]),
    )


def load_heads(path: Path) -> list[HeadTrace]:
    """Read what :func:`save_heads` wrote.

    Raises:
        DamagedError: not such a file, or damaged.
    """
    columns = load_arrays(path, REMEDY)
    try:
        users, videos = columns["user"].tolist(), columns["video"].tolist()
        starts, offsets = columns["start_s"].tolist(), columns["offset"].tolist()
        shared = (str(columns["reading"]), str(columns["dataset"]), float(columns["hz"]))
        return [
            HeadTrace(
                users[i],
                videos[i],
                shared[2],
                columns["angles_deg"][offsets[i] : offsets[i + 1]],
                shared[0],
                starts[i],
                columns["valid"][offsets[i] : offsets[i + 1]],
                shared[1],
            )
            for i in range(len(users))
        ]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DamagedError(f"{path}: not a stored head-motion set ({error}); {REMEDY}") from None


def _stored(name: str, entry: catalog.Entry, reading: str) -> Path:
    return cache_dir() / "traces" / f"{name.replace('/', '--')}-{reading}-{entry['sha256'][:12]}.npz"


def fetch_heads(name: str, progress: bool = False) -> None:
    """Download, verify and parse a public set, and keep both readings in the cache.

    Raises:
        DownloadError: it cannot be had or differs from the pinned content.
    """
    entry = catalog.describe(name)
    if "logs" in entry:
        _fetch_logs(name, entry, progress)
        return
    folder = f"viewport_prediction/data/viewports/{entry['folder']}"
    found = fetch_files(Source(entry["repository"], entry["commit"]), [f"{folder}/*.csv"], entry["sha256"], progress)
    published, canonical = [], []
    for path, data in sorted(found.items(), key=lambda item: _ids(item[0])):
        video, user = _ids(path)
        both = read_netllm(data, str(user), str(video), entry["folder"].lower(), entry["lon_offset_deg"])
        published.append(both[0])
        canonical.append(both[1])
    save_heads(_stored(name, entry, "published"), published)
    save_heads(_stored(name, entry, "canonical"), canonical)


def _fetch_logs(name: str, entry: catalog.Entry, progress: bool) -> None:
    """Fetch a set whose files are read as a user's would be; it has no published reading."""
    found = fetch_files(Source(entry["repository"], entry["commit"]), [entry["logs"]], entry["sha256"], progress)
    with tempfile.TemporaryDirectory() as folder:
        for path, data in found.items():
            # Where a pattern tells viewer and video, the folder of a file counts too.
            kept = PurePosixPath(*PurePosixPath(path).parts[-2:] if "pattern" in entry else [PurePosixPath(path).name])
            (Path(folder) / kept).parent.mkdir(exist_ok=True)
            (Path(folder) / kept).write_bytes(data)
        read = understand_heads(
            folder, options=HeadOptions(dataset=name.partition("/")[2]), pattern=entry.get("pattern")
        )
    save_heads(_stored(name, entry, "canonical"), read.traces)


def _ids(path: str) -> tuple[int, int]:
    match = _PATH.search(path)
    if match is None:
        raise TraceFormatError(path, "not named video<v>/5Hz/simple_5Hz_user<u>.csv")
    return int(match.group(1)), int(match.group(2))


def split_heads(traces: list[HeadTrace], entry: catalog.Entry) -> dict[str, tuple[HeadTrace, ...]]:
    """Sort traces into ``train``, ``valid``, ``test``, ``crowd`` and ``other``.

    The order within a split is that of the published lists: videos, then users.

    Raises:
        TraceFormatError: a user or video of a split has no trace.
    """
    by_pair = {(trace.video, trace.user): trace for trace in traces}
    result: dict[str, tuple[HeadTrace, ...]] = {}
    taken: set[tuple[str, str]] = set()

    def collect(videos: list[int], users: list[int], split: str) -> tuple[HeadTrace, ...]:
        pairs = [(str(video), str(user)) for video in videos for user in users]
        missing = [pair for pair in pairs if pair not in by_pair]
        if missing and not entry.get("sparse"):  # a sparse set: not everybody watched everything
            video, user = missing[0]
            raise TraceFormatError(split, f"video {video} of user {user} is missing ({len(missing)} pairs in all)")
        taken.update(pairs)
        return tuple(by_pair[pair] for pair in pairs if pair in by_pair)

    for split in SPLITS:
        result[split] = collect(entry["video_split"][split], entry["user_split"][split], split)
    unseen = entry["video_split"]["valid"] + entry["video_split"]["test"]
    result["crowd"] = collect(unseen, entry["user_split"]["train"], "crowd")
    result["other"] = tuple(trace for pair, trace in by_pair.items() if pair not in taken)
    return {split: members for split, members in result.items() if members}


@catalog.register_trace_kind("head", fetch=fetch_heads)
def _build_public(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    if as_published and "logs" in entry:
        raise ConfigError(f"{name} has no as-published reading")
    stored = _stored(name, entry, "published" if as_published else "canonical")
    if not stored.is_file():
        raise DownloadError(f"{name} is not on this machine yet: netllm-gym traces fetch {name}")
    return split_heads(on_video_clock(load_heads(stored), entry.get("first_stamp_below_s")), entry)


def on_video_clock(traces: list[HeadTrace], below_s: float | None) -> list[HeadTrace]:
    """Let logs whose first stamp is `below_s` or later begin with their video; others keep their stamps.

    Only a catalog entry may ask for this (Jin2022: some of its logs are stamped with the time of a session).
    """
    if below_s is None:
        return traces
    return [
        trace
        if trace.start_s < below_s
        else HeadTrace(
            trace.user, trace.video, trace.hz, trace.angles_deg, trace.reading, 0.0, trace.valid, trace.dataset
        )
        for trace in traces
    ]


@catalog.register_trace_kind("synthetic-head")
def _build_synthetic(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    if as_published:
        raise ConfigError(f"{name} is synthetic: it has no as-published reading")
    model = replace(CALIBRATED, **entry.get("motion", {}))
    pairs = sum(entry["video_counts"].values()) * sum(entry["user_counts"].values())
    catalog.check_drawn(name, pairs, pairs * entry["length_s"] * 5)
    return synthetic_head_traces(entry["video_counts"], entry["user_counts"], entry["seed"], entry["length_s"], model)
