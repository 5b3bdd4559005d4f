"""The command line: a thin shell over the public functions."""

from netllm_gym.cli.app import main

__all__ = ["main"]
