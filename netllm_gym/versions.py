"""The version of this package, and those of the packages that numbers and datasets may depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

VERSION = "0.1.0"
PACKAGES = (
    "netllm-gym", "numpy", "gymnasium", "minari", "numba", "simpy", "torch", "transformers", "peft", "d3rlpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of those of :data:`PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
