"""Workloads by name: the embedded synthetic one and the public TPC-H profiles."""

from __future__ import annotations

from functools import cache

from netllm_gym.errors import UnknownNameError
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.readers.tpch import read_tpch
from netllm_gym.traces.workload import FAMILIES, Workload, synthetic_workload

_TPCH = Source("duowuyms/NetLLM", "105bcf070f2bec808f7b14f8f5a953de6e4e6e54")
_ROOT = "cluster_job_scheduling/data/tpch"
NAMES = ("cluster/synthetic", "cluster/tpch", *(f"cluster/synthetic-{family}" for family in FAMILIES))


@cache
def load_workload(name: str) -> Workload:
    """Return a workload (built once per process); ``cluster/tpch`` is fetched on first use.

    Raises:
        UnknownNameError: no such workload.
        DownloadError: the public files cannot be had.
    """
    if name not in NAMES:
        raise UnknownNameError("workload", name, NAMES)
    if name == "cluster/tpch":
        return read_tpch(fetch_files(_TPCH, [f"{_ROOT}/*"]), _ROOT)
    family = name.removeprefix("cluster/synthetic").removeprefix("-")
    return synthetic_workload((family,) if family else FAMILIES)
