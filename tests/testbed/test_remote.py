"""Two machines, both of them this one: servers that offer sessions, players that come and go."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from netllm_gym.cli import main
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import EvaluationResult
from netllm_gym.testbed import policy, remote

ARGUMENTS = {"conditions": ["broadband"], "profile": "embedded", "traces": 1, "chunks": 2, "port": 0}


class Serving:
    """``testbed serve`` in a thread."""

    def __init__(self, out: Path, **more: Any) -> None:
        self.lines: queue.Queue[str] = queue.Queue()
        self.results: dict[str, EvaluationResult] = {}
        self._stop = threading.Event()
        arguments = {**ARGUMENTS, **more, "out": out, "say": self.lines.put, "until": self._stop.is_set}

        def work() -> None:
            self.results = remote.serve([], **arguments)

        self._thread = threading.Thread(target=work)

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def line(self, word: str) -> str:
        """The next line that holds `word`."""
        while word not in (line := self.lines.get(timeout=240)):
            pass
        return line

    def url(self) -> str:
        """Of the policy server."""
        return self.line("testbed play").rsplit(" ", 1)[1]

    def wait(self) -> dict[str, EvaluationResult]:
        """Return the results when all has been played."""
        self._thread.join(240)
        assert not self._thread.is_alive()
        return self.results

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


def test_a_player_elsewhere_plays_what_a_server_offers(ffmpeg, tmp_path: Path) -> None:
    said: list[str] = []
    with Serving(tmp_path / "run") as serving:
        url = serving.url()
        assert url.startswith("http://127.0.0.1:")  # nobody else can reach it unless it is told so
        assert remote.play_there(url, parallel=2, say=said.append) == 2
        frame = serving.wait()["broadband"].frame
        assert "pacing error" in serving.line("pacing error")
    assert len(said) == 2 and not frame["failed"].any()
    assert EvaluationResult.load(tmp_path / "run" / "broadband").agents == ["abr/robust-mpc", "abr/constant"]


def test_what_a_killed_player_left_is_offered_again(ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving(tmp_path / "run") as serving:
        url = serving.url()
        offer = httpx.get(f"{url}/sessions", trust_env=False).json()
        key = offer["waiting"][0]
        httpx.post(f"{url}/s/{key}/begin", trust_env=False)  # and is never heard of again
        offer = httpx.get(f"{url}/sessions", trust_env=False).json()
        assert offer["playing"] == [key] and key not in offer["waiting"]
        assert remote.play_there(url) == 1
        # The same command after the server's own end, by Ctrl-C say: only what is missing is offered.
        serving.__exit__()
        assert "1 sessions are still to be played" in serving.line("still to be played")
    with Serving(tmp_path / "run") as serving:
        assert remote.play_there(serving.url()) == 1
        assert len(serving.wait()["broadband"].frame) == 2


def test_a_silent_player_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.testbed.conftest import small_condition, small_plans

    plans = {plan.key: plan for plan in small_plans(small_condition(), "abr/constant")[:1]}
    key = next(iter(plans))

    async def act(speechless_s: float) -> dict[str, Any]:
        from aiohttp.test_utils import TestClient, TestServer

        monkeypatch.setattr(policy, "SILENT_S", speechless_s)
        async with TestClient(TestServer(policy.application(plans, 1))) as client:
            await client.post(f"/s/{key}/begin")
            answer: dict[str, Any] = await (await client.get("/sessions")).json()
            return answer

    import asyncio

    assert asyncio.run(act(180.0))["playing"] == [key]
    assert asyncio.run(act(0.0))["waiting"] == [key]


def test_an_agent_that_fails_elsewhere_ends_its_session(content_folder: Path) -> None:
    """The server learns of everything that was played after the failure, and of the reason."""
    import asyncio

    from netllm_gym.evaluation.specs import AgentSpec
    from netllm_gym.testbed.plan import plan_sessions
    from netllm_gym.testbed.player import play_alone
    from tests.testbed.conftest import small_condition
    from tests.testbed.test_play import SPEED, Wrong, _with_servers

    plan = plan_sessions([small_condition()], [AgentSpec("wrong", "Wrong", instance=Wrong())], 0, {})[0]

    async def act(content: str, decisions: str, _: object) -> Any:
        outcome = await play_alone(f"{content}/s/{plan.key}", f"{decisions}/s/{plan.key}", SPEED)
        async with httpx.AsyncClient(trust_env=False) as http:
            return outcome, (await http.get(f"{decisions}/sessions")).json()

    outcome, offer = asyncio.run(_with_servers([plan], content_folder, act))
    assert offer["waiting"] == offer["playing"] == []
    row = outcome.record["row"]
    assert row["failed"] and "illegal action 7" in row["reason"] and len(outcome.record["segments"]) == 5


def test_a_taken_port_and_a_wrong_address_are_one_line(
    ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["netllm-gym", "testbed", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), capsys.readouterr().err

    short = ("serve", "--agent", "abr/constant", "--conditions", "broadband", "--profile", "embedded", "--traces", "1",
             "--chunks", "2", "--out", str(tmp_path / "run"))  # fmt: skip
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The content server's port is the next one, so this takes the content server's.
        code, line = call(*short, "--port", str(port - 1))
        assert code == 2 and "choose another --port" in line and "Traceback" not in line
        code, line = call(*short, "--port", "65535")
        assert code == 2 and "a port lies between" in line
    for address, reason in (
        ("ftp://x", "looks like"), ("127.0.0.1:8090", "looks like"), (f"http://127.0.0.1:{port}", "no testbed answers"),
    ):  # fmt: skip
        code, line = call("play", address)
        assert code == 2 and reason in line and "Traceback" not in line, line


def test_the_commands_of_the_page(ffmpeg, tmp_path: Path) -> None:
    """As documented: two processes that know nothing of each other but an address."""
    command = [sys.executable, "-m", "netllm_gym.cli", "testbed"]
    serve = subprocess.Popen(
        [*command, "serve", "--agent", "abr/bba", "--conditions", "broadband", "--profile", "embedded", "--traces", "1",
         "--chunks", "2", "--port", "0", "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert serve.stderr is not None
    try:
        url = next(line for line in serve.stderr if "testbed play" in line).rsplit(" ", 1)[1].strip()
        play = subprocess.run([*command, "play", url, "--parallel", "3"], capture_output=True, text=True, timeout=240)
        assert play.returncode == 0 and "3 sessions played" in play.stdout, play.stderr
        out, _ = serve.communicate(timeout=240)
    finally:
        serve.kill()
    assert serve.returncode == 0 and "abr/bba" in out
    assert json.loads((tmp_path / "run" / "broadband" / "manifest.json").read_text())["testbed"]["client"] == "python"


def test_a_browsers_server_sends_the_headless_player_away(
    ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offers(*_: object, **__: object) -> Any:
        offer = {"waiting": ["k"], "playing": [], "content_port": 1, "client": "dash.js"}
        return httpx.Response(200, json=offer)

    monkeypatch.setattr(remote.httpx, "get", offers)
    with pytest.raises(ConfigError, match=r"waits for dash\.js"):
        remote.play_there("http://192.0.2.1:8090")


def test_the_wildcard_address_is_printed_as_a_name() -> None:
    name: Callable[[str], str] = remote._name
    assert name("0.0.0.0") == name("::") == socket.gethostname()
    assert name("192.0.2.1") == "192.0.2.1" and name("2001:db8::1") == "[2001:db8::1]"
