"""The TOML files that other packages offer: settings, catalogs and headline tables, by the way that they come in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest import mock

from netllm_gym import plugins, settings, traces
from netllm_gym.errors import NetLLMGymError
from netllm_gym.reproduce import plan
from netllm_gym.traces import catalog
from tests.fuzz.files import scratch_folder

_FOLDER = scratch_folder("fuzz-tables-")
_EXAMPLE = Path(__file__).resolve().parents[2] / "examples/fourth_task/netllm_gym_congestion"
_PACKAGE = "netllm_gym_fuzz_tables"
_CACHES = (plugins.toml_tables, settings._catalog, catalog.entries, catalog.build, plan.tasks)


def _all(*calls: Callable[[], object]) -> None:
    """Make every call; one that is refused in one line hides no other."""
    for call in calls:
        try:
            call()
        except NetLLMGymError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000, str(error)[:200]


def _settings() -> None:
    places = settings.list_settings()
    tasks = {task for task, _, _ in places} | set(settings._catalog())
    _all(*(lambda at=at: settings.load_setting(*at) for at in places))
    _all(*(lambda t=t, p=p: settings.load_families(t, p) for t in tasks for p in ("embedded", "paper")))
    _all(lambda: settings.task_of("congestion/Sender-v0"))


def _catalog() -> None:
    own = {"abr", "viewport", "cluster", "video"}
    names = [name for name in traces.names() if name.partition("/")[0] not in own]
    # The guards as they are, with smaller numbers: what is allowed may take seconds.
    with mock.patch.multiple(catalog, MAX_DRAWN=600, MAX_SAMPLES=200_000):
        _all(*(lambda n=n, s=s: traces.load(n, s) for n in names for s in ("train", "test")))
    with mock.patch.dict(os.environ, NETLLM_GYM_MIRROR=_FOLDER.as_uri()):
        _all(*(lambda n=n: traces.fetch(n) for n in names))


def _headline() -> None:
    for task in plan.chosen_tasks([]):
        assert all(isinstance(agent, str) for agent in task.agents)


def _table(group: str, use: Callable[[], None]) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        folder = _FOLDER / _PACKAGE
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "table.toml").write_bytes(data)

        def points(group: str) -> list[EntryPoint]:
            return [EntryPoint("fuzz", f"{_PACKAGE}:table.toml", group)] if group == wanted else []

        with (
            mock.patch.object(plugins, "entry_points", points),
            mock.patch.object(sys, "path", [str(_FOLDER), *sys.path]),
        ):
            for cache in _CACHES:
                cache.cache_clear()
            try:
                use()
            finally:
                for cache in _CACHES:
                    cache.cache_clear()

    wanted = f"netllm_gym.{group}"
    return read


def _catalogs() -> list[bytes]:
    """The example's file, and one entry of each kind under another name."""
    kinds: dict[str, str] = {}
    for path in sorted((Path(traces.__file__).parent / "catalog").glob("*.toml")):
        for part in re.split(r"^(?=\[\")", path.read_text(), flags=re.M)[1:]:
            kind = re.search(r'^kind = "(.*)"', part, re.M)
            if kind and len(part) < len(kinds.get(kind[1], "x" * 20_000)):
                kinds[kind[1]] = re.sub(r'^\["[a-z]+/', '["fuzz/', part)
    return [(_EXAMPLE / "catalog.toml").read_bytes(), *(text.encode() for text in kinds.values())]


TABLES: dict[str, tuple[Callable[[bytes], object], Callable[[], list[bytes]]]] = {
    "settings": (_table("settings", _settings), lambda: [(_EXAMPLE / "settings.toml").read_bytes()]),
    "catalog": (_table("catalog", _catalog), _catalogs),
    "headline": (_table("headline", _headline), lambda: [(_EXAMPLE / "headline.toml").read_bytes()]),
}
