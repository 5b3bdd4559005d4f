"""Cluster schedulers: rules, Decima, CQL and the language model (torch loads on use)."""
