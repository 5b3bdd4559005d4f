"""Shared fixtures: a cache and a dataset folder of the test run's own, and the public traces where they can be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netllm_gym import traces
from netllm_gym.errors import DownloadError

ROOT = Path(__file__).resolve().parent.parent


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
