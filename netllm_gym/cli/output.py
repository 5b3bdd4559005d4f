"""What commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from netllm_gym.errors import ConfigError

console = Console(highlight=False)
# Progress and remarks go to stderr, so that stdout stays what a script may read.
remarks = Console(stderr=True, highlight=False)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, in all) that moves a bar on stderr; nothing is drawn before it is first called."""
    bar = Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=remarks)
    task = bar.add_task(what, total=None)
    drawn = False

    def move(done: int, total: int) -> None:
        nonlocal drawn
        bar.update(task, completed=done, total=total)
        if not drawn:
            bar.start()
            drawn = True

    try:
        yield move
    finally:
        if drawn:
            bar.stop()


def emit(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows as a table, or as a JSON list."""
    if as_json:
        print(json.dumps([dict(row) for row in rows], indent=2, default=str))
        return
    if not rows:
        console.print("none")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(str(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row.values()))  # as it is: brackets are no markup
    console.print(table)


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` options; values are JSON where they parse as JSON, else text.

    Raises:
        ConfigError: an option without ``=``.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, got {pair!r}")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = {"True": True, "False": False, "None": None}.get(value, value)
    return parsed
