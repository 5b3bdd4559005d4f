"""Which test traces a published agent has trained on, as far as its authors' training set is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from netllm_gym import traces as trace_room
from netllm_gym.agents.museum import exhibit
from netllm_gym.errors import DownloadError
from netllm_gym.settings import Setting


@dataclass(frozen=True)
class Overlap:
    """How many test traces share content, a recording or a run of samples with the training traces.

    Attributes:
        shared, of: test traces that do, and all.
        source: the training set.
    """

    shared: int
    of: int
    source: str


def overlap(agent: str, setting: Setting) -> Overlap | None:
    """Return what `agent` has trained on of the test traces of `setting`; ``None`` when its training set is not known
    or is of another kind.

    Raises:
        DownloadError: its training traces cannot be had.
    """
    shown = exhibit(agent)
    name = setting.kwargs.get("traces")
    if shown is None or shown.trained_on is None or not isinstance(name, str):
        return None
    return _shared(shown.trained_on, name, str(setting.kwargs.get("split", "test")))


@cache
def _shared(source: str, name: str, split: str) -> Overlap:
    try:
        train = trace_room.load(f"{source}/as-published", "train").traces
    except DownloadError:
        trace_room.fetch(source)
        train = trace_room.load(f"{source}/as-published", "train").traces
    test = trace_room.load(name, split).traces
    found = trace_room.audit({"train": train, "test": test}, near=False)
    pair = ("train", "test")
    groups = {trace.group for trace in train}
    named = {*found.exact[pair], *found.overlapping[pair], *(trace.name for trace in test if trace.group in groups)}
    return Overlap(len(named), len(test), f"{source}/as-published, train")
