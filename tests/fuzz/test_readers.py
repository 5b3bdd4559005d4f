"""Every reader answers or says in one line what is wrong: a few hundred inputs each, and all that ever failed."""

from __future__ import annotations

import pytest

from tests.fuzz.run import REGRESSIONS, batch, failure
from tests.fuzz.targets import TARGETS

KEPT = sorted(REGRESSIONS.glob("*.bin"))


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read_or_refused(name: str) -> None:
    assert [failure(name, data) for data in TARGETS[name][1]] == [None] * len(TARGETS[name][1])


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    assert batch(name, 1, 0, 150) == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_inputs_that_once_failed(path) -> None:
    name = path.name.partition("--")[0]
    assert failure(name, path.read_bytes()) is None
