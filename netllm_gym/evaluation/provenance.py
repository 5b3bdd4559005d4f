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

from netllm_gym.agents import registry
from netllm_gym.agents.base import Agent
from netllm_gym.evaluation.settings import Setting
from netllm_gym.evaluation.specs import code_digest
from netllm_gym.plugins import is_own
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
    """Return Python that repeats an evaluation as it stands; what cannot be written down is said in a comment.

    The folder of the results is left out (finished episodes would be taken from it instead of being played again), and
    so is the number of processes, on which nothing depends.
    """
    loaded, notes = False, []

    def shown(value: Any) -> str:
        nonlocal loaded
        if isinstance(value, Agent):
            notes.append(f"# {type(value).__name__} is your own agent: build it here as you did.")
            return f"{type(value).__name__}(...)"
        if isinstance(value, Setting):
            loaded = True
            return value.call()
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{key!r}: {shown(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(shown, value))}]"
        if value is None or isinstance(value, bool | int | float | str | Path):
            return repr(str(value)) if isinstance(value, Path) else repr(value)
        notes.append(f"# the {type(value).__name__} was given as an object: put it here.")
        return "..."

    given = {key: value for key, value in call.items() if key not in ("out", "workers")}
    if isinstance(given.get("setting"), Setting):
        del given["env"]  # the setting brings it
    if isinstance(given.get("agents"), list):
        for agent in given["agents"]:
            name = agent.get("name") if isinstance(agent, Mapping) else agent
            if isinstance(name, str) and (factory := registry.factory(name)) is not None and not is_own(factory):
                where = getattr(factory, "__module__", "your code")
                notes.append(f"# {name} is registered by {where}: import it first.")
    arguments = [f"    {key}={shown(value)}," for key, value in given.items() if value is not None and value != []]
    head = ["import netllm_gym"]
    if loaded:
        head.append("from netllm_gym.evaluation import Setting, load_setting")
    return "\n".join([*head, "", *notes, "result = netllm_gym.evaluate(", *arguments, ")", "print(result.summary())"])


def _command() -> str:
    name = Path(sys.argv[0]).name
    return shlex.join([*(("python", "-m", "netllm_gym") if name == "__main__.py" else (name,)), *sys.argv[1:]])


def record(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says about an evaluation's origin."""
    return {
        "versions": versions(),
        "revision": git_revision(),
        "code": code_digest(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": _command(),
        "call": call_text(call),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
