"""The commands as a user types them: what they print, and one line with exit code 2 for a mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from netllm_gym.cli import main
from netllm_gym.cli.output import parse_settings


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["netllm-gym", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_what_a_model_of_several_tasks_is_evaluated_on() -> None:
    from netllm_gym import zoo
    from netllm_gym.cli.datasets import _evaluation_of

    assert _evaluation_of(str(zoo.ROOT / "any-generalist"), []).endswith("--task abr")


def test_agents_of_an_unknown_task_are_a_mistake(run) -> None:
    code, _, err = run("agents", "nonsense")
    assert code == 2 and "unknown task 'nonsense'" in err


def test_lists_are_json_for_scripts(run) -> None:
    code, out, _ = run("traces", "list", "--json")
    assert code == 0 and {row["name"] for row in json.loads(out)} >= {"abr/synthetic", "abr/fcc-hsdpa"}
    code, out, _ = run("agents", "abr", "--json")
    assert {row["name"] for row in json.loads(out)} >= {"abr/bba", "abr/oracle"}
    code, out, _ = run("envs", "--json")
    assert "netllm_gym/ABR-v0" in {row["id"] for row in json.loads(out)}


def test_info_counts_and_audit_certifies(run) -> None:
    code, out, _ = run("traces", "info", "abr/synthetic", "--json")
    assert code == 0 and [row["traces"] for row in json.loads(out)] == [200, 50, 60]
    code, out, _ = run("traces", "audit", "abr/synthetic")
    assert code == 0 and "no content stands in two splits" in out


def test_plot_writes_a_picture(run, tmp_path) -> None:
    assert run("traces", "plot", "abr/synthetic", "--out", "t.png")[0] == 0
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("traces", "plot", "abr/synthetic", "--out", "t.xyz")
    assert code == 2 and ".png" in err


def test_import_then_use(run, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("0 1\n1 2\n2 3\n")
    assert run("traces", "import", "mine", "--name", "cli-set")[0] == 0
    code, out, _ = run("traces", "info", "user/cli-set", "--json")
    assert code == 0 and json.loads(out)[0]["traces"] == 1


def test_what_was_guessed_and_repaired_in_a_user_s_traces_is_said(run, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.csv").write_text("time,throughput\n0,1200\n1,1500\n1,1500\n2,1800\n3,2500\n4,1000\n")
    said = ("kbit/s (a median of 1500 is too much for Mbit/s", "rows of one stamp averaged: 1")
    play = ("--agent", "abr/bba", "--episodes", "1", "--env-arg", "traces=mine")
    for command in (
        ("traces", "info", "mine"),
        ("evaluate", *play, "--out", "here"),
        ("collect", "--dataset", "notes/a-v0", *play),
    ):
        code, _, err = run(*command)
        assert code == 0 and all(words in err for words in said), command
    assert said[0] in (tmp_path / "here" / "report.html").read_text()
    assert "undecided: 1 recording: fewer than 6 say nothing" in run("evaluate", *play, "--out", "here")[2]
    rows = json.loads(run("traces", "info", "mine", "--json")[1])
    assert said[1] in rows[0]["notes"]


def test_any_agent_may_be_the_baseline(run) -> None:
    arguments = ("evaluate", "--agent", "abr/bba", "--baseline", "abr/bola-e", "--episodes", "3", "--json")
    code, out, _ = run(*arguments)
    verdicts = {row["agent"]: row["verdict"] for row in json.loads(out)}
    assert code == 0 and verdicts["abr/bola-e"] == "baseline" and "abr/bba" in verdicts
    code, _, err = run("evaluate", "--agent", "abr/bba", "--baseline", "abr/bolae", "--episodes", "3")
    assert code == 2 and "did you mean abr/bola-e" in err


def test_collect_evaluate_report(run, tmp_path) -> None:
    code, out, _ = run(
        "collect", "--dataset", "netllm_gym/test/cli-v0", "--agent", "abr/bba", "--episodes", "4", "--epsilon", "0.1"
    )
    assert code == 0 and "4 episodes, 188 steps" in out
    arguments = ("evaluate", "--agent", "abr/bba", "--agent", "abr/random", "--episodes", "8", "--out", "result")
    code, out, _ = run(*arguments)
    assert code == 0 and "report.html" in out
    page = (tmp_path / "result" / "report.html").read_text()
    assert "abr/robust-mpc" in page and "<script src" not in page
    figures = tmp_path / "result" / "figures"
    assert list(figures.glob("*.png")) and not list(figures.glob("*.pdf"))
    code, out, _ = run("report", "result")
    assert code == 0
    assert {path.stem for path in figures.glob("*.pdf")} == {path.stem for path in figures.glob("*.png")}
    code, out, err = run("power", "result", "--effect", "10", "--json")
    rows = {row["agent"]: row for row in json.loads(out)}
    assert code == 0 and rows["abr/bba"]["traces needed"] >= 1 and "abr/robust-mpc" not in rows
    code, out, err = run("power", "result", "--agent", "abr/bba")
    assert code == 0 and "one training seed" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("traces", "info", "abr/synthetik"), "did you mean abr/synthetic"),
        (("evaluate", "--agent", "abr/robust-mcp"), "did you mean abr/robust-mpc"),
        (("evaluate", "--agent", "abr/bba", "--setting", "unsen1"), "unseen1"),
        (("collect", "--dataset", "x", "--agent", "abr/bba"), "not a dataset id"),
        (("collect", "--dataset", "x-v0", "--agent", "abr/bba", "--env-arg", "split=test"), "never 'test'"),
        (("collect", "--dataset", "x-v0", "--agent", "abr/bba", "--set", "split=valid"), "--env-arg"),
        (("evaluate", "--agent", "abr/bba", "--set", "split=valid"), "--env-arg"),
        (("ablate", "--setting", "split=valid"), "--env-arg"),
        (("train", "lmm", "--dataset", "x-v0", "--out", "o"), "did you mean llm"),
        pytest.param(
            ("train", "cql", "--dataset", "none-v0", "--out", "o"), "not on this machine", marks=pytest.mark.rl
        ),
        (("report", "nowhere"), "nowhere"),
        (("power", "nowhere"), "nowhere"),
        (("reproduce", "--task", "arb"), "did you mean abr"),
        (("reproduce", "--profile", "papper"), "did you mean paper"),
        (("matrix",), "name agents to play"),
        (("matrix", "--agent", "abr/bba", "--task", "streaming"), "profile of streaming's matrix"),
        (("quickstart", "--minutes", "1"), "at least 2 minutes"),
        (("collect", "--agent", "abr/bba"), "--dataset"),
        (("nonsense",), "nonsense"),
    ],
)
def test_mistakes_are_one_line_and_code_2(run, arguments, message) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err and len(err.strip().splitlines()) == 1 and "Traceback" not in err


def test_numbers_are_read_as_people_write_them() -> None:
    given = parse_settings(["a=.25", "b=-.5", "c=2.", "d=1e-3", "e=3", "f=007", "g=fcc.", "h=.", "i=None", "j=[1, 2]"])
    assert given == {
        "a": 0.25, "b": -0.5, "c": 2.0, "d": 0.001, "e": 3, "f": "007", "g": "fcc.", "h": ".", "i": None, "j": [1, 2]
    }  # fmt: skip
    assert type(given["c"]) is float and type(given["e"]) is int


def test_the_console_script_exists() -> None:
    result = subprocess.run([sys.executable, "-m", "netllm_gym.cli", "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and "quickstart" in result.stdout


@pytest.mark.llm
def test_mistakes_about_language_models_are_one_line(run) -> None:
    code, _, err = run("bench", "llm", "--set", "backbon=x")
    assert code == 2 and "did you mean backbone" in err
    code, _, err = run("bench", "llm", "--batch", "0")
    assert code == 2 and "at least 1" in err
    code, _, err = run("ablate", "--vary", "lora_rank=4", "--train", "a-v0", "--valid", "b-v0")
    assert code == 2 and "--vary takes a list" in err
    code, _, err = run("ablate", "none.toml")
    assert code == 2 and "none.toml" in err
    code, _, err = run("push", ".", "somebody/agent")
    assert code == 2 and "no agent.json" in err


@pytest.mark.realdata
def test_audit_against_agents_marks_what_they_trained_on_and_says_how_that_is_known(run, fcc_hsdpa) -> None:
    code, out, _ = run("traces", "audit", "abr", "--against", "abr/ppo-as-published", "--json")
    rows = {row["test"].partition(":")[0]: row for row in json.loads(out)}
    assert code == 0
    assert rows["abr/default"]["shared"] == "58 of 58 †"
    assert rows["abr/unseen1"]["shared"] == "0 of 60"
    assert rows["abr/default"]["known how"].startswith("inferred")
    code, out, _ = run("traces", "audit", "abr/fcc-hsdpa", "--against", "abr/genet-as-published", "--json")
    assert (code, json.loads(out)[0]["shared"]) == (0, "unknown")


@pytest.mark.realdata
def test_shipped_agents_have_trained_on_no_test_recording(run, fcc_hsdpa) -> None:
    code, out, _ = run("traces", "audit", "abr/default", "--against", "abr/llm", "--json")
    (row,) = json.loads(out)
    assert (code, row["shared"], row["known how"]) == (0, "0 of 58", "recorded by its recipe")


def test_audit_against_nobody_is_a_mistake(run) -> None:
    code, _, err = run("traces", "audit", "abr/default", "--against", "abr/nobody")
    assert code == 2 and "unknown agent 'abr/nobody'" in err


def test_info_describes_a_video_by_its_levels(run, monkeypatch) -> None:
    from netllm_gym import traces

    known = traces.load_video("synthetic")
    monkeypatch.setattr(traces, "load_video", {"one": known}.__getitem__)
    code, out, _ = run("traces", "info", "video/one", "--json")
    assert code == 0 and [row["kbit/s"] for row in json.loads(out)] == known.bitrates_kbps.tolist()
    assert f"{known.chunks} chunks" in run("traces", "info", "video/one")[1]
