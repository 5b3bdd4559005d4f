"""What long work shows while it runs: a bar where there is a count, lines where there is none; always on stderr.

A function that takes long accepts ``True`` (show it), ``False`` or ``None`` (quiet), or a function of its caller's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netllm_gym.randomness import borrowed_generators

with borrowed_generators():  # rich draws numbers for its styles while it is imported
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

Counted = Callable[[int, int], None]
Told = Callable[[str], None]


def bar_of(show: bool = True) -> Progress:
    """Return an empty bar with a description, a count, the time spent and the time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(file=sys.stderr), disable=not show,
    )  # fmt: skip


@contextmanager
def counted(what: str, progress: bool | Counted | None = True) -> Iterator[Counted]:
    """Yield a function of (done, in all) that moves a bar; nothing is drawn before it is first called.

    Args:
        what: the bar's description.
        progress: show the bar, or stay quiet, or a function that receives the counts instead.
    """
    if callable(progress):
        yield progress
        return
    bar = bar_of(bool(progress))
    task = bar.add_task(what, total=None)
    drawn = False

    def move(done: int, total: int) -> None:
        nonlocal drawn
        if not total:  # nothing to do is nothing to show
            return
        bar.update(task, completed=done, total=total)
        if not drawn:
            bar.start()
            drawn = True

    try:
        yield move
    finally:
        if drawn:
            bar.stop()


def teller(say: bool | Told | None) -> Told:
    """Return a function that prints a line on stderr, or nothing, or the caller's own."""
    if callable(say):
        return say
    return (lambda line: print(f"  {line}", file=sys.stderr, flush=True)) if say else (lambda line: None)
