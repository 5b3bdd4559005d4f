"""``python -m netllm_gym``: the command line."""

from netllm_gym.cli import main

main()
