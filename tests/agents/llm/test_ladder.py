"""Stand-ins for the language model and the grid that compares them."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import netllm_gym  # noqa: E402
from netllm_gym.ablation import Grid, _results, ablate, cells, reasons, references, take_share  # noqa: E402
from netllm_gym.agents.llm.batches import collate  # noqa: E402
from netllm_gym.agents.llm.config import LADDER, LLMConfig  # noqa: E402
from netllm_gym.agents.llm.storage import load, save  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError, NetLLMGymError, UnknownNameError  # noqa: E402
from tests.agents.llm.toy import fresh, hidden_states, play, toy  # noqa: E402

pytestmark = pytest.mark.llm


@pytest.mark.parametrize("name", LADDER)
def test_a_stand_in_is_fed_and_read_like_a_language_model(name, tmp_path):
    experience = toy()
    config = LLMConfig(backbone=name, layers=2, objective="cloning", tokens="per-key")
    assert config.tuning == "full" and config.weights == "random"
    agent = fresh(config, experience)
    batch = collate(experience.episodes[:1])
    with torch.inference_mode():
        tokens, _ = agent.model.embed(batch["observations"], batch["returns_to_go"], None)
        whole = agent.model.read(tokens)[0]
    assert torch.allclose(hidden_states(agent, experience, 0), whole, atol=1e-4)
    loaded = load(save(agent, tmp_path / name), json.loads((tmp_path / name / "agent.json").read_text()))
    assert play(loaded, experience, [0, 1]) == play(agent, experience, [0, 1])
    agent.model.train()(**batch)["loss"].backward()
    assert all(p.grad is not None for key, p in agent.model.named_parameters() if "inner" in key or "self_attn" in key)


def _grid(**changes) -> Grid:
    parts = {
        "train": ("netllm_gym/test/grid_train-v0",),
        "valid": ("netllm_gym/test/grid_valid-v0",),
        "vary": {"backbone": ["none", "tiny-random"], "tuning": ["lora", "frozen"]},
        "options": {"layers": 1, "objective": "cloning", "steps": 3, "eval_every": 3, "lora_rank": 2},
        "seeds": (0, 1),
        "setting": {"traces": "abr/synthetic", "split": "valid"},
        "episodes": 2,
        "rivals": ("abr/bba",),
    }
    return Grid(**{**parts, **changes})


def test_cells_that_come_out_the_same_are_one():
    found = [cell.label for cell in cells(_grid())]
    assert found == ["none, full", "tiny-random, lora", "tiny-random, frozen"]
    ranks = _grid(vary={"backbone": ["none", "tiny-random"], "lora_rank": [2, 4], "data_share": [0.5, 1.0]})
    assert len(cells(ranks)) == 2 + 4
    none = _grid(vary={"lora_rank": [0, 2]}, options={"layers": 1})
    assert [cell.label for cell in cells(none)] == ["frozen", "lora_rank 2"]


def test_conditions_are_crossed_with_what_is_varied():
    conditions = {"none": {"backbone": "none"}, "tiny": {"backbone": "tiny-random"},
                  "tiny as before": {"backbone": "tiny-random", "start": "none"}}  # fmt: skip
    grid = _grid(vary={"data_share": [0.5, 1.0]}, conditions=conditions)
    found = cells(grid)
    assert [cell.label for cell in found[:2]] == ["none, data_share 0.5", "none, data_share 1"]
    assert len(found) == 6 and found[-1].configs[0].start == "none" and found[3].configs[0].start == "bos"
    assert found[0].values == {"condition": "none", "data_share": 0.5}
    against = references(found)
    assert against["tiny as before, data_share 1"] == against["none, data_share 1"] == "none, data_share 1"
    assert against["tiny, data_share 0.5"] == "none, data_share 0.5"
    assert set(references(cells(_grid(vary={"data_share": [0.5, 1.0]}))).values()) == {"data_share 0.5"}
    with pytest.raises(ConfigError, match="condition 'a' sets layers, which is also varied"):
        _grid(vary={"layers": [1, 2]}, conditions={"a": {"layers": 1}})
    with pytest.raises(ConfigError, match="letters, digits and hyphens"):
        _grid(elsewhere={"a/b": {}})


def test_a_grid_is_trained_evaluated_drawn_and_resumed(tmp_path):
    for part, seed in (("train", 0), ("valid", 1)):
        kwargs = {"traces": "abr/synthetic", "split": part}
        config = netllm_gym.CollectConfig("netllm_gym/ABR-v0", ("abr/bba",), 6, 0.1, seed, False, kwargs)
        netllm_gym.collect(config, f"netllm_gym/test/grid_{part}-v0")
    path = tmp_path / "grid.toml"
    path.write_text(
        'train = ["netllm_gym/test/grid_train-v0"]\nvalid = ["netllm_gym/test/grid_valid-v0"]\nseeds = [0, 1]\n'
        'episodes = 2\nrivals = ["abr/bba"]\nsetting = {traces = "abr/synthetic", split = "valid"}\n'
        '[options]\nlayers = 1\nobjective = "cloning"\nsteps = 3\neval_every = 3\n'
        '[vary]\nbackbone = ["none", "tiny-random"]\n'
        '[elsewhere]\nvolatile = {traces = "abr/synthetic-volatile", split = "valid"}\n'
    )
    lines: list[str] = []
    table, folder = ablate(Grid.read(path), tmp_path / "out", say=lines.append)
    assert set(table["agent"]) == {"abr/bba", "none", "tiny-random"}
    assert {"table.csv", "table.md", "ablation.png", "cells"} <= {p.name for p in folder.iterdir()}
    assert {"table-volatile.csv", "table-volatile.md", "ablation-volatile.png"} <= {p.name for p in folder.iterdir()}
    assert set(table["seconds"][table["agent"] != "abr/bba"] > 0) == {True}
    assert sum(line.startswith("[") for line in lines) == 4
    rows = table.set_index("agent")
    assert np.isnan(rows.loc["none", "reference_difference"]) and np.isnan(rows.loc["abr/bba", "difference"])
    gap = rows.loc["abr/bba", "mean"] - rows.loc["none", "mean"]
    assert rows.loc["abr/bba", "reference_difference"] == pytest.approx(gap)
    assert rows.loc["none", "difference"] == pytest.approx(-gap)
    text = (folder / "table.md").read_text()
    assert "nan" not in text and "inf" not in text and "Undecided: " in text and "is to abr/bba" in text
    assert reasons(table) and all(reasons(table))
    lines.clear()
    again, _ = ablate(Grid.read(path), tmp_path / "out", say=lines.append)
    assert not lines and again.equals(table)


def test_shares_of_the_data_are_nested():
    experience = toy(episodes=20)
    small, large = take_share(experience, 0.2), take_share(experience, 0.5)
    assert len(small) == 4 and len(large) == 10
    assert {e.trace for e in small.episodes} < {e.trace for e in large.episodes}
    assert small.digest != large.digest != experience.digest


def test_mistakes_in_a_grid_are_found_before_training(tmp_path):
    with pytest.raises(UnknownNameError, match="lora_rank"):
        _grid(vary={"lora_rnk": [1]})
    with pytest.raises(ConfigError, match=r"data_share must lie in \(0, 1\]"):
        _grid(vary={"data_share": [0.0]})
    with pytest.raises(ConfigError, match="at least one seed"):
        _grid(seeds=())
    bad = tmp_path / "bad.toml"
    bad.write_text("train = [")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        Grid.read(bad)
    bad.write_text('trian = ["x"]')
    with pytest.raises(UnknownNameError, match="train"):
        Grid.read(bad)
    bad.write_text("\ufeff" + 'train = ["x"]')  # as Windows' editor saves it
    with pytest.raises(ConfigError, match="a grid needs valid"):
        Grid.read(bad)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": [5]}, "train of a grid takes a list of str"),
        ({"seeds": "abc"}, "seeds of a grid takes a list of int"),
        ({"seeds": [1.5]}, "seeds of a grid takes a list of int"),
        ({"seeds": [-1]}, "a seed is a whole number"),
        ({"seeds": [1, 1]}, "seeds of a grid name one twice"),
        ({"rivals": ["abr/bba", "abr/bba"]}, "rivals of a grid name one twice"),
        ({"minutes": float("nan")}, "minutes of a grid takes a finite number"),
        ({"episodes": 1.5}, "episodes of a grid takes int"),
        ({"episodes": -1}, "must not be negative"),
        ({"options": 5}, "options of a grid is a table"),
        ({"options": {"steps": 1.5}}, "option steps of a grid takes int"),
        ({"options": {"learning_rate": float("nan")}}, "takes a finite number"),
        ({"options": {"seed": 3}}, "the seeds of a grid are its key seeds"),
        ({"options": {"data_share": 5}}, "data_share must lie in"),
        ({"vary": {"layers": "12"}}, "vary takes a list of values"),
        ({"vary": {"layers": [True]}}, "option layers of a grid takes int"),
        ({"vary": {"learning_rate": [0.001, 0.0010000001]}}, "two recipes or rivals are called 'learning_rate 0.001'"),
        ({"conditions": {"a": 5}}, "condition 'a' of a grid is a table"),
        ({"conditions": {" ": {}}}, "a condition's name is one line"),
        ({"conditions": {"a\nb": {}}}, "a condition's name is one line"),
        ({"conditions": {"a|b": {}}}, "a condition's name is one line"),
        ({"conditions": {"a": {"warmup": 1}, "b": {"warmup": 1}}}, "condition 'b' comes out the same"),
        ({"vary": {}, "conditions": {"abr/bba": {}}}, "two recipes or rivals are called 'abr/bba'"),
        ({"elsewhere": {"a": 5}}, "elsewhere 'a' of a grid is a table"),
        ({"elsewhere": {"a": {}, "A": {}}}, "differ only in their case"),
    ],
)
def test_a_grid_of_the_wrong_kind_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        _grid(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rivals": ("abr/nobody",)}, "unknown agent 'abr/nobody'"),
        ({"env": "nowhere-v0"}, "nowhere"),
        ({"setting": {"traces": "abr/synthetic", "split": "valid", "rtt_s": float("nan")}}, "rtt_s"),
        ({"elsewhere": {"there": {"traces": "no/where"}}}, "no/where"),
    ],
)
def test_what_cannot_be_played_is_found_before_anything_is_trained(changes, said, tmp_path):
    with pytest.raises(NetLLMGymError, match=said):  # the datasets, which are not there, come second
        ablate(_grid(**changes), tmp_path)
    assert not any(path.name == "cells" for path in tmp_path.iterdir())


def test_a_damaged_cell_is_named(tmp_path):
    for content in ("", "[]", '{"format": 1, "kind": "llm", "env_id": "x", "config": {}}'):
        (tmp_path / "agent.json").write_text(content)
        with pytest.raises(CheckpointError, match="damaged: delete it"):
            _results(tmp_path)
