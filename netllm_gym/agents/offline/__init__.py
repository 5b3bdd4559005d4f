"""Offline learners for any environment: d3rlpy on a flat view, and regret on action values (torch loads on use)."""
