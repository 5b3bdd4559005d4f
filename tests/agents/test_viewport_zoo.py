"""The viewport agents that come with the package: small, described, and as good on valid as their cards say."""

import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netllm_gym
from netllm_gym import make_agent, traces
from netllm_gym.envs.viewport.metrics import mae_published
from netllm_gym.envs.viewport.windows import WindowProtocol, cut
from netllm_gym.errors import DownloadError

pytest.importorskip("torch")
pytestmark = pytest.mark.llm
ZOO = Path(netllm_gym.__file__).parent / "zoo"
SHIPPED = [(path.parent.parent.name[9:], path.parent.name) for path in sorted(ZOO.glob("viewport-*/*/agent.json"))]


def _name(reading: str) -> str:
    return "viewport/jin2022" + ("/as-published" if reading == "published" else "")


@functools.cache
def _valid(reading: str) -> tuple[Any, Any, float]:
    """What was seen, what followed, and how much holding the last view errs; cut once for all agents."""
    windows = cut(tuple(traces.load(_name(reading), "valid")), WindowProtocol())
    hold = np.repeat(windows.history_deg[:, -1:], 20, axis=1)
    return windows.history_deg, windows.future_deg, float(mae_published(hold, windows.future_deg).mean())


@pytest.mark.parametrize("agent", ["gru", "track", "llm"])
def test_cards_are_there_and_the_weights_small(agent) -> None:
    folder = ZOO / f"viewport-{agent}"
    card = (folder / "README.md").read_text()
    assert ("python benchmarks/viewport.py" in card or "netllm-gym train" in card) and "valid" in card
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 3_000_000
    assert all(path.suffix in (".json", ".md", ".toml", ".safetensors") for path in folder.rglob("*.*"))


# A dozen seconds each: one of them here, the others in `make test-all`.
ALL = [pytest.param(*one, marks=() if one == ("llm", "canonical") else pytest.mark.slow) for one in SHIPPED]


@pytest.mark.parametrize(("agent", "reading"), ALL)
@pytest.mark.realdata
def test_shipped_weights_err_as_their_card_says(agent, reading) -> None:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    try:
        traces.fetch("viewport/jin2022")
    except DownloadError as error:
        pytest.skip(str(error))
    built = make_agent(f"viewport/{agent}")
    built.use(reading)
    history, future, hold = _valid(reading)
    error = mae_published(built.predict(history, 20), future).mean()
    card = (ZOO / f"viewport-{agent}" / "README.md").read_text()
    said = re.search(rf"{reading}: (\d+\.\d+)° on valid \(hold-last (\d+\.\d+)°\)", card)
    assert said, f"the card of viewport-{agent} gives no error for {reading}"
    assert (error, hold) == pytest.approx((float(said[1]), float(said[2])), abs=0.01)
