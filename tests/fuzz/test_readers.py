"""Every reader answers or says in one line what is wrong: a few hundred inputs each, and all that ever failed."""

from __future__ import annotations

import pytest

from tests.fuzz.kept import KEPT as KEPT_BY_US
from tests.fuzz.run import REGRESSIONS, batch, failure
from tests.fuzz.targets import TARGETS, whole

KEPT = sorted(REGRESSIONS.glob("*.bin"))


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read_or_refused(name: str) -> None:
    assert [why for data in whole(name) if (why := failure(name, data))] == []


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    pytest.importorskip("torch") if name.startswith(("checkpoint", "run-state", "grid")) else None
    assert batch(name, 1, 0, 40 if name in KEPT_BY_US else 150) == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_inputs_that_once_failed(path) -> None:
    name = path.name.partition("--")[0]
    assert failure(name, path.read_bytes()) is None
