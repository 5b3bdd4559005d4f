"""The rule that makes a test a test: code that trains or chooses cannot open a test split.

Everything that learns comes through here: :func:`netllm_gym.traces.load` refuses the test split inside
:func:`training`, and data that say which split they were cut from are refused by :func:`refuse_test` wherever they are
about to be learned from. How often a test split has been *scored* is counted elsewhere
(:mod:`netllm_gym.evaluation.use_counts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from netllm_gym.errors import ConfigError

# ``all`` holds the test split too.
CLOSED = ("test", "all")
_training: ContextVar[str] = ContextVar("training", default="")


def refuse_test(split: str | None, what: str) -> None:
    """Refuse to learn from `split`.

    Args:
        split: as of :func:`netllm_gym.traces.load`; ``None`` or empty for data that belong to no split.
        what: who wants it, the subject of the message.

    Raises:
        ConfigError: the split is ``test``, or ``all``, which contains it.
    """
    if split in CLOSED:
        raise ConfigError(f"{what} uses split 'train' or 'valid', never {split!r}: test traces are for evaluation only")


@contextmanager
def training(what: str = "training") -> Iterator[None]:
    """Within this block :func:`netllm_gym.traces.load` refuses test splits, whoever asks."""
    token = _training.set(what)
    try:
        yield
    finally:
        _training.reset(token)


def check_opening(split: str) -> None:
    """Raise if the code that is running is training and `split` is closed to it."""
    if what := _training.get():
        refuse_test(split, what)
