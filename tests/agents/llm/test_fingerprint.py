"""Which backbone a checkpoint belongs to: the same in every dtype, another for other weights or blocks."""

from __future__ import annotations

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")

from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents.checkpoint import read_description  # noqa: E402
from netllm_gym.agents.llm.backbone import load_backbone  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.fingerprint import Fingerprint  # noqa: E402
from netllm_gym.agents.llm.storage import load, save  # noqa: E402
from netllm_gym.errors import CheckpointError  # noqa: E402
from netllm_gym.zoo import ROOT  # noqa: E402
from tests.agents.llm.toy import fresh, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4)


@pytest.mark.parametrize(("trained", "here"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_an_agent_trained_in_one_dtype_acts_in_another(trained, here, tmp_path):
    save(fresh(dataclasses.replace(CONFIG, dtype=trained), toy(episodes=2)), tmp_path / "agent")
    about = read_description(tmp_path / "agent")
    about["config"]["dtype"] = here
    found = load(tmp_path / "agent", about).model.backbone.dtype
    assert found == {"fp32": torch.float32, "bf16": torch.bfloat16}[here]


def test_older_checkpoints_fit_in_both_dtypes_and_others_do_not(tmp_path):
    """They held one digest of the weights as they were in memory: float32 on a CPU, bf16 on a GPU."""
    plain = load_backbone(CONFIG).fingerprint
    folder = save(fresh(CONFIG, toy(episodes=2)), tmp_path / "agent")
    about = json.loads((folder / "agent.json").read_text())
    assert about["backbone_fingerprint"] == f"{plain.weights}.{plain.vectors}"
    for old, fits in ((plain.exact, True), (plain.weights, True), ("0" * 16, False), ("", False), (None, False)):
        (folder / "agent.json").write_text(json.dumps({**about, "backbone_fingerprint": old}))
        if fits:
            make_agent(str(folder))
        else:
            with pytest.raises(CheckpointError, match="not the one"):
                make_agent(str(folder))


def test_what_ships_fits_a_gpu_s_bf16(monkeypatch):
    folder = ROOT / "viewport-llm" / "published"
    about = read_description(folder)
    about["config"]["dtype"] = "bf16"
    assert load(folder, about).model.backbone.dtype == torch.bfloat16


def test_other_draws_and_other_blocks_are_other_backbones_and_4_bits_keep_the_vectors():
    one = load_backbone(CONFIG)
    kept = one.fingerprint
    other = load_backbone(dataclasses.replace(CONFIG, seed=1)).fingerprint
    fewer = load_backbone(dataclasses.replace(CONFIG, layers=1)).fingerprint
    assert not other.fits(str(kept)) and not fewer.fits(str(kept)) and kept.fits(str(kept))
    for value in one.parameters():
        if value.ndim == 2:  # as bitsandbytes packs them
            value.data = torch.zeros(value.numel() // 2, 1, dtype=torch.uint8)
    packed = Fingerprint.of(one)
    assert packed.weights == "" and packed.fits(str(kept)) and kept.fits(str(packed))
    assert not fewer.fits(str(packed))
