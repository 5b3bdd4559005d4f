"""A task table of Alibaba's size: ``python benchmarks/large_task_table.py [--rows 14000000]``.

Writes a synthetic ``batch_task.csv`` of so many rows (2018's has 14 million), reads it in a process of its own and
prints CPU seconds and the peak of its memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READ = """
import resource, sys, time
from pathlib import Path
from netllm_gym.traces.jobs.readers.alibaba import read_alibaba_file
begin, repairs = time.process_time(), {}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
workload = read_alibaba_file(Path(sys.argv[1]), "table", repairs)
used, peak = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{len(workload.templates)} jobs kept, {used:.1f} s of CPU, peak {peak / 1024:.0f} MiB "
      f"({before / 1024:.0f} MiB before reading); {repairs}")
"""


def write_table(path: Path, rows: int) -> None:
    """Write jobs of one to eight tasks in a chain, a few of them failed, one in two seconds."""
    with path.open("w", encoding="ascii") as file:
        job = written = 0
        while written < rows:
            lines = []
            for _ in range(5000):
                job += 1
                state = "Failed" if job % 97 == 0 else "Terminated"
                for task in range(1 + job % 8):
                    name = f"M{task + 1}_{task}" if task else "M1"
                    at = job // 2 + 10 * task
                    lines.append(f"{name},{1 + job % 5},j_{job},1,{state},{at},{at + 1 + job % 60},100,0.5\n")
            lines = lines[: rows - written]
            written += len(lines)
            file.writelines(lines)


def main() -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=14_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch_task.csv"
        begin = time.process_time()
        write_table(path, rows)
        print(f"{rows} rows, {path.stat().st_size / 2**20:.0f} MiB, written in {time.process_time() - begin:.0f} s")
        subprocess.run([sys.executable, "-c", READ, str(path)], check=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**20 * 1024


if __name__ == "__main__":
    main()
