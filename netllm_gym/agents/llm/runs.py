"""What a training run needs beside the model: a score to choose by, checkpoints that are whole, a device's habits."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from netllm_gym.agents.llm.config import LLMConfig

WEIGHTS = "trainable.safetensors"
AVERAGED = "averaged.safetensors"
# What a resumed training needs of a checkpoint; one that was killed while it was written lacks some of it.
_COMPLETE = (WEIGHTS, "optimizer.pt", "scheduler.pt", "trainer_state.json")


def choice(loss: float, score: float) -> float:
    """What weights are chosen by, lower is better: the geometric mean of loss and score where both are positive."""
    return math.sqrt(loss * score) if loss > 0 and score > 0 else score


def newest_complete(folder: Path) -> str | None:
    """The newest of Trainer's checkpoints that was written whole; later ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if all((path / name).is_file() for name in _COMPLETE):
            with suppress(ValueError):  # the state is written last; half of it is no JSON
                json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
                return str(path)
        shutil.rmtree(path)
    return None


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """On CUDA, multiply float32 matrices on the tensor cores (TF32) meanwhile; elsewhere nothing."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def out_of_memory(config: LLMConfig, error: Exception) -> str:
    """Say in one line which options would lower the memory a training takes."""
    window = f"context (now {config.context})" if config.context else "context"
    others = [] if config.gradient_checkpointing else ["gradient_checkpointing=true"]
    others += [] if config.dtype in ("bf16", "auto") or config.tuning == "full" else ["dtype=bf16"]
    others += ["tuning=lora"] if config.tuning == "full" else []
    reason, further = str(error).strip().split(". ")[0], ", ".join(others or ["fewer layers"])
    smaller = f"lower batch_size (now {config.batch_size}) or {window}"
    return f"the device's memory is full ({reason}); {smaller}, or set {further}"
