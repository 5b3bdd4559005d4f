"""Readers: bytes of a file in, a trace out, and a `file:line: reason` for whatever is wrong with them."""

from netllm_gym.traces.readers.cooked import read_cooked
from netllm_gym.traces.readers.mahimahi import read_mahimahi
from netllm_gym.traces.readers.sabre import read_sabre

__all__ = ["read_cooked", "read_mahimahi", "read_sabre"]
