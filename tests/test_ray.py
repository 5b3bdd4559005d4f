"""The same work on a Ray cluster of two nodes: evaluating and collecting give the bytes of one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest

from netllm_gym import CollectConfig, collect, evaluate
from netllm_gym.files import folder_digest

ROOT = Path(__file__).resolve().parents[1]
KWARGS = {"traces": "abr/synthetic", "split": "train"}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    """A cluster of two nodes on this machine, a core each, that joblib hands its work to."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'netllm-gym[ray]'")
    from ray.cluster_utils import Cluster
    from ray.util.joblib import register_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # other work on this machine is none of its business
        node = {"num_cpus": 1, "object_store_memory": 2**27}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False)
            assert len(ray.nodes()) == 2
            register_ray()
            yield
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.mark.slow
def test_evaluate_on_two_nodes(two_nodes, tmp_path) -> None:
    def played(workers: int, folder: str):
        return evaluate(
            agents=["abr/bba", "abr/rate-based"], episodes=40, workers=workers, out=tmp_path / folder, progress=False
        )

    alone = played(1, "alone")
    with joblib.parallel_config(backend="ray"):
        spread = played(2, "spread")
    assert spread.digest == alone.digest
    clock = ["latency_p50_ms", "latency_p99_ms"]
    assert spread.frame.drop(columns=clock).to_csv() == alone.frame.drop(columns=clock).to_csv()


@pytest.mark.slow
def test_collect_on_two_nodes(two_nodes, tmp_path, monkeypatch) -> None:
    config = CollectConfig(agents=("abr/bba", "abr/rate-based"), episodes=40, env_kwargs=KWARGS)
    digests = []
    for name, workers in (("alone", 1), ("spread", 2)):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / name))
        with joblib.parallel_config(backend="ray") if workers == 2 else joblib.parallel_config():
            data = collect(config, "ray/mix-v0", workers=workers, progress=False)
        digests.append((data.describe()["digest"], folder_digest(data.path / "data")))
    assert digests[0] == digests[1]
