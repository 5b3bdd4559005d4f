"""Train the zoo again: run the commands that each agent's recipe records, one after the other."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from netllm_gym.errors import ConfigError
from netllm_gym.files import make_folder, write_text
from netllm_gym.zoo import ZooEntry

CHECKOUT = Path(__file__).resolve().parents[2]


def command_line(command: str, out: Path, run: Path) -> list[str]:
    """Return the arguments of a recipe's command, with ``{out}`` and ``{run}`` filled in and this Python in front.

    Raises:
        ConfigError: it is neither a command of this package nor a script of its benchmarks, or the script is not here.
    """
    words = [word.replace("{out}", str(out)).replace("{run}", str(run)) for word in shlex.split(command)]
    if words[:1] == ["netllm-gym"]:
        return [sys.executable, "-m", "netllm_gym.cli", *words[1:]]
    if words[:1] == ["python"] and len(words) > 1 and words[1].startswith("benchmarks/") and ".." not in words[1]:
        if not (CHECKOUT / words[1]).is_file():
            raise ConfigError(f"the recipe runs {words[1]}, which only a checkout of the repository holds")
        return [sys.executable, str(CHECKOUT / words[1]), *words[2:]]
    raise ConfigError(f"a recipe runs netllm-gym or python benchmarks/…, not {command!r}")


def retrain(entry: ZooEntry, folder: Path, say: Callable[[str], None]) -> Path:
    """Run the recipe of `entry` below `folder`; return the checkpoint folder. Finished commands are not run again.

    The output of the commands goes to ``log.txt`` beside the checkpoint.

    Raises:
        ConfigError: a command that is not allowed, or one that failed; the message names its log.
    """
    folder = folder.resolve()
    out, run, log = folder / "checkpoint", folder / "run", folder / "log.txt"
    make_folder(run)
    package = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    for number, command in enumerate(entry.commands):
        arguments = command_line(command, out, run)
        done = folder / f"done-{number}"
        if done.is_file() and done.read_text(encoding="utf-8") == command:
            say(f"{entry.label}: done before: {command}")
            continue
        say(f"{entry.label}: {command}")
        with log.open("a", encoding="utf-8") as sink:
            sink.write(f"$ {command}\n")
            sink.flush()
            status = subprocess.run(
                arguments, cwd=folder, stdout=sink, stderr=sink, env={**os.environ, "PYTHONPATH": package}
            ).returncode
        if status:
            raise ConfigError(f"{entry.label}: {command!r} ended with {status}; see {log}")
        write_text(done, command)
    return out
