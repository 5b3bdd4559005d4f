"""One run of the GPU sections: where it runs, how large its problems are, and what was found."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netllm_gym.agents.llm.backbone import device_of
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.errors import NetLLMGymError
from netllm_gym.files import write_json


@dataclass(frozen=True)
class Size:
    """How large the sections' problems are."""

    backbone: str
    layers: int
    steps: int
    batches: tuple[int, ...]
    repeats: int
    large: tuple[int, int, int, int]  # blocks, width, heads, feed-forward of the paper's shape
    windows: int
    acting: tuple[int, ...]
    training: int
    matrix: int


FULL = Size("smollm2-135m", 4, 47, (8, 64, 256), 5, (32, 4096, 32, 11008), 32, (1, 256), 60, 8192)
SMOKE = Size("tiny-random", 2, 6, (2,), 1, (2, 64, 4, 128), 2, (1, 2), 4, 128)


class Bench:
    """One run: where, how large, what was found."""

    def __init__(self, smoke: bool, budget_s: float, out: Path | None, say: Callable[[str], None] | None) -> None:
        self.size = SMOKE if smoke else FULL
        self.smoke, self.budget_s, self.out = smoke, budget_s, out
        self.say = say or (lambda line: None)
        self.device = device_of(LLMConfig())
        self.began = time.perf_counter()
        self.report: dict[str, Any] = {}

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - (time.perf_counter() - self.began)

    def wait(self) -> None:
        """Until the device has done what it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], repeats: int | None = None) -> float:
        """Median time of `work`, after one run to warm up."""
        found = []
        for _ in range((repeats or self.size.repeats) + 1):
            begin = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - begin)
        return float(np.median(found[1:]))

    def fresh_memory(self) -> None:
        """Forget what earlier sections held."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gb(self) -> float | None:
        """Most memory since :meth:`fresh_memory`, GB; ``None`` off CUDA."""
        return torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None

    def config(self, **changes: Any) -> LLMConfig:
        """Of an agent on this run's backbone."""
        return LLMConfig(
            **{"backbone": self.size.backbone, "layers": self.size.layers, "objective": "cloning", **changes}
        )

    def run(self, sections: Sequence[tuple[str, float, Callable[[Bench], Any]]]) -> dict[str, Any]:
        """Run the sections that the budget has time for (each with its expected seconds on one H100)."""
        for name, expected, section in sections:
            if not self.smoke and self.left() < expected:
                self.report[name] = {"left_out": f"{self.left():.0f} s of the budget are left, {expected:.0f} needed"}
                continue
            begin = time.perf_counter()
            self.fresh_memory()
            try:
                found = section(self)
            except (NetLLMGymError, RuntimeError, ImportError, ValueError, TypeError, AttributeError, OSError) as error:
                found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"}
            found["seconds"] = round(time.perf_counter() - begin, 2)
            self.report[name] = found
            self.say(f"{name}: {json.dumps(found)[:400]}")
            if self.out:
                write_json(self.out, self.report)
        return self.report
