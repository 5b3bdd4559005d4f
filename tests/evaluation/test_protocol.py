"""Training cannot open a test split, by any door; and each time test is scored, it is counted."""

import json

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import CollectConfig, traces
from netllm_gym.agents.abr.worlds import Worlds
from netllm_gym.agents.viewport.rules import training_windows
from netllm_gym.cli import main
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.viewport_windows import window_experience
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import EvaluationResult, evaluate
from tests.evaluation.toy import TOY


def worlds(split):
    return Worlds(4, {"synthetic": traces.load("abr/synthetic", split)}, [traces.load_video("synthetic")])


def experience(split):
    space = gym.spaces.Dict({"x": gym.spaces.Box(0, 1, (1,), np.float32)})
    return Experience([], "any/Env-v0", {"split": split}, space, gym.spaces.Discrete(2), {}, {})


DOORS = {
    "collect": lambda split: CollectConfig(env_kwargs={"split": split}),
    "experience": experience,
    "windows": lambda split: window_experience(split=split),
    "predictors": lambda split: training_windows("viewport/synthetic", split, 10, 20, 15),
    "worlds": worlds,
}


@pytest.mark.parametrize("split", ["test", "all"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_is_closed(door, split):
    with pytest.raises(ConfigError, match=f"never '{split}'"):
        DOORS[door](split)


@pytest.mark.llm
def test_trainers_refuse_a_test_set():
    decima = pytest.importorskip("netllm_gym.agents.cluster.decima_training")
    train, test = (traces.load("cluster/synthetic", split) for split in ("train", "test"))
    with pytest.raises(ConfigError, match="never 'test'"):
        decima.Trainer(decima.DecimaTraining(), train, test, "unused")


def test_nothing_opens_test_inside_training():
    test = traces.load("abr/synthetic", "test")
    with traces.training("tuning"):
        for name in ("abr/synthetic", test):
            with pytest.raises(ConfigError, match="tuning uses split 'train' or 'valid', never 'test'"):
                traces.load(name, "test")
        with pytest.raises(ConfigError, match="never 'test'"):
            gym.make("netllm_gym/ABR-v0", traces="abr/synthetic")
        assert len(traces.load("abr/synthetic", "valid"))
    assert traces.load("abr/synthetic", "test") is not None, "open again afterwards"


@pytest.mark.rl
def test_the_train_command_trains_under_the_rule(monkeypatch, capsys, tmp_path):
    """Whatever a recipe does while it trains, the test split stays shut to it."""
    from netllm_gym.recipes import run as training

    monkeypatch.setattr(training, "load_experience", lambda name: traces.load("abr/synthetic", "test"))
    arguments = ["netllm-gym", "train", "cql", "--dataset", "x-v0", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "training cql uses split" in capsys.readouterr().err


def test_a_path_of_ones_own_has_no_splits(tmp_path):
    (tmp_path / "mine").write_text("0 1\n1 2\n2 3\n")
    with traces.training():
        assert len(traces.load(traces.load(tmp_path / "mine"))) == 1


def test_uses_of_a_test_set_are_counted_and_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path / "cache"))

    def look(out):
        return evaluate(TOY, ["toy/hint"], floor="toy/random", episodes=8, out=out, progress=False)

    assert look(tmp_path / "a").manifest["test_uses"] == 1
    assert look(tmp_path / "b").manifest["test_uses"] == 2
    assert look(tmp_path / "b").manifest["test_uses"] == 2, "what is read from disk is no new look"
    page = EvaluationResult.load(tmp_path / "b").report(tmp_path / "b").read_text()
    assert "scored twice on this machine" in page
    (file,) = (tmp_path / "cache" / "test-uses").iterdir()
    assert json.loads(file.read_text().splitlines()[0])["agents"] == ["toy/hint", "toy/random"]


def test_training_splits_are_not_counted():
    setting = {"traces": "abr/synthetic", "split": "valid"}
    result = evaluate(agents=["abr/bba"], setting=setting, episodes=2, progress=False)
    assert result.manifest["test_uses"] is None
