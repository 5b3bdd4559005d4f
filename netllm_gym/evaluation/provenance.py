"""Where numbers come from: versions, revision, digests, and the command that makes them again."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.evaluation.settings import Setting
from netllm_gym.evaluation.specs import code_digest
from netllm_gym.versions import versions


def git_revision() -> str | None:
    """Revision of the checkout that this package runs from (``…+changes`` if not clean), or ``None``."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installed package may lie inside somebody else's repository (a virtual environment): only our own
    # file counts.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    revision = git("rev-parse", "HEAD")
    return f"{revision}+changes" if revision and git("status", "--porcelain", "-uno") else revision


def call_text(call: Mapping[str, Any]) -> str:
    """Return the Python call that repeats an evaluation."""

    def shown(value: Any) -> str:
        if isinstance(value, Agent):
            return f"{type(value).__name__}(...)"
        if isinstance(value, Setting):
            return value.call()
        if isinstance(value, list):
            return f"[{', '.join(map(shown, value))}]"
        return repr(str(value)) if isinstance(value, Path) else repr(value)

    given = {key: value for key, value in call.items() if value is not None and value != []}
    return f"netllm_gym.evaluate({', '.join(f'{key}={shown(value)}' for key, value in given.items())})"


def record(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says about an evaluation's origin."""
    return {
        "versions": versions(),
        "revision": git_revision(),
        "code": code_digest(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "call": call_text(call),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
