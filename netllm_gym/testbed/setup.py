"""Bring what the testbed needs besides Python: programs by apt where that works, dash.js by npm."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.testbed import dashjs, tools

# Programs, which Debian's packages are called like, and what looks for them.
PROGRAMS = (("ffmpeg", tools.ffmpeg), ("chromium", tools.chromium), ("npm", tools.npm))
IPROUTE2 = "iproute2"
# Without a network apt must give up soon.
_LIMITS = ("Acquire::http::Timeout=10", "Acquire::https::Timeout=10", "Acquire::Retries=0")
APT = ("apt-get", "-qq", *(word for limit in _LIMITS for word in ("-o", limit)))


def survey() -> list[dict[str, str]]:
    """One row per program of the testbed: what it is, where it is or how to get it (for ``netllm-gym doctor``)."""
    rows = []
    for what, find in PROGRAMS:
        try:
            value = find()
        except ConfigError as error:
            value = f"missing: {error}"
        rows.append({"what": what, "value": value, "needed by": "testbed"})
    value = str(dashjs.path()) if dashjs.present() else "missing: netllm-gym testbed setup (npm brings it once)"
    rows.append({"what": "dash.js", "value": value, "needed by": "testbed --client dash.js"})
    try:
        tools.need_kernel()
        value = "yes"
    except ConfigError as error:
        value = f"no: {error}"
    rows.append({"what": "kernel link", "value": value, "needed by": "testbed --link kernel"})
    return rows


def missing() -> list[str]:
    """Debian packages of the programs that are not there."""
    names = []
    for package, find in PROGRAMS:
        try:
            find()
        except ConfigError:
            names.append(package)
    if not (shutil.which("tc") and shutil.which("ip")):
        names.append(IPROUTE2)
    # dash.js is kept, so npm is needed once only.
    return [name for name in names if name != "npm" or not dashjs.present()]


def _apt(words: Sequence[str], timeout_s: float | None) -> str:
    """Run apt; return why it did not work, or nothing."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            [*APT, *words], capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return " ".join(done.stderr.split())[-160:] or f"exit code {done.returncode}" if done.returncode else ""


def install(packages: Sequence[str], timeout_s: float = 600.0) -> str:
    """Install Debian packages; return why it could not be done, or nothing.

    What can take long, the download, ends after `timeout_s`; the unpacking after it is never interrupted, because a
    half-unpacked package would have to be repaired by hand.
    """
    if os.geteuid() != 0:
        return "not root"
    if not shutil.which("apt-get"):
        return "no apt-get"
    end = time.monotonic() + timeout_s
    if reason := _apt(["update"], timeout_s):
        return f"apt-get update: {reason}"
    reasons = []
    for package in packages:  # one by one: one that conflicts with what is there must not keep the others out
        words = ["install", "-y", "--no-install-recommends"]
        reason = _apt([*words, "--download-only", package], max(end - time.monotonic(), 1.0)) or _apt(
            [*words, package], None
        )
        reasons += [f"{package}: {reason}"] if reason else []
    return "; ".join(reasons)


def setup(say: Callable[[str], None] = lambda line: None, timeout_s: float = 600.0) -> list[dict[str, str]]:
    """Bring what is missing, if possible; return a row per program, as ``netllm-gym doctor`` shows them.

    Args:
        say: told what takes long.
        timeout_s: for apt's downloads.
    """
    if packages := missing():
        say(f"installing {', '.join(packages)}")
        if reason := install(packages, timeout_s):
            say(f"could not be installed ({reason})")
    try:
        dashjs.bring(say)
    except (ConfigError, DownloadError) as error:
        say(str(error))
    return survey()


def browser_ready() -> str:
    """Return why ``--client dash.js`` cannot play here, or nothing."""
    try:
        tools.chromium()
    except ConfigError as error:
        return str(error)
    return "" if dashjs.present() else "dash.js is missing: netllm-gym testbed setup"
