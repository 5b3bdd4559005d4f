"""Shared fixtures: a cache and a dataset folder of the test run's own, and the public traces where they can be had.

What needs an optional extra that is not installed is skipped with its reason: a module that imports one of the extra's
packages, and a test or module marked with the extra's name (``@pytest.mark.llm``). Everything else runs without extras.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from netllm_gym import extras, traces
from netllm_gym.errors import DownloadError, MissingExtraError
from netllm_gym.evaluation import canvas

ROOT = Path(__file__).resolve().parent.parent


class ModuleOfExtras(pytest.Module):
    """A test module that is skipped where it imports an optional package that is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return list(super().collect())
        except self.CollectError as error:
            cause = error.__cause__
            missing = cause if isinstance(cause, MissingExtraError) else None
            if isinstance(cause, ModuleNotFoundError):
                missing = extras.explain(cause, self.name)
            if missing is None:
                raise
            pytest.skip(str(missing), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return ModuleOfExtras.from_parent(parent, path=module_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for extra, package in extras.CORE_OF.items():
        if item.get_closest_marker(extra) and not extras.available(package):
            pytest.skip(f"needs the extra [{extra}]")


@pytest.fixture(scope="session", autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory):
    """Keep the user's cache and datasets out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETLLM_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        patch.setenv("OMP_NUM_THREADS", "1")
        beside = ROOT.parent / "shared" / "mirror"
        if "NETLLM_GYM_MIRROR" not in os.environ and (beside / "INDEX.json").is_file():
            patch.setenv("NETLLM_GYM_MIRROR", beside.as_uri())
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_letters():
    """Draw the letters of PDFs instead of cutting a font to size, which takes half the time of a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(canvas._STYLE, "pdf.fonttype", 3)
        yield


@pytest.fixture(scope="session")
def fcc_hsdpa() -> str:
    """Name of the public FCC/HSDPA set, fetched from the local mirror; the test is skipped where there is none."""
    mirror = os.environ.get("NETLLM_GYM_MIRROR", "")
    if not mirror.startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    try:
        traces.fetch("abr/fcc-hsdpa")
    except DownloadError as error:
        pytest.skip(str(error))
    return "abr/fcc-hsdpa"
