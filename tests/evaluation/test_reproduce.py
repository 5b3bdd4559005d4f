"""The headline table: the same bytes twice, data-driven, and retrained from recorded commands."""

import json
import re
import sys
from dataclasses import replace

import pandas as pd
import pytest

from netllm_gym import zoo
from netllm_gym.errors import CheckpointError, ConfigError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult
from netllm_gym.reproduce import plan, reproduce
from netllm_gym.reproduce.retrain import command_line, retrain
from netllm_gym.reproduce.table import gaps


def play(out, **options):
    lines = []
    given = {"tasks": ["abr"], "settings": ["default", "unseen1"], "episodes": 6, "workers": 1, "progress": False}
    table = reproduce(profile="embedded", out=out, say=lines.append, **{**given, **options})
    return table, lines


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return play(tmp_path_factory.mktemp("first"))


def test_a_second_run_writes_the_same_bytes(first, tmp_path):
    table, lines = first
    again, _ = play(tmp_path)
    for name in ("reproduce.md", "reproduce.json"):
        assert again.with_name(name).read_bytes() == table.with_name(name).read_bytes()
    assert [line.endswith("(references)") for line in lines[:2]] == [True, True] and "references:" in lines[2]
    assert "min left" in lines[4], "from the second cell on it says how long it takes"


def test_finished_cells_are_not_played_again(first, monkeypatch):
    from netllm_gym.evaluation import blocks

    table, _ = first
    before = table.read_bytes()
    monkeypatch.setattr(blocks, "play_units", lambda recipe, units, *rest: iter(pytest.fail("played") or ())
                        if units else iter(()))  # fmt: skip
    assert play(table.parent)[0].read_bytes() == before


def test_the_table_says_what_it_must(first):
    text = first[0].read_text()
    for told in (
        "abr/robust-mpc (baseline)", "**abr/actor-critic**", "abr/constant (floor)", "abr/oracle (bound)",
        "| agent | default | unseen1 |", "best rival", "Generalisation",
        "netllm-gym reproduce --task abr --setting unseen1 --profile embedded --episodes 6",
    ):  # fmt: skip
        assert told in text
    assert str(first[0].parent) not in text, "no path of this machine"
    assert "published:" not in text, "published numbers stand beside public traces only"
    cells = json.loads(first[0].with_name("reproduce.json").read_text())
    assert [cell["setting"] for cell in cells] == ["default", "unseen1"]
    assert not any("latency" in key for agent in cells[0]["agents"] for key in agent), "no clock in the table"
    page = first[0].with_name("report.html").read_text()
    assert "abr-default/report.html" in page and page.count("<svg") == 1 and "color-scheme" in page
    assert (first[0].parent / "abr-unseen1" / "report.html").is_file()


def test_more_trainings_in_one_setting_than_in_another_leave_a_gap_over_those_of_both(first):
    cells = plan.cells(plan.tasks()["abr"], "embedded", [], ["default", "unseen1"], 6)
    loaded = [plan.Outcome(cell, EvaluationResult.load(first[0].parent / cell.name)) for cell in cells]
    before = pd.DataFrame(gaps(loaded))
    frame = loaded[0].result.frame
    further = frame[frame["agent"] == "abr/actor-critic"].assign(training_seed=99)
    more = replace(loaded[0].result, frame=pd.concat([frame, further], ignore_index=True))
    assert before.equals(pd.DataFrame(gaps([replace(loaded[0], result=more), loaded[1]])))
    other = replace(loaded[0].result, frame=frame.assign(training_seed=frame["training_seed"].where(
        frame["agent"] != "abr/actor-critic", 99)))  # fmt: skip
    assert {*before["agent"]} - {"abr/actor-critic"} == {
        row["agent"] for row in gaps([replace(loaded[0], result=other), loaded[1]])
    }


def test_an_agent_of_several_tasks_has_a_row_across_them(tmp_path, monkeypatch):
    import netllm_gym.reproduce as package

    both = plan.Learned("any/random", {"name": "any/random", "label": "any/random"}, "dice")
    alone = plan.Learned("specialist", {"name": "abr/bola-e", "label": "specialist"})
    monkeypatch.setattr(package, "zoo_agents", lambda task, profile: ([both, alone][: 2 - (task != "abr")], {}))
    table, _ = play(tmp_path, tasks=["abr", "viewport"], settings=["default"], episodes=4)
    section = table.read_text().partition("## One agent, all tasks")[2].partition("## How")[0]
    [row] = [line for line in section.splitlines() if line.startswith("| **any/random**, dice |")]
    assert row.count("%)") == 2
    assert "| abr | default | any/random |" in section and "| specialist " in section
    assert "| viewport | default | any/random |" in section, "without a specialist the best rule stands in"


def test_mistakes(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean cluster"):
        play(tmp_path, tasks=["clustr"])
    with pytest.raises(UnknownNameError, match="unseen3"):
        play(tmp_path, settings=["unseen33"])


def test_every_zoo_agent_has_a_task_and_recipes_are_allowed_commands(tmp_path):
    assert {entry.label for entry in zoo.entries()} >= {"abr/actor-critic", "viewport/gru", "viewport/llm"}
    for entry in zoo.entries():
        assert set(entry.plays) <= set(plan.tasks()), entry.folder
        for command in entry.commands:
            command_line(command, tmp_path, tmp_path)


def test_recipes_say_what_the_weights_were_trained_with():
    """Whatever option a command sets must be the one that agent.json recorded."""
    for entry in zoo.entries():
        about = entry.folder / "agent.json"
        if not about.is_file():
            continue
        written = json.loads(about.read_text())
        known = {**written["config"], **written.get("recipe", {})}
        for command in entry.commands:
            for key, value in re.findall(r"--set (\w+)=(\S+)", command) + re.findall(r"--(\w+) (\d+)", command):
                if key in known and "{out}" in command:
                    assert str(known[key]) == value, f"{entry.folder.name}: {key}"


def entry(tmp_path, *commands, **options):
    return zoo.ZooEntry(tmp_path, "abr/x", label="abr/x", commands=commands, **options)


def test_recipes_run_once_and_resume(tmp_path):
    command = "netllm-gym traces plot abr/synthetic --out {run}/plot.png"
    lines = []
    agent = entry(tmp_path, command)
    assert retrain(agent, tmp_path / "x", lines.append) == (tmp_path / "x" / "checkpoint").resolve()
    assert (tmp_path / "x" / "run" / "plot.png").is_file() and "wrote" in (tmp_path / "x" / "log.txt").read_text()
    retrain(agent, tmp_path / "x", lines.append)
    assert "done before" in lines[1]
    with pytest.raises(ConfigError, match=r"ended with 2; see .*log\.txt"):
        retrain(entry(tmp_path, "netllm-gym traces plot abr/nothing"), tmp_path / "y", lines.append)


def test_a_recipe_is_no_shell(tmp_path):
    for wrong in ("rm -rf /", "python -c 1", "python benchmarks/../x.py", "bash x"):
        with pytest.raises(ConfigError, match="a recipe runs"):
            command_line(wrong, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="checkout"):
        command_line("python benchmarks/nowhere.py", tmp_path, tmp_path)
    assert command_line("netllm-gym train x --out {out}", tmp_path, tmp_path)[:3] == [
        sys.executable, "-m", "netllm_gym.cli",
    ]  # fmt: skip


def test_retrained_agents_are_built_as_the_recipe_says(tmp_path):
    found = plan.retrained(entry(tmp_path, retrained={"name": "abr/x", "checkpoint": "{out}"}), tmp_path)
    assert found.agent["checkpoint"] == str(tmp_path) and found.label == "abr/x, retrained"


@pytest.mark.llm
def test_from_scratch_trains_by_the_recipe_and_shows_both(tmp_path, monkeypatch):
    """A zoo of one agent whose recipe collects and trains; the retrained agent stands beside the shipped one."""
    pytest.importorskip("torch")
    collect = "netllm-gym collect --agent abr/bba --episodes 4 --hindsight --dataset netllm_gym/scratch"
    recipe = (
        f"{collect}/train-v0",
        f"{collect}/valid-v0 --env-arg split=valid",
        "netllm-gym train regret-mlp --dataset netllm_gym/scratch/train-v0 --valid netllm_gym/scratch/valid-v0 "
        "--out {out} --set ensemble=1 --set epochs=1 --set hidden=8",
    )
    shipped = zoo.ZooEntry(tmp_path, "abr/bola", "a stand-in", "abr/bola", commands=recipe)
    monkeypatch.setattr(zoo, "entries", lambda: (shipped,))
    table, lines = play(tmp_path / "out", settings=["default"], from_scratch=True, episodes=3)
    text = table.read_text()
    assert "**abr/bola**, a stand-in" in text and "**abr/bola, retrained**, a stand-in, retrained" in text
    assert str(tmp_path) not in text and sum("netllm-gym collect" in line for line in lines) == 2
    again, lines = play(tmp_path / "out", settings=["default"], from_scratch=True, episodes=3)
    assert again.read_text() == text and sum("done before" in line for line in lines) == 3


def test_zoo_folders_speak_for_themselves(tmp_path):
    folder = tmp_path / "abr-new-agent"
    folder.mkdir()
    (folder / "weights").write_text("1")
    found = zoo.read_entry(folder)
    assert (found.agent, found.label, found.plays, found.commands) == ("abr/new-agent", "abr/new-agent", ("abr",), ())
    digest = found.digest
    (folder / "README.md").write_text("a card")
    (folder / "recipe.toml").write_text('title = "New"\nsettings = ["default"]\nepisodes = { default = 3 }\n')
    found = zoo.read_entry(folder)
    assert found.digest == digest, "what a card says does not change the agent"
    slow = plan.Learned("abr/new-agent", {"name": "abr/bba"}, found.title, found.settings, found.episodes)
    cells = plan.cells(plan.tasks()["abr"], "embedded", [slow])
    assert [(c.name, c.episodes, len(c.learned)) for c in cells][:2] == [
        ("abr-default", None, 0), ("abr-default-first3", 3, 1),
    ]  # fmt: skip
    assert [len(c.learned) for c in cells][2:] == [0, 0, 0], "only where its recipe says"
    (folder / "recipe.toml").write_text("episodes = { default = 99 }\n")
    more = plan.Learned("cluster/x", {"name": "cluster/fair"}, episodes=zoo.read_entry(folder).episodes)
    first = plan.cells(plan.tasks()["cluster"], "embedded", [more])[0]
    assert (first.name, len(first.learned)) == ("cluster-default", 1), "nobody plays more than the table's episodes"
    (folder / "recipe.toml").write_text("tasks = ['abr', 'cluster']\n")
    assert zoo.read_entry(folder).plays == ("abr", "cluster")
    (folder / "recipe.toml").write_text("titel = 'New'\n")
    with pytest.raises(CheckpointError, match="titel"):
        zoo.read_entry(folder)


@pytest.mark.realdata
def test_a_clean_machine_fetches_what_a_cell_needs(fcc_hsdpa, tmp_path, monkeypatch):
    """Neither traces nor video are there; and when only the video is missing, it is fetched alone."""
    from netllm_gym import traces
    from netllm_gym.traces import catalog

    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path))
    catalog.build.cache_clear()
    lines = []
    setting = plan.load_setting("abr", "unseen2", "paper")
    setting.bring(lines.append)
    assert lines == ["fetching abr/fcc-hsdpa"] and traces.load_video("netllm-video2").levels == 6
    (video,) = tmp_path.glob("videos/netllm-video2*")
    video.unlink()
    setting.bring(lines.append)
    assert lines[1:] == ["fetching video netllm-video2"]
    catalog.build.cache_clear()


def test_rules_alone_play_where_training_traces_are_tested():
    cells = plan.cells(plan.tasks()["abr"], "paper", [plan.Learned("abr/x", {"name": "abr/bba"})])
    assert [len(cell.learned) for cell in cells] == [1, 1, 1, 1, 0]
    assert cells[-1].setting.kwargs["traces"] == "abr/fcc-hsdpa/as-published"
