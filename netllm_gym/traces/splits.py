"""Splits without leakage, and the audit that certifies them.

A trace whose content also stands in train proves nothing about generalisation, so it never counts as test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

from netllm_gym.traces.traceset import Trace

T = TypeVar("T", bound=Trace)

SPLITS = ("train", "valid", "test")


def leak_free(published: dict[str, tuple[T, ...]], valid_share: int = 5) -> dict[str, tuple[T, ...]]:
    """Re-cut published splits so that no content stands in two of them.

    - ``test`` keeps its traces minus those whose content stands in the published train or valid.
    - The rest, each content once, is cut by *source recording*: a recording goes to ``valid`` when the SHA-256 of
      its name is divisible by `valid_share` (about one in five), otherwise to ``train``. Cutting by recording keeps
      pieces of one recording together, and hashing keeps the cut independent of file order.

    Args:
        published: split → traces.
        valid_share: one in how many recordings validates.
    """
    pool: dict[str, T] = {}
    for split in ("train", "valid"):
        for trace in published.get(split, ()):
            pool.setdefault(trace.digest, trace)
    test = tuple(trace for trace in published.get("test", ()) if trace.digest not in pool)

    def validates(trace: T) -> bool:
        return int(hashlib.sha256(trace.group.encode()).hexdigest(), 16) % valid_share == 0

    return {
        "train": tuple(trace for trace in pool.values() if not validates(trace)),
        "valid": tuple(trace for trace in pool.values() if validates(trace)),
        "test": test,
    }


@dataclass(frozen=True)
class Audit:
    """What an audit of a split found.

    Attributes:
        counts: traces per split.
        recordings: distinct source recordings per split: the effective sample size of clustered statistics.
        exact: pairs of splits → names in the second whose content stands in the first.
        shared_recordings: pairs of splits → number of traces in the second cut from a recording of the first.
    """

    counts: dict[str, int]
    recordings: dict[str, int]
    exact: dict[tuple[str, str], tuple[str, ...]]
    shared_recordings: dict[tuple[str, str], int]

    @property
    def clean(self) -> bool:
        """Whether no content stands in two splits."""
        return not any(self.exact.values())


def audit(splits: dict[str, tuple[T, ...]]) -> Audit:
    """Compare every two splits by content and by source recording."""
    present = [split for split in SPLITS if splits.get(split)]
    contents = {split: {trace.digest for trace in splits[split]} for split in present}
    groups = {split: {trace.group for trace in splits[split]} for split in present}
    exact, shared = {}, {}
    for i, first in enumerate(present):
        for second in present[i + 1 :]:
            exact[first, second] = tuple(t.name for t in splits[second] if t.digest in contents[first])
            shared[first, second] = sum(t.group in groups[first] for t in splits[second])
    return Audit(
        counts={split: len(splits[split]) for split in present},
        recordings={split: len(groups[split]) for split in present},
        exact=exact,
        shared_recordings=shared,
    )
