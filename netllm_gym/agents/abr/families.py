"""The public links that ABR policies train on and are chosen by: a split of each family, less what a later one holds.

Families overlap: two repositories cut the same drives in different ways. A split is free of leaks within its own set
only, so a train link that shares a recording with the valid or test split of *any* family is left out here, a valid
link that shares one with a test split too, and with a family left out goes whatever shares a recording with it. Which
links these are stands in ``overlaps.json``, since nothing may open a test split while it trains; :func:`overlaps` finds
them anew, and a test holds the file against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files

from netllm_gym import traces
from netllm_gym.errors import UnknownNameError
from netllm_gym.traces import NetworkTrace
from netllm_gym.traces.network.similarity import clusters, near_copies, shared_runs

# Families that hold drives of one campaign, and so may share them.
RELATED = ("abr/fcc-hsdpa", "abr/hsdpa", "abr/pensieve-classic")
FAMILIES = (
    *RELATED, "abr/ghent-4g", "abr/fcc-sd", "abr/fcc-hd", "abr/irish-5g", "abr/mahimahi-cellular", "abr/synthetic",
)  # fmt: skip
RUN_SAMPLES = 30
# Split → the splits, of any family, that none of its links may share a recording with.
LATER = {"train": ("valid", "test"), "valid": ("test",)}


def links_of(split: str, without: Iterable[str] = ()) -> dict[str, list[NetworkTrace]]:
    """Return family → links to train on, or to choose by.

    Args:
        split: ``train`` or ``valid``.
        without: families to leave out, with all that shares a recording with them.

    Raises:
        UnknownNameError: `without` names no family.
        DownloadError: a set has not been fetched (``netllm-gym traces fetch NAME``).
    """
    without = set(without)
    for name in without:
        if name not in FAMILIES:
            raise UnknownNameError("trace family", name, FAMILIES)
    shared = json.loads(files(__package__).joinpath("overlaps.json").read_text(encoding="utf-8"))
    found = {}
    for name in FAMILIES:
        if name not in without:
            listed = shared.get(name, {}).get(split, {})
            barred = {link for key in (*LATER[split], *without) for link in listed.get(key, ())}
            found[name] = [link for link in traces.load(name, split) if link.name not in barred]
    return found


def overlaps() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return family → split → what its links share a recording with → their names; takes a minute.

    What they share it with is a later split of any family, or any split of another family.
    """
    items = [(name, split, link) for name in RELATED for split in (*LATER, "test") for link in traces.load(name, split)]
    links = [link for _, _, link in items]
    owners = clusters(len(links), shared_runs(links, RUN_SAMPLES) | set(near_copies(links)))
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for owner, (name, split, link) in zip(owners, items, strict=True):
        if split not in LATER:
            continue
        beside = [item for other, item in zip(owners, items, strict=True) if other == owner]
        later = {part for _, part, _ in beside} & set(LATER[split])
        for key in later | {family for family, _, _ in beside if family != name}:
            found.setdefault(name, {}).setdefault(split, {}).setdefault(key, []).append(link.name)
    return {
        name: {split: {key: sorted(parts[key]) for key in sorted(parts)} for split, parts in sorted(splits.items())}
        for name, splits in sorted(found.items())
    }
