"""What commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netllm_gym.errors import ConfigError
from netllm_gym.files import finite

console = Console(highlight=False)
# Progress and remarks go to stderr, so that stdout stays what a script may read.
remarks = Console(stderr=True, highlight=False)


@contextmanager
def others_code() -> Iterator[None]:
    """Run code that others wrote: what it prints goes to stderr, worker processes included, and the folder stays."""
    folder = os.getcwd()
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # no stdout at all
        kept = -1
    try:
        if kept >= 0:
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)
        os.chdir(folder)


def say_notes(notes: Iterable[str]) -> None:
    """Say on stderr what was guessed, repaired or skipped while a user's traces were read."""
    for sentence in notes:
        remarks.print(f"traces: {sentence}", markup=False, soft_wrap=True)


def emit(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows as a table, or as a JSON list."""
    if as_json:
        print(json.dumps(finite([dict(row) for row in rows]), indent=2, default=str))
        return
    if not rows:
        console.print("none")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    least = 0
    for column in rows[0]:
        # A column never gets narrower than its longest word, so that no word is cut in two.
        words = (
            word for text in (column, *(_text(row[column]) for row in rows)) for word in re.split(r"[ \n]+", str(text))
        )
        longest = min(24, max((len(word) for word in words), default=1))
        least += longest + 2
        table.add_column(str(column), overflow="fold", min_width=longest)
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row.values()))  # as it is: brackets are no markup
    # Where even that is too wide, lines run on: nothing is left out.
    console.print(table, width=max(console.width, least), crop=False, soft_wrap=False)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _elsewhere(values: list[str] | None) -> list[str] | None:
    if values:
        raise ConfigError("--set gives options of a recipe or model; the environment takes --env-arg key=value")
    return values


# One meaning everywhere: `--set` is for what is trained or measured, `--env-arg` for the environment.
Options = Annotated[list[str] | None, typer.Option("--set", help="Option of the recipe or model, key=value; repeat.")]
EnvArgs = Annotated[list[str] | None, typer.Option("--env-arg", help="Argument of the environment, key=value; repeat.")]
# On commands that train nothing, the `--set` of before is refused by name.
NoOptions = Annotated[list[str] | None, typer.Option("--set", hidden=True, callback=_elsewhere)]


def parse_settings(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Parse ``key=value`` options; values are JSON where they parse as JSON, else text.

    Args:
        pairs: what was given.
        option: the option's name, for the error.

    Raises:
        ConfigError: an option without ``=``.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{option} takes key=value, got {pair!r}")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            # Numbers that people write and JSON does not know; what has leading zeros may be a name.
            bare = re.fullmatch(r"[+-]?(\.\d+|(0|[1-9]\d*)\.)", value)
            parsed[key] = float(value) if bare else {"True": True, "False": False, "None": None}.get(value, value)
    return parsed
