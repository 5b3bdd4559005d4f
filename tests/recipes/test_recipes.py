"""Recipes: the table, its options, and what `train` takes."""

from __future__ import annotations

import itertools
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

import netllm_gym
from netllm_gym import CollectConfig, collect, train, zoo
from netllm_gym.datasets.experience import Experience
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.recipes import Training, list_recipes, recipe_of, register_recipe
from netllm_gym.zoo import entries

KWARGS = {"traces": "abr/synthetic", "split": "train"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> netllm_gym.datasets.store.Dataset:  # type: ignore[name-defined]
    return collect(CollectConfig(agents=("abr/bba",), episodes=3, env_kwargs=KWARGS), "netllm_gym/test/recipes-v0")


@dataclass(frozen=True)
class Options:
    """What the recipe below takes."""

    width: int = 3
    rate: float = 0.5
    shape: tuple[int, ...] = (1, 2)
    word: str = "a"
    without: tuple[str, ...] = ()
    seed: int = 0


GIVEN: list[Training] = []


@register_recipe("test/mine", Options)
def mine(training: Training):
    """Do nothing with data."""
    GIVEN.append(training)
    return netllm_gym.make_agent("any/random")


@register_recipe("test/own", Options, data=False, timed=True)
def own(training: Training):
    """Bring data of one's own."""
    GIVEN.append(training)
    return netllm_gym.make_agent("any/random")


def test_collecting_returns_the_dataset(data) -> None:
    assert data == "netllm_gym/test/recipes-v0" and isinstance(data, str)
    assert len(data.episodes) == 3 and data.steps == sum(map(len, data.episodes)) and data.env_id == "netllm_gym/ABR-v0"
    assert (data.path / "README.md").is_file() and data.describe()["steps"] == data.steps
    assert isinstance(data.experience, Experience)
    with pytest.raises(AttributeError):
        data.nonsense  # noqa: B018


def test_train_takes_ids_datasets_and_experience(data, tmp_path: Path) -> None:
    for given in ([str(data)], [data], [data.experience], [data.experience, str(data)]):
        agent = train("test/mine", given, tmp_path / "out", seed=7, options={"width": 9, "rate": 1, "shape": [4]})
        training = GIVEN[-1]
        assert training.config == Options(9, 1.0, (4,), seed=7) and agent.name == str(tmp_path / "out")
        assert training.experience().steps == data.steps * len(given) and training.valid is None
        assert training.run == tmp_path / "out.run"
    with pytest.raises(ConfigError, match="ids of datasets or Experience"):
        train("test/mine", [3], tmp_path / "out")  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 3}, "did you mean width"),
        ({"seed": 3}, "argument of its own"),
        ({"width": "x"}, "takes int"),
        ({"width": 2.5}, "takes int"),
        ({"width": True}, "takes int"),
        ({"rate": "fast"}, "takes float"),
        ({"word": 3}, "takes str"),
        ({"shape": "12"}, "takes a list of int, commas between"),
        ({"shape": "4,x"}, "takes a list"),
        ({"shape": [4, "x"]}, "takes a list"),
        ({"shape": [4, True]}, "takes a list"),
        ({"without": [3]}, "takes a list of str"),
    ],
)
def test_options_that_mean_nothing_are_errors(data, tmp_path, options, message) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        train("test/mine", [data], tmp_path / "out", options=options)


@pytest.mark.parametrize("given", ["a/x,a/y", ["a/x", "a/y"]])
def test_names_come_as_a_list_or_with_commas(data, tmp_path, given) -> None:
    train("test/mine", [data], tmp_path / "out", options={"without": given})
    assert GIVEN[-1].config.without == ("a/x", "a/y")


@pytest.mark.parametrize("given", ["4,1", "4, 1", [4, 1], (4, 1)])
def test_numbers_come_as_a_list_or_with_commas(data, tmp_path, given) -> None:
    train("test/mine", [data], tmp_path / "out", options={"shape": given})
    assert GIVEN[-1].config.shape == (4, 1)


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        ("test/mine", {"rate": float("nan")}, "option rate of recipe test/mine takes a finite number, got nan"),
        ("test/mine", {"rate": 10**400}, "takes a finite number, got inf"),
        ("regret-mlp", {"learning_rate": float("inf")}, "takes a finite number"),
        ("regret-mlp", {"learning_rate": 0}, "must be positive, at most 1e"),
        ("regret-mlp", {"learning_rate": 1e300}, "must be positive, at most 1e"),  # torch's own error was a traceback
        ("llm", {"weight_decay": -1.0}, "must not be negative"),
    ],
)
def test_numbers_that_train_to_nothing_are_refused(data, tmp_path, recipe, options, said) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe_of(recipe).configure(options, 0)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "1"])
def test_a_seed_that_no_generator_takes_is_refused(data, tmp_path, seed) -> None:
    with pytest.raises(ConfigError, match="a seed is a whole number from 0"):
        train("test/mine", data, tmp_path / "out", seed=seed)


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_a_time_that_does_not_pass_is_refused(tmp_path, minutes) -> None:
    with pytest.raises(ConfigError, match="minutes must be finite"):
        train("test/own", out=tmp_path / "out", minutes=minutes)


def test_the_name_of_a_recipe_fixes_its_algorithm(data, tmp_path) -> None:
    pytest.importorskip("d3rlpy")
    with pytest.raises(ConfigError, match="fixes algorithm"):
        train("cql", [data], tmp_path / "out", options={"algorithm": "bcq"})
    with pytest.raises(ConfigError, match="argument of its own"):
        train("cql", [data], tmp_path / "out", options={"seed": 5})


def test_data_where_they_mean_something(data, tmp_path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ConfigError, match="brings its own data"):
        train("test/own", [data], tmp_path / "out")
    with pytest.raises(ConfigError, match="learns from data"):
        train("test/mine", [], tmp_path / "out")
    with pytest.raises(ConfigError, match="validation data"):
        train("regret-mlp", [data], tmp_path / "out")
    with pytest.raises(ConfigError, match="out="):
        train("test/own")
    with pytest.warns(UserWarning, match="no use of minutes"):
        train("test/mine", [data], tmp_path / "out", minutes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train("test/own", out=tmp_path / "out", minutes=3)
    assert GIVEN[-1].minutes == 3 and GIVEN[-1].data is None
    with pytest.raises(UnknownNameError, match="did you mean"):
        train("test/mime", [data], tmp_path / "out")


def test_a_second_registration_warns_and_a_users_own_stays() -> None:
    with pytest.warns(UserWarning, match="registered before"):
        register_recipe("test/mine", Options)(mine)
    assert recipe_of("test/mine").description == "Do nothing with data."
    with pytest.raises(ConfigError, match="dataclass"):
        register_recipe("test/odd", dict)


def test_recipes_say_what_they_need() -> None:
    assert {"llm", "cql", "bc", "regret-mlp", "cluster-decima", "abr-actor-critic"} <= set(list_recipes())
    for name in list_recipes():
        recipe = recipe_of(name)
        assert recipe.description and recipe.configure({}, 3).seed == 3, name
        assert "seed" not in recipe.options()


def test_the_zoo_is_made_by_recipes_of_the_package() -> None:
    for entry in entries():
        if entry.successor:
            assert not entry.commands and zoo.find(entry.successor)[0].commands, entry.agent
            continue
        assert entry.commands, f"{entry.agent} has no recipe"
        trainings = [c.split() for c in entry.commands if " train " in c]
        assert trainings and all(words[:2] == ["netllm-gym", "train"] for words in trainings), entry.agent
        for words in trainings:
            options = {}
            for here, following in itertools.pairwise(words):
                if here == "--set":
                    key, _, value = following.partition("=")
                    options[key] = value
            recipe = recipe_of(words[2])
            assert set(options) <= set(recipe.options()), entry.agent


def test_the_old_address_works_for_one_more_release() -> None:
    with pytest.warns(DeprecationWarning, match="import train from netllm_gym"):
        sys.modules.pop("netllm_gym.training", None)
        from netllm_gym.training import RECIPES

        old = sys.modules["netllm_gym.training"]
    assert old.train is train and {"llm", "cql"} <= set(RECIPES)


def test_one_dataset_needs_no_list(tmp_path):
    pytest.importorskip("d3rlpy")
    with pytest.raises(netllm_gym.NetLLMGymError, match="netllm_gym/test/nowhere-v0"):
        train("bc", "netllm_gym/test/nowhere-v0", tmp_path / "agent")
