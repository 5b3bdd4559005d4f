"""The kernel's link: namespaces that go when they must, and a bucket that lets through what the trace says. Root."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netllm_gym.testbed import kernel, runner, tools
from netllm_gym.testbed.processes import link_service
from netllm_gym.testbed.server import LinkPlan
from netllm_gym.traces import NetworkTrace, VideoManifest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not tools.shutil.which("tc") or not tools.shutil.which("ip"),
    reason="namespaces need root and iproute2",
)


def test_the_kernel_link_plays_and_cleans_up(ffmpeg, tmp_path: Path) -> None:
    arguments = {"conditions": ["broadband"], "profile": "embedded", "traces": 1, "chunks": 3, "parallel": 6}
    results = runner.run(["abr/constant"], link="kernel", out=tmp_path, progress=False, **arguments)
    frame = results["broadband"].frame
    assert not frame["failed"].any(), frame["reason"].tolist()
    assert not [name for name, owner in kernel._ours() if owner == os.getpid()]


def _get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, kernel.PORT, timeout=90)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def _seconds(trace: NetworkTrace, folder: Path) -> float:
    """How long a segment of 1.5 MB takes over the kernel's link."""
    from netllm_gym.testbed import content

    video = VideoManifest("large", [2000], 1.0, [[1_500_000]] * 2)
    built = content.build(video, folder / "large").folder
    with kernel.pairs(1) as made:
        service = link_service({"k": LinkPlan(built, video, trace, 0.0, 0.01)}, {}, made=made)
        try:
            service.wait_until_ready()
            begin = time.monotonic()
            body = kernel.inside(made[0].client, lambda: _get(made[0].address, "/s/k/0/1.m4s"))
            spent = time.monotonic() - begin
        finally:
            service.stop()
    assert len(body) == 1_500_000
    return spent


def test_a_link_that_slows_down_under_a_full_queue_goes_on(ffmpeg, tmp_path: Path) -> None:
    """What TCP put into the queue while the bucket was large must pass it when it is small."""
    # 12.5 Mbit: two seconds. A bundle of segments that is larger than the small bucket would wait a minute.
    assert _seconds(NetworkTrace("falling", [0.15, 60.0], [60.0, 3.0]), tmp_path) < 30.0


@pytest.mark.slow
def test_an_outage_of_thirty_seconds_is_waited_through(ffmpeg, tmp_path: Path) -> None:
    assert 30.0 < _seconds(NetworkTrace("outage", [1.0, 30.0, 60.0], [4.0, 0.0, 4.0]), tmp_path) < 50.0


def _kill_while(code: str) -> list[str]:
    """Run `code`, kill it when it has made its namespaces; return those that are there 20 s later."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "made\n"
    mine = [name for name, owner in kernel._ours() if owner == process.pid]
    assert len(mine) == 4
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any((kernel.NETNS / name).exists() for name in mine):
        time.sleep(0.1)
    return [name for name in mine if (kernel.NETNS / name).exists()]


def test_namespaces_go_when_their_testbed_is_killed() -> None:
    code = (
        "import time\nfrom netllm_gym.testbed import kernel\n"
        "with kernel.pairs(2):\n    print('made', flush=True)\n    time.sleep(60)"
    )
    assert _kill_while(code) == []


def test_what_a_dead_guardian_left_is_swept_by_the_next_testbed() -> None:
    """Both are killed, the testbed and its guardian: the next testbed removes what they left."""
    code = (
        "import os, signal, time\nfrom netllm_gym.testbed import kernel\n"
        "with kernel.pairs(1):\n"
        "    for child in open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read().split():\n"
        "        os.kill(int(child), signal.SIGKILL)\n"
        "    print('made', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "made\n"
    process.kill()
    process.wait()
    process.stdout.close()
    left = [name for name, owner in kernel._ours() if owner == process.pid]
    assert len(left) == 2
    assert set(left) <= set(kernel.sweep())
    assert not any((kernel.NETNS / name).exists() for name in left)
