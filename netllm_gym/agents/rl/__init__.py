"""Offline reinforcement learning by d3rlpy on a flat view of the observations."""
