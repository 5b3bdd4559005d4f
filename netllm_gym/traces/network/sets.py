"""Catalog builders of network traces and videos: public sets through fetch, synthetic ones from their seed."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from netllm_gym.arrays import load_arrays, save_arrays
from netllm_gym.errors import ConfigError, DownloadError, TraceFormatError
from netllm_gym.files import cache_dir, on_disk
from netllm_gym.traces import catalog
from netllm_gym.traces.fetch import MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES, Source, fetch_files
from netllm_gym.traces.network import readers
from netllm_gym.traces.network.store import load_network, save_network
from netllm_gym.traces.network.synthetic import PhasedModel, RegimeModel, synthetic_traces
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.splits import SPLITS, by_recording, joined_recordings, leak_free
from netllm_gym.traces.text import decode, parse_float
from netllm_gym.traces.video.manifest import VideoManifest, synthetic_video
from netllm_gym.traces.video.readers import read_manifest

READERS = {
    "cooked": readers.read_cooked,
    "gnettrack": readers.read_gnettrack,
    "mahimahi": readers.read_mahimahi,
    "sabre": readers.read_sabre,
}
# The one "split" of a set that its authors did not cut.
UNSPLIT = "all"


def _cached(name: str, entry: catalog.Entry) -> Path:
    return cache_dir() / "traces" / f"{name.replace('/', '--')}-{entry['sha256'][:12]}.npz"


def _recording(pattern: str | None, name: str) -> str:
    match = re.search(pattern, name) if pattern else None
    return match.group(1) if match else name


def unzipped(found: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files inside zip archives, as ``<path of the archive>/<path inside>``, in memory and within caps.

    Raises:
        DownloadError: not a zip, encrypted, or larger than a trace set may be.
    """
    files: dict[str, bytes] = {}
    total = 0
    for path, data in found.items():
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.infolist():
                    total += member.file_size
                    if member.file_size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES or len(files) > MAX_MEMBERS:
                        raise DownloadError(f"{path}: {member.filename} is larger than any file of this set")
                    if not member.is_dir():
                        # Reads at most file_size bytes, whatever the compressed data claim.
                        files[f"{path}/{member.filename}"] = archive.read(member)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
            raise DownloadError(f"{path}: not a readable zip ({error})") from None
    return dict(sorted(files.items()))


def fetch_network(name: str, progress: bool = False) -> dict[str, tuple[NetworkTrace, ...]]:
    """Download, verify and parse a public set, and keep the parsed traces in the cache.

    Returns:
        The splits as published; ``{"all": …}`` where nobody published any.

    Raises:
        DownloadError: it cannot be had or differs from the pinned content.
    """
    entry = catalog.describe(name)
    folders: dict[str, str] = entry["files"]
    # A set inside a zip is pinned by the zip; `files` then selects its members, as <archive>/<member>.
    wanted = [entry["zip"]] if "zip" in entry else list(folders.values())
    found = fetch_files(Source(entry["repository"], entry["commit"]), wanted, entry["sha256"], progress)
    if "zip" in entry:
        patterns = folders.values()
        found = {path: data for path, data in unzipped(found).items() if any(fnmatchcase(path, p) for p in patterns)}
    read = READERS[entry["reader"]]
    splits: dict[str, list[NetworkTrace]] = {split: [] for split in folders}
    for path, data in found.items():
        split = next(key for key, pattern in folders.items() if PurePosixPath(path).match(pattern))
        stem = PurePosixPath(path).name
        splits[split].append(read(data, stem, _recording(entry.get("recording"), stem)))
    for split, indices in entry.get("start_index", {}).items():
        # A published start pointer p begins at the time stamp before sample p, which is the end of piece p - 2.
        splits[split] = [
            trace.starting_at(float(trace.end_s[index - 2]) if index >= 2 else 0.0)
            for trace, index in zip(splits[split], indices, strict=True)
        ]
    result = {split: tuple(members) for split, members in splits.items()}
    save_network(_cached(name, entry), result)
    return result


@catalog.register_trace_kind("network", fetch=fetch_network)
def _build_public(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    stored = _cached(name, entry)
    if not stored.is_file():
        raise DownloadError(f"{name} is not on this machine yet: netllm-gym traces fetch {name}")
    published = load_network(stored)
    if set(published) == {UNSPLIT}:
        if as_published:
            raise ConfigError(f"{name} has no as-published split: its authors published one set")
        return dict(by_recording(joined_recordings(published[UNSPLIT])))
    return published if as_published else leak_free(published)


@catalog.register_trace_kind("synthetic-network")
def _build_synthetic(name: str, entry: catalog.Entry, as_published: bool) -> dict[str, tuple]:
    if as_published:
        raise ConfigError(f"{name} is synthetic: it has no as-published split")
    splits: dict[str, tuple[NetworkTrace, ...]] = {}
    for split in SPLITS:
        members: list[NetworkTrace] = []
        for family, table in entry["families"].items():
            model, count, length_s = _model(table), entry["counts"][split], entry["length_s"]
            catalog.check_drawn(name, count, count * length_s / model.step_s)
            members += synthetic_traces(model, family, split, count, entry["seed"], length_s)
        splits[split] = tuple(members)
    return splits


def _model(family: dict[str, Any] | list[dict[str, Any]]) -> RegimeModel | PhasedModel:
    """Return the model of a catalog's family: a table, or a list of tables with a ``length_s`` each."""
    if isinstance(family, dict):
        return RegimeModel(**family)
    lengths = tuple(phase["length_s"] for phase in family)
    return PhasedModel(
        tuple(RegimeModel(**{k: v for k, v in phase.items() if k != "length_s"}) for phase in family), lengths
    )


# Embedded videos, the second with 1.2 times the bytes at the same labels, as NetLLM's second video has.
EMBEDDED_VIDEOS: dict[str, dict[str, Any]] = {"synthetic": {"seed": 0}, "synthetic-2": {"seed": 2, "overhead": 1.2}}


def load_video(name: str | Path) -> VideoManifest:
    """Return a video: of the catalog (``envivio-dash3``), embedded (``synthetic``, ``synthetic-2``), or from a path.

    A path is a manifest, ``.json``, ``.mpd`` or ``.m3u8`` (:mod:`netllm_gym.traces.video.readers`; for a folder of size
    files call :func:`netllm_gym.traces.video.readers.read_manifest`, which takes the chunk length too).

    Raises:
        TraceFormatError: a manifest that cannot be read.
        UnknownNameError: no such video.
        DownloadError: a public one that has not been fetched.
    """
    if isinstance(name, str) and name in EMBEDDED_VIDEOS:
        return synthetic_video(**EMBEDDED_VIDEOS[name], name=name)
    if f"video/{name}" not in catalog.entries() and on_disk(name):
        return read_manifest(Path(name))
    entry = catalog.describe(f"video/{name}")
    stored = _cached_video(str(name), entry)
    if not stored.is_file():
        raise DownloadError(f"video {name} is not on this machine yet: netllm-gym traces fetch video/{name}")
    found = load_arrays(stored, f"delete it and run: netllm-gym traces fetch video/{name}")
    tables = {key: table for key, table in found.items() if key != "sizes"}
    return VideoManifest(str(name), entry["bitrates_kbps"], entry["chunk_s"], found["sizes"], tables)


def _cached_video(name: str, entry: catalog.Entry) -> Path:
    return cache_dir() / "videos" / f"{name}-{entry['sha256'][:12]}.npz"


def fetch_video(name: str, progress: bool = False) -> VideoManifest:
    """Download, verify and parse a public video: size files, one a level, and quality tables where it has any.

    Raises:
        DownloadError: it cannot be had or differs from the pinned content.
        TraceFormatError: files of different lengths, or a line that is no number.
    """
    entry = catalog.describe(f"video/{name}")
    # A table lists its files in the ladder's order: their names may count the other way.
    tables: dict[str, list[str]] = entry.get("quality_tables", {})
    wanted = [entry["files"], *(path for paths in tables.values() for path in paths)]
    found = fetch_files(Source(entry["repository"], entry["commit"]), wanted, entry["sha256"], progress)
    listed = {path for paths in tables.values() for path in paths}
    columns = {
        path: [parse_float(line, path, i) for i, line in enumerate(decode(data, path).split(), start=1)]
        for path, data in found.items()
    }
    if len({len(column) for column in columns.values()}) != 1:
        raise TraceFormatError(name, "levels have different numbers of chunks")
    levels = {"sizes": [path for path in columns if path not in listed], **tables}
    arrays: dict[str, Any] = {
        key: np.array([columns[path] for path in paths]).T[: entry["chunks"]] for key, paths in levels.items()
    }
    qualities = {key: array for key, array in arrays.items() if key != "sizes"}
    video = VideoManifest(name, entry["bitrates_kbps"], entry["chunk_s"], arrays["sizes"], qualities)
    save_arrays(_cached_video(name, entry), **arrays)
    return video
