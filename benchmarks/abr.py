"""How fast ABR is, as ratios against published simulators measured in the same run.

    python benchmarks/abr.py                                  # against the loop their simulators share, see below
    python benchmarks/abr.py --optiverse DIR --genet DIR --sabr DIR

``DIR`` are checkouts of tinyzqh/OptiVerse, GenetProject/Genet and luopeng69131/SABR (which needs g++ and
``pip install pybind11``). Nothing of theirs is copied here. What is not given is left out of the table; its ratio is
then computed against the loop: our own Python of the semantics that all Pensieve-derived simulators share (walk the
trace piece by piece), scaled by the ratio that the peer had to such a loop when both were measured in one run.

All peers play the same traces, video and levels as we do. Times are CPU seconds of this process, the best of
several repetitions taken in turns, so that a busy machine hurts all alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
from numba import njit

import netllm_gym.traces as trace_room
from netllm_gym.agents.abr.mpc import choose, choose_many
from netllm_gym.envs.abr.planner import optimum
from netllm_gym.traces import NetworkTrace, VideoManifest

# Rate of the peer over that of our loop (below), measured by this script in one run (pensieve-classic traces, two-core
# machine); used, and marked, only where the peer itself is not given.
OVER_LOOP = {"OptiVerse": 54_417 / 684_905, "SABR": 2_444_011 / 684_905, "Genet MPC": 5_045 / 684_905}
Work = Callable[[], int]


def measure(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Best rate (items per CPU second) of each work over `rounds`, the works taking turns."""
    best: dict[str, float] = {}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            items, start = 0, time.process_time()
            while (spent := time.process_time() - start) < 0.5:  # the CPU clock may tick as slowly as every 10 ms
                items += work()
            best[name] = max(best.get(name, 0.0), items / spent)
    return best


def cooked(trace: NetworkTrace) -> tuple[list[float], list[float]]:
    """A trace as published simulators hold it: times from 0, and the rate up to each time; the first is not read."""
    return [0.0, *trace.end_s.tolist()], [0.0, *trace.throughput_mbps.tolist()]


class Loop:
    """The semantics of Pensieve's simulator as a walk over the trace, the way its descendants do it."""

    def __init__(self, traces: list[NetworkTrace], video: VideoManifest) -> None:
        self.traces = [cooked(trace) for trace in traces]
        self.sizes = video.chunk_bytes.tolist()
        self.index = -1
        self.begin()

    def begin(self) -> None:
        self.index = (self.index + 1) % len(self.traces)
        self.times, self.rates = self.traces[self.index]
        self.piece, self.clock, self.buffer, self.chunk = 1, 0.0, 0.0, 0

    def pass_piece(self) -> None:
        self.clock = self.times[self.piece]
        self.piece += 1
        if self.piece >= len(self.times):
            self.piece, self.clock = 1, 0.0

    def step(self, level: int) -> tuple[float, float, float, list[float], bool]:
        left, delay = self.sizes[self.chunk][level], 0.0
        while True:
            speed = self.rates[self.piece] * 118750.0
            span = self.times[self.piece] - self.clock
            if speed * span > left:
                delay += left / speed
                self.clock += left / speed
                break
            left -= speed * span
            delay += span
            self.pass_piece()
        delay += 0.08
        stall = max(delay - self.buffer, 0.0)
        self.buffer = max(self.buffer - delay, 0.0) + 4.0
        if self.buffer > 60.0:
            sleep = np.ceil((self.buffer - 60.0) / 0.5) * 0.5
            self.buffer -= sleep
            while self.times[self.piece] - self.clock <= sleep:
                sleep -= self.times[self.piece] - self.clock
                self.pass_piece()
            self.clock += sleep
        buffer = self.buffer
        self.chunk += 1
        over = self.chunk == len(self.sizes)
        if over:
            self.begin()
        return delay, stall, buffer, self.sizes[self.chunk], over


def optiverse(checkout: Path, traces: list[NetworkTrace], levels: list[int]) -> Work:
    """Its Gymnasium environment, given our traces after construction."""
    # The file alone: its package also imports environments that have nothing to do with video.
    place = checkout / "OptiVerse/envs/video/VideoStreaming.py"
    spec = importlib.util.spec_from_file_location("optiverse_video", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env = module.VideoStreamingEnv("test", "hybrid", "normal", 0)
    own = [cooked(trace) for trace in traces]
    env.time_traces, env.bandwidth_traces = [t for t, _ in own], [r for _, r in own]
    env.trace_index, env.current_trace_times, env.current_bandwidth = 0, *own[0]
    env.bandwidth_ptr, env.last_bandwidth_time = 1, 0.0

    def work() -> int:
        env.reset()
        for level in levels:
            if env.step(level)[2]:
                env.reset()
        return len(levels)

    return work


def sabr(checkout: Path, folder: Path, traces: list[NetworkTrace], video: VideoManifest, levels: list[int]) -> Work:
    """Its C++ simulator through pybind11, compiled here with its own flags (-O4) for its 3G ladder."""
    import pybind11  # type: ignore[import-not-found]

    source = checkout / "build_env_c_plus"
    sizes = folder / "size_"
    for level in range(video.levels):
        Path(f"{sizes}{level}").write_text("\n".join(str(int(x)) for x in video.chunk_bytes[:, level]) + "\n")
    # Only the place of the video files and the ladder differ from its own build; both are compile-time there.
    text = (source / "config.h").read_text().replace("#define DATASET_OPTION 30", "#define DATASET_OPTION 20")
    (folder / "config.h").write_text(
        text.replace('VIDEO_SIZE_FILE = VIDEO_DIR + "/envivio_3g/video_size_"', f'VIDEO_SIZE_FILE = "{sizes}"')
    )
    for name in ("env_rl.h", "env_rl.cc"):
        (folder / name).write_text((source / name).read_text())
    target = folder / f"libmpccorerl{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{sysconfig.get_paths()['include']}", f"-I{pybind11.get_include()}"]
    flags = ["-O4", "-shared", "-std=c++11", "-fPIC", "-w", *includes]
    subprocess.run(["c++", *flags, str(folder / "env_rl.cc"), "-o", str(target)], check=True)
    sys.path.insert(0, str(folder))
    import libmpccorerl  # type: ignore[import-not-found]

    own = [cooked(trace) for trace in traces]
    env = libmpccorerl.Environment([t for t, _ in own], [r for _, r in own], 42, 0.0, False)

    def work() -> int:
        chunk = env.get_video_chunk
        for level in levels:
            chunk(level, False)
        return len(levels)

    return work


def genet(
    checkout: Path, video: VideoManifest, states: list[tuple[int, float, float, int]]
) -> tuple[Work, list[int], float]:
    """Its compiled enumeration of all plans, called as its agent calls it; its decisions; its weight of a stall."""
    sys.path.insert(0, str(checkout / "src"))
    from simulator.abr_simulator.constants import REBUF_PENALTY  # type: ignore[import-not-found]
    from simulator.abr_simulator.mpc import calculate_rebuffer  # type: ignore[import-not-found]

    sizes = np.ascontiguousarray(video.chunk_bytes.T)
    ladder = np.array([300, 750, 1200, 1850, 2850, 4300])
    decisions: list[int] = []

    def work() -> int:
        decisions[:] = [
            int(calculate_rebuffer(sizes, 5, buffer, last, chunk - 1, mbps / 8.0, ladder, None))
            for chunk, mbps, buffer, last in states
        ]
        return len(states)

    return work, decisions, float(REBUF_PENALTY)


def best_by_first(video: VideoManifest, state: tuple[int, float, float, int], stall_weight: float) -> np.ndarray:
    """Value of the best plan over five chunks that begins with each level, by trying all."""
    chunk, mbps, buffer, last = state
    ladder = video.bitrates_kbps / 1000.0
    best = np.full(video.levels, -np.inf)
    for plan in itertools.product(range(video.levels), repeat=5):
        ahead, value, before = buffer, 0.0, last
        for size, level in zip(video.chunk_bytes[chunk : chunk + 5], plan, strict=True):
            seconds = size[level] / (mbps * 125000.0)
            value += ladder[level] - abs(ladder[level] - ladder[before]) - stall_weight * max(seconds - ahead, 0.0)
            ahead, before = max(ahead - seconds, 0.0) + 4.0, level
        best[plan[0]] = max(best[plan[0]], value)
    return best


@njit
def buffer_rule(throughputs, delays, buffer_s, last, next_bytes, left):
    """BBA's map from buffer to level."""
    return 0 if buffer_s < 5.0 else 5 if buffer_s >= 15.0 else int(0.5 * (buffer_s - 5.0))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--traces", default="abr/synthetic", help="catalog name; peers play the same")
    parser.add_argument("--split", default="test")
    parser.add_argument("--envs", type=int, default=1024, help="environments of the batch")
    parser.add_argument("--rounds", type=int, default=5)
    for peer in ("optiverse", "sabr", "genet"):
        parser.add_argument(f"--{peer}", type=Path, metavar="DIR", help=f"checkout of {peer}")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    kwargs = {"traces": options.traces, "split": options.split, "video": "envivio-dash3"}
    traces, video = list(trace_room.load(options.traces, options.split)), trace_room.load_video("envivio-dash3")
    rng = np.random.default_rng(0)
    levels = rng.integers(video.levels, size=20_000).tolist()
    table = rng.integers(video.levels, size=(47, options.envs))

    single = gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs).unwrapped
    batch = gym.make_vec("netllm_gym/ABR-v0", options.envs, vectorization_mode="vector_entry_point", **kwargs)

    def play_single() -> int:
        single.reset(seed=0)
        for level in levels:
            if single.step(level)[2]:
                single.reset()
        return len(levels)

    batch.reset(seed=0)
    silent = gym.make_vec(
        "netllm_gym/ABR-v0", options.envs, vectorization_mode="vector_entry_point", tell=False, **kwargs
    )
    silent.reset(seed=0)
    plain = gym.make_vec(
        "netllm_gym/ABR-v0", options.envs, vectorization_mode="vector_entry_point", backend="numpy", **kwargs
    )
    plain.reset(seed=0)

    def steps_of(env) -> Work:
        def work() -> int:
            for row in table:
                env.step(row)
            return table.size

        return work

    def roll(choice) -> Work:
        def work() -> int:
            batch.reset()
            return batch.rollout(choice)[0].size

        return work

    states = [
        (int(rng.integers(1, 43)), float(rng.uniform(0.3, 5)), float(rng.uniform(4, 40)), int(rng.integers(6)))
        for _ in range(400)
    ]
    columns = [np.array(column) for column in zip(*states, strict=True)]
    ladder = video.bitrates_kbps / 1000.0
    ours: list[int] = []
    stall_weight = 4.3  # or Genet's, when it is measured

    def decide_single() -> int:
        ours[:] = [
            choose(video.chunk_bytes[c : c + 5], ladder, stall_weight, 1.0, 4.0, mbps * 125000.0, buffer, last)
            for c, mbps, buffer, last in states
        ]
        return len(states)

    def decide_batch() -> int:
        chunk, mbps, buffer, last = columns
        choose_many(video.chunk_bytes, chunk, 5, ladder, stall_weight, 1.0, 4.0, mbps * 125000.0, buffer, last)
        return len(states)

    loop = Loop(traces, video)

    def play_loop() -> int:
        for level in levels:
            loop.step(level)
        return len(levels)

    planned = min(len(traces), 40)

    def plan() -> int:
        for i in range(planned):
            single.reset(options={"trace": i})
            optimum(single)
        return planned

    works: dict[str, Work] = {
        "single env, Gymnasium step": play_single,
        "batched env, Gymnasium step": steps_of(batch),
        "batched env, step without infos": steps_of(silent),
        "batched env on NumPy, step": steps_of(plain),
        "batched env, table of levels": roll(table),
        "batched env, compiled rule": roll(buffer_rule),
        "RobustMPC, one at a time": decide_single,
        "RobustMPC, batched": decide_batch,
        "optimum (videos)": plan,
        "loop": play_loop,
    }
    measured: set[str] = set()
    theirs: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.optiverse:
            works["OptiVerse"] = optiverse(options.optiverse, traces, levels)
        if options.sabr:
            works["SABR"] = sabr(options.sabr, Path(folder), traces, video, levels)
        if options.genet:
            works["Genet MPC"], theirs, stall_weight = genet(options.genet, video, states)
        measured = set(works)
        rates = measure(works, options.rounds)
    for peer, ratio in OVER_LOOP.items():
        rates.setdefault(peer, rates["loop"] * ratio)

    load = os.getloadavg()[0]
    print(f"{options.traces} {options.split}: {len(traces)} traces; {options.envs} environments; load {load:.1f}")
    for name, rate in rates.items():
        note = "" if name in measured else "   (not measured: scaled from the loop)"
        print(f"  {name:32s} {rate:14,.0f} /s{note}")
    print("ratios")
    for name, peer, aim in (
        ("single env, Gymnasium step", "OptiVerse", 4),
        ("batched env, Gymnasium step", "OptiVerse", 200),
        ("batched env on NumPy, step", "OptiVerse", None),
        ("batched env, table of levels", "OptiVerse", 200),
        ("batched env, Gymnasium step", "SABR", 7),
        ("batched env, step without infos", "SABR", 7),
        ("batched env, table of levels", "SABR", 7),
        ("batched env, compiled rule", "SABR", 7),
        ("RobustMPC, one at a time", "Genet MPC", 20),
        ("RobustMPC, batched", "Genet MPC", 20),
    ):
        note = ("" if aim is None else f", aim {aim} x") + ("" if peer in measured else " (scaled)")
        print(f"  {name:32s} / {peer:10s} {rates[name] / rates[peer]:8.1f} x{note}")
    print(f"  optimum: {1000 / rates['optimum (videos)']:.1f} ms a video, aim under 20 ms")
    if theirs:
        other = [k for k in range(len(ours)) if ours[k] != theirs[k]]
        apart = [
            abs(values[ours[k]] - values[theirs[k]])
            for k in other
            for values in [best_by_first(video, states[k], stall_weight)]
        ]
        print(
            f"  RobustMPC: {len(ours) - len(other)} of {len(ours)} decisions as Genet's; where they differ, "
            f"the plans' values do by at most {max(apart, default=0.0):.1g}"
        )


if __name__ == "__main__":
    main()
