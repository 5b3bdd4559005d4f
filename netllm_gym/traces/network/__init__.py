"""Network traces: the type, readers of public formats, named sets, synthesis and calibration."""

from netllm_gym.traces.network.trace import NetworkTrace as NetworkTrace
