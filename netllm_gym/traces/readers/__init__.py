"""Readers: bytes of a file in, a trace out, and a `file:line: reason` for whatever is wrong with them."""

from netllm_gym.traces.readers.cooked import read_cooked

__all__ = ["read_cooked"]
