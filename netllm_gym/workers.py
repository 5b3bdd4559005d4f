"""Calls in worker processes, on this machine (loky) or on a cluster (a joblib backend that the user has chosen)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import joblib


def results(calls: Sequence[Any], workers: int, ordered: bool = True) -> Iterator[Any]:
    """Run calls side by side and yield what they return.

    No backend is named, so that ``with joblib.parallel_config(backend="ray")`` moves the same work to a cluster.
    Ray's backend hands results over only when all are there, so it gets the work in waves.

    Args:
        calls: what `joblib.delayed` returns.
        workers: processes.
        ordered: yield in the order of `calls`, else as they finish.
    """
    if joblib.parallel.get_active_backend()[0].supports_return_generator:
        with _interrupts_held():  # the call starts the workers and returns at once
            stream = joblib.Parallel(
                n_jobs=workers, return_as="generator" if ordered else "generator_unordered", batch_size=1,
                initializer=_may_grow,
            )(calls)  # fmt: skip
        yield from stream
        return
    with joblib.Parallel(n_jobs=workers, batch_size=1) as parallel:
        for begin in range(0, len(calls), 2 * workers):
            yield from parallel(calls[begin : begin + 2 * workers])


def _may_grow() -> None:
    """Let this worker process grow, as it must when a language model comes after a rule.

    loky takes a worker that is 300 MB larger than after its first call for one that leaks (where psutil is installed):
    it warns, ends the worker, and the next one loads the model again. loky has no public setting for this. Workers
    started with this function serve our calls only, and they end five minutes after the last.
    """
    from joblib.externals.loky import process_executor

    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back SIGINT in this thread, and for good in the processes that the block starts.

    A terminal sends Ctrl-C to every process of its group. A worker that is hit by it prints a traceback of its own;
    only the parent can say what is kept, and it ends its workers itself. A Ctrl-C during the block arrives after it.
    Systems without signal masks (Windows) are left as they are.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Python 3.11's, begun inside the block, would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
