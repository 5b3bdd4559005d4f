"""``python -m netllm_gym.cli``."""

from netllm_gym.cli.app import main

main()
