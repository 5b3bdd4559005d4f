"""Readers: bytes of a file in, a trace out, and a `file:line: reason` for whatever is wrong with them."""

from netllm_gym.traces.network.readers.columns import read_columns
from netllm_gym.traces.network.readers.cooked import read_cooked
from netllm_gym.traces.network.readers.gnettrack import read_gnettrack
from netllm_gym.traces.network.readers.mahimahi import read_mahimahi
from netllm_gym.traces.network.readers.puffer import read_puffer
from netllm_gym.traces.network.readers.sabre import read_sabre

__all__ = ["read_columns", "read_cooked", "read_gnettrack", "read_mahimahi", "read_puffer", "read_sabre"]
