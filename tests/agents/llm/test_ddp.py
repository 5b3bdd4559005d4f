"""Two processes train as one: gloo on the CPU, the same weights in both, episodes shared out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.llm
ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import os, sys
import torch
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.trainer import train
from tests.agents.llm.toy import toy
config = LLMConfig(backbone="tiny-random", layers=1, lora_rank=2, steps=6, eval_every=3, batch_size=4)
agent = train(config, toy(episodes=16), toy(1, 6), sys.argv[1])
total = sum(float(v.double().abs().sum()) for v in agent.model.trainable().values())
print(f"RANK {os.environ['RANK']} WORLD {torch.distributed.get_world_size()} SUM {total:.9f}", flush=True)
"""


def test_two_processes_end_with_the_same_weights(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
              "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "run")],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=240)
            assert process.returncode == 0, err[-2000:]
            outputs.append(next(line for line in out.splitlines() if line.startswith("RANK")))
    finally:
        for process in processes:
            process.kill()
    assert all("WORLD 2" in line for line in outputs)
    assert outputs[0].split("SUM")[1] == outputs[1].split("SUM")[1]
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert sum("eval_loss" in line for line in log) == 2, "only the first process writes the log"
