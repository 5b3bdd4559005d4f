"""Optional packages, guarded in one place: a missing one is one clear line that names the extra to install.

``require`` is called before any work is done; ``guarded`` wraps an import of a module of this package that imports
optional packages at its top.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from netllm_gym.errors import MissingExtraError

# Importable name -> the extra that installs it.
EXTRA_OF = {
    "torch": "llm",
    "transformers": "llm",
    "peft": "llm",
    "accelerate": "llm",
    "huggingface_hub": "llm",
    "d3rlpy": "rl",
    "structlog": "rl",
    "ray": "ray",
    "aiohttp": "testbed",
    "httpx": "testbed",
    "playwright": "testbed",
}
# What each extra is needed for at least; `require("llm", …)` checks these.
PACKAGES = {
    "llm": ("torch", "transformers", "peft", "accelerate"),
    "rl": ("torch", "d3rlpy"),
    "ray": ("ray",),
    "testbed": ("aiohttp", "httpx"),
}
# The one package of an extra without which none of its parts works (some of `llm` need torch alone).
CORE_OF = {"llm": "torch", "rl": "d3rlpy", "ray": "ray", "testbed": "aiohttp"}


def available(package: str) -> bool:
    """Whether `package` can be imported, without importing it."""
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def require(extra: str, purpose: str, *packages: str) -> None:
    """Check that an extra is installed, without importing anything.

    Args:
        extra: ``llm``, ``rl``, ``ray`` or ``testbed``.
        purpose: what the packages are needed for; the message begins with it.
        packages: only these; by default everything that the extra brings.

    Raises:
        MissingExtraError: a package is missing; the message says how to install it.
    """
    for package in packages or PACKAGES[extra]:
        if not available(package):
            raise MissingExtraError(extra, purpose)


def load(package: str, purpose: str) -> Any:
    """Import and return an optional package, e.g. ``torch = extras.load("torch", "viewport/gru")``.

    Raises:
        MissingExtraError: it is not installed.
    """
    with guarded(purpose):
        return importlib.import_module(package)


@contextmanager
def guarded(purpose: str) -> Iterator[None]:
    """Turn a missing optional package inside the block into :class:`MissingExtraError`; other errors pass."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise explain(error, purpose) or error from None


def explain(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """Return the one-line error for a missing optional package; ``None`` for any other module."""
    extra = EXTRA_OF.get((error.name or "").partition(".")[0])
    return None if extra is None or isinstance(error, MissingExtraError) else MissingExtraError(extra, purpose)
