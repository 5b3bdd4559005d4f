"""Scheduling DAG jobs on a cluster of executors."""
