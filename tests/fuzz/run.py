"""Fuzz every reader for as long as you like: ``make fuzz MINUTES=30``.

Each reader runs in a process of its own with a ceiling on memory and on the CPU seconds of one input. What is no answer
and no one-line error (a traceback, a hang, a crash) is kept under ``tests/fuzz/regressions``; the tests play it again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

from netllm_gym.errors import NetLLMGymError
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, whole

REGRESSIONS = Path(__file__).resolve().parent / "regressions"
CPU_S = 5  # of one input
MEMORY = 3 * 2**30
BATCH = 400


class Hang(Exception):
    """One input took too long."""


def failure(name: str, data: bytes) -> str | None:
    """Return what is wrong with how a reader answers to `data`, or ``None``."""
    read, _ = TARGETS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(data)
    except NetLLMGymError as error:
        text = str(error)
        if "\n" in text:
            return "a message of several lines"
        return f"a message of {len(text)} characters" if len(text) > 2000 else None
    except Hang:
        return "hang"
    except RecursionError:
        return "RecursionError"
    except MemoryError:
        return "MemoryError"
    except Exception as error:
        import traceback

        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    return None


def _hang(*_: object) -> None:
    raise Hang


def inputs(name: str, seed: int, first: int, count: int) -> list[bytes]:
    """Return inputs `first` to `first + count` of a reader; the same seed gives the same ones."""
    files = whole(name)
    out = []
    for number in range(first, first + count):
        rng = random.Random(f"{name}/{seed}/{number}")
        out.append(mutated(rng.choice(files), rng, files))
    return out


def batch(name: str, seed: int, first: int, count: int) -> list[tuple[str, bytes]]:
    """Play inputs in a child process; return the failures, a crash among them."""
    report_read, report_write = os.pipe()
    progress_read, progress_write = os.pipe()
    found = inputs(name, seed, first, count)
    child = os.fork()
    if child == 0:
        os.close(report_read)
        os.close(progress_read)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGVTALRM, _hang)
        with os.fdopen(report_write, "w") as report:
            for number, data in enumerate(found):
                os.write(progress_write, number.to_bytes(4, "little"))
                signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
                wrong = failure(name, data)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if wrong:
                    report.write(f"{number}\t{wrong}\n")
        os._exit(0)
    os.close(report_write)
    os.close(progress_write)
    with os.fdopen(report_read) as report:
        lines = report.read().splitlines()
    with os.fdopen(progress_read, "rb") as progress:
        last = progress.read()[-4:]
    _, status = os.waitpid(child, 0)
    failures = [(why, found[int(number)]) for number, _, why in (line.partition("\t") for line in lines)]
    if status:
        failures.append((f"the process died ({status})", found[int.from_bytes(last, "little")]))
    return failures


def keep(name: str, data: bytes) -> Path:
    """Store an input that failed."""
    REGRESSIONS.mkdir(exist_ok=True)
    path = REGRESSIONS / f"{name}--{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def main() -> int:
    """Run for some minutes or inputs; return 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--inputs", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=sorted(TARGETS))
    given = parser.parse_args()
    with contextlib.suppress(ImportError):
        import pandas  # noqa: F401 (before the forks)
    begin, played, kinds = time.monotonic(), 0, {}  # type: ignore[var-annotated]
    rounds = 0
    while time.monotonic() - begin < 60 * given.minutes and played < given.inputs:
        for name in given.only:
            for why, data in batch(name, given.seed, rounds * BATCH, BATCH):
                key = f"{name}: {why}"
                kinds[key] = kinds.get(key, 0) + 1
                if kinds[key] <= 2:
                    print(f"{key}: {keep(name, data)}", flush=True)
            played += BATCH
        rounds += 1
    used = time.monotonic() - begin
    wrong = sum(kinds.values())
    print(f"{played} inputs to {len(given.only)} readers in {used:.0f} s, seed {given.seed}: {wrong} failures")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
