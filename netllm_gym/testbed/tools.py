"""The programs the testbed runs, and how to get those that are missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from netllm_gym.errors import ConfigError

FFMPEG = "ffmpeg is missing: apt install ffmpeg, or pip install 'netllm-gym[testbed]', whose imageio-ffmpeg brings one"
CHROMIUM = "Chromium is missing: apt install chromium (or set NETLLM_GYM_CHROMIUM to its path)"
NPM = "npm is missing: apt install npm (node comes with it; it brings the dash.js player once)"
ROOT = "the kernel link needs Linux, root and iproute2: run as root and apt install iproute2, or use --link embedded"


def ffmpeg() -> str:
    """Return the path of ffmpeg: the system's, or the one inside the imageio-ffmpeg wheel.

    Raises:
        ConfigError: there is neither.
    """
    if path := shutil.which("ffmpeg"):
        return path
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise ConfigError(FFMPEG) from None


def chromium() -> str:
    """Return the path of Chromium or Chrome.

    Raises:
        ConfigError: there is none.
    """
    if named := os.environ.get("NETLLM_GYM_CHROMIUM"):
        if Path(named).is_file():
            return named
        raise ConfigError(f"NETLLM_GYM_CHROMIUM names no file: {named}")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise ConfigError(CHROMIUM)


def npm() -> str:
    """Return the path of npm.

    Raises:
        ConfigError: it is missing.
    """
    if path := shutil.which("npm"):
        return path
    raise ConfigError(NPM)


def need_kernel() -> None:
    """Check that network namespaces and queueing disciplines can be made.

    Raises:
        ConfigError: not Linux, not root, or no iproute2.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        raise ConfigError(ROOT)
