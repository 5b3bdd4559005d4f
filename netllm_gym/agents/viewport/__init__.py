"""Viewport agents: predictors, streaming agents and the networks that learn them (torch loads on use)."""
