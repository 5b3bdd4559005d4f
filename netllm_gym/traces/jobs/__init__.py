"""Workloads: DAGs of stages and their arrivals, readers of public formats, named sets and statistics."""
