"""Splits without leakage, and the audit that certifies them.

A trace whose content also stands in train proves nothing about generalisation, so it never counts as test.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

from netllm_gym.traces.network.similarity import clusters, near_copies, shared_runs
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.traceset import Trace

T = TypeVar("T", bound=Trace)

SPLITS = ("train", "valid", "test")


def leak_free(published: dict[str, tuple[T, ...]], valid_share: int = 4) -> dict[str, tuple[T, ...]]:
    """Re-cut published splits so that neither content nor a source recording stands in test and elsewhere.

    - ``test`` keeps its traces minus those whose content stands in the published train or valid.
    - Of the rest, each content once, traces of a *source recording* that test plays are dropped: pieces of one
      recording overlap, so a piece of it in train would be seen again in test.
    - What remains is cut by recording. Recordings of which several traces are left always train: twenty pieces of one
      recording would decide what is chosen on ``valid`` and count as one. Of the others, those validate whose name
      has a SHA-256 divisible by `valid_share`. Hashing keeps the cut independent of file order.

    Args:
        published: split → traces.
        valid_share: one in how many of those recordings validates.
    """
    pool: dict[str, T] = {}
    for split in ("train", "valid"):
        for trace in published.get(split, ()):
            pool.setdefault(trace.digest, trace)
    test = tuple(trace for trace in published.get("test", ()) if trace.digest not in pool)
    played = {trace.group for trace in test}
    rest = [trace for trace in pool.values() if trace.group not in played]
    pieces = Counter(trace.group for trace in rest)

    def validates(trace: T) -> bool:
        return pieces[trace.group] == 1 and int(hashlib.sha256(trace.group.encode()).hexdigest(), 16) % valid_share == 0

    return {
        "train": tuple(trace for trace in rest if not validates(trace)),
        "valid": tuple(trace for trace in rest if validates(trace)),
        "test": test,
    }


def by_recording(traces: tuple[T, ...], share: float = 0.2) -> dict[str, tuple[T, ...]]:
    """Cut a set that nobody has split: 60 % of its recordings to train, 20 % each to valid and test.

    Recordings are sorted by the SHA-256 of their name; the first `share` of them (rounded, at least one) are
    ``test``, as many after them ``valid``, the rest ``train``. Every split thus has recordings of its own, and
    neither file order nor a random seed plays a part. Traces of equal content count once.
    """
    once = tuple({trace.digest: trace for trace in reversed(traces)}.values())[::-1]
    ranked = sorted({trace.group for trace in once}, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    size = max(1, round(share * len(ranked)))
    of = {group: "test" if i < size else "valid" if i < 2 * size else "train" for i, group in enumerate(ranked)}
    return {split: tuple(trace for trace in once if of[trace.group] == split) for split in SPLITS}


def joined_recordings(traces: tuple[NetworkTrace, ...]) -> tuple[NetworkTrace, ...]:
    """Return the traces with one recording for all that share a run of equal samples or a recording already.

    Loggers that ran side by side, and excerpts that stand beside their source, are one measurement.
    """
    firsts: dict[str, int] = {}
    pairs = shared_runs(traces) | {
        (firsts.setdefault(trace.group, i), i) for i, trace in enumerate(traces) if firsts.get(trace.group, i) != i
    }
    roots = clusters(len(traces), pairs)
    return tuple(
        trace
        if traces[root].group == trace.group
        else NetworkTrace(trace.name, trace.duration_s, trace.throughput_mbps, traces[root].group, trace.start_s)
        for trace, root in zip(traces, roots, strict=True)
    )


@dataclass(frozen=True)
class Audit:
    """What an audit of a split found.

    Attributes:
        counts: traces per split.
        recordings: distinct source recordings per split.
        exact: pairs of splits → names in the second whose content stands in the first.
        shared_recordings: pairs of splits → number of traces in the second cut from a recording of the first.
        overlapping: pairs of splits → names in the second that share a run of equal samples with one of the first,
            directly or through others (:func:`netllm_gym.traces.network.similarity.shared_runs`).
        near: pairs of splits → names in the second that are near copies of one in the first.
        clusters: per split, groups of traces joined by recording, run or near copy.
        effective: per split, the effective number of clusters (sum n)² / sum n² over cluster sizes n: the sample
            size that statistics over traces may claim.
        factors: per split, the same number for each factor that the traces are crossed by (videos and viewers): what is
            said of other videos rests on the videos, however many viewers watched them.
    """

    counts: dict[str, int]
    recordings: dict[str, int]
    exact: dict[tuple[str, str], tuple[str, ...]]
    shared_recordings: dict[tuple[str, str], int]
    overlapping: dict[tuple[str, str], tuple[str, ...]]
    near: dict[tuple[str, str], tuple[str, ...]]
    clusters: dict[str, int]
    effective: dict[str, float]
    factors: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether no content stands in two splits."""
        return not any(self.exact.values())

    @property
    def certified(self) -> bool:
        """Whether no two splits share content, a recording, a run of samples or a near copy."""
        shared = (self.exact, self.shared_recordings, self.overlapping, self.near)
        return not any(found for pairs in shared for found in pairs.values())


def audit(splits: dict[str, tuple[T, ...]], near: bool = True) -> Audit:
    """Compare every two splits by content, source recording and, for network traces, by their samples.

    Args:
        splits: split → traces.
        near: look for near copies too; the only part whose cost grows with the square of the number of traces.
    """
    present = [split for split in SPLITS if splits.get(split)]
    members = [trace for split in present for trace in splits[split]]
    owner = [split for split in present for _ in splits[split]]
    links = [trace for trace in members if isinstance(trace, NetworkTrace)]
    runs = shared_runs(links) if len(links) == len(members) else set()
    copies = set(near_copies(links)) if near and len(links) == len(members) else set()
    in_run = clusters(len(members), runs)
    first_of: dict[str, int] = {}
    recorded = {(first_of.setdefault(trace.group, i), i) for i, trace in enumerate(members)}
    joined = clusters(len(members), runs | copies | {pair for pair in recorded if pair[0] != pair[1]})

    contents = {split: {trace.digest for trace in splits[split]} for split in present}
    groups = {split: {trace.group for trace in splits[split]} for split in present}
    exact, shared, overlapping, alike = {}, {}, {}, {}
    for i, first in enumerate(present):
        runs_of_first = {root for root, split in zip(in_run, owner, strict=True) if split == first}
        for second in present[i + 1 :]:
            pair = first, second
            exact[pair] = tuple(t.name for t in splits[second] if t.digest in contents[first])
            shared[pair] = sum(t.group in groups[first] for t in splits[second])
            overlapping[pair] = tuple(
                trace.name
                for trace, split, root in zip(members, owner, in_run, strict=True)
                if split == second and root in runs_of_first
            )
            # Indices follow the order of the splits, so the later of two belongs to the second.
            later = {b for a, b in copies if owner[a] == first and owner[b] == second}
            alike[pair] = tuple(members[b].name for b in sorted(later))
    sizes = {s: Counter(root for root, split in zip(joined, owner, strict=True) if split == s) for s in present}
    return Audit(
        counts={split: len(splits[split]) for split in present},
        recordings={split: len(groups[split]) for split in present},
        exact=exact,
        shared_recordings=shared,
        overlapping=overlapping,
        near=alike,
        clusters={split: len(found) for split, found in sizes.items()},
        effective={split: _effective(found) for split, found in sizes.items()},
        factors={split: _by_factor(splits[split]) for split in present},
    )


def _effective(sizes: Counter[Any]) -> float:
    return sizes.total() ** 2 / sum(n * n for n in sizes.values())


def _by_factor(traces: tuple[Any, ...]) -> dict[str, float]:
    """Effective number of videos and of viewers, where traces have both."""
    if not all(hasattr(trace, "video") and hasattr(trace, "user") for trace in traces):
        return {}
    return {
        "video": _effective(Counter(trace.video for trace in traces)),
        "user": _effective(Counter(trace.user for trace in traces)),
    }
