"""The same agents behind a real player: content, link, clients, policy server, and the comparison with the simulator.

Needs the extra ``testbed`` (``pip install 'netllm-gym[testbed]'``); :mod:`netllm_gym.testbed.tools` says what else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Imported on first use: the extra may be missing.
_LAZY = {
    "run": "netllm_gym.testbed.runner",
    "serve": "netllm_gym.testbed.remote",
    "compare": "netllm_gym.testbed.comparison",
    "list_conditions": "netllm_gym.testbed.plan",
    "load_conditions": "netllm_gym.testbed.plan",
}

__all__ = sorted(_LAZY)

if TYPE_CHECKING:
    from netllm_gym.testbed.comparison import compare as compare
    from netllm_gym.testbed.plan import list_conditions as list_conditions
    from netllm_gym.testbed.plan import load_conditions as load_conditions
    from netllm_gym.testbed.remote import serve as serve
    from netllm_gym.testbed.runner import run as run


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from netllm_gym.extras import require

        require("testbed", "the testbed")
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'netllm_gym.testbed' has no attribute {name!r}")
