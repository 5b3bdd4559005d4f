"""Readers of public workload formats."""
