"""Calls in worker processes: their order, and Ctrl-C, which is the parent's affair."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

import pytest
from joblib import delayed
from joblib.externals.loky import get_reusable_executor

from netllm_gym.workers import results


def _square(number: int) -> int:
    return number * number


def _grow(megabytes: int) -> int:
    _kept[:] = [b"x" * (megabytes * 1_000_000)]
    time.sleep(1.1)  # loky looks at a worker's memory once a second
    return os.getpid()


_kept: list[bytes] = []


def _is_held(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_or_as_they_finish(workers: int) -> None:
    calls = [delayed(_square)(number) for number in range(9)]
    assert list(results(calls, workers)) == [number * number for number in range(9)]
    assert sorted(results(calls, workers, ordered=False)) == [number * number for number in range(9)]
    assert list(results([], workers)) == []


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no signal masks")
@pytest.mark.parametrize("ordered", [True, False])
def test_workers_never_hear_ctrl_c_and_the_parent_does(ordered: bool) -> None:
    get_reusable_executor().shutdown(wait=True)  # other tests' workers: these shall be started here
    assert all(results([delayed(_is_held)(number) for number in range(4)], 2, ordered))
    assert threading.current_thread() is threading.main_thread()
    assert not _is_held(0)


def test_a_worker_that_loads_a_large_model_later_goes_on() -> None:
    get_reusable_executor().shutdown(wait=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what counts is that no worker was replaced
        before = set(results([delayed(_grow)(0) for _ in range(2)], 2))
        assert set(results([delayed(_grow)(350) for _ in range(4)], 2)) <= before
    get_reusable_executor().shutdown(wait=True)  # and their memory with them
