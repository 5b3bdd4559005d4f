"""The old address of :mod:`netllm_gym.agents.hub`, for one more release."""

import sys
import warnings

from netllm_gym.agents import hub

warnings.warn("netllm_gym.agents.llm.hub has moved to netllm_gym.agents.hub", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = hub
