"""One model for several tasks: what is shared, what it learns, how it is stored, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import gymnasium as gym  # noqa: E402

import netllm_gym  # noqa: E402
from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents.base import EnvInfo  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.descriptions import DESCRIPTIONS, description_of  # noqa: E402
from netllm_gym.agents.llm.generalist import Lesson, train_generalist  # noqa: E402
from netllm_gym.agents.llm.generalist_storage import save_generalist  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError  # noqa: E402
from tests.agents.llm.toy import toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4, steps=60, eval_every=20, warmup=2, learning_rate=5e-3)


def _named(env_id: str, seed: int, space: gym.Space | None = None, episodes: int = 48):
    return dataclasses.replace(toy(seed, episodes=episodes, space=space), env_id=env_id)


def _lessons() -> list[Lesson]:
    box = gym.spaces.Box(-1.0, 2.0, (2,), np.float32)
    words = {"toy/Pick-v0": "pick the mode", "toy/Turn-v0": "name the mode and the level"}
    return [
        Lesson(_named("toy/Pick-v0", 0), _named("toy/Pick-v0", 1), "regret", 8, description=words["toy/Pick-v0"]),
        Lesson(_named("toy/Turn-v0", 2, box), _named("toy/Turn-v0", 3, box), "regression", 8, 1,
               description=words["toy/Turn-v0"]),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generalist")
    agent = train_generalist(CONFIG, _lessons(), folder / "run")
    return agent, save_generalist(agent, folder / "agent"), folder


def _play(agent, env_id: str, seed: int, space: gym.Space | None = None):
    data = _named(env_id, seed, space, episodes=4)
    info = EnvInfo(env_id, data.observation_space, data.action_space, {}, {}, 0)
    agent.reset_batch([info] * len(data.episodes))
    played = []
    for t in range(5):
        seen = [{k: v[t] for k, v in e.observations.items()} for e in data.episodes]
        played.append(agent.act_batch(seen, [{}] * len(seen)))
    return played, np.array([[e.observations["mode"][t] for e in data.episodes] for t in range(5)])


def test_it_learns_both_tasks_with_one_adapter_and_shares_what_has_one_shape(trained):
    agent, _, folder = trained
    pick, turn = agent.models.values()
    assert pick.backbone is turn.backbone
    for key in ("level", "history", "mode"):
        mine, theirs = pick.encoder.parts[key], turn.encoder.parts[key]
        assert all(a is b for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    assert all(a is b for a, b in zip(pick.encoder.gains, turn.encoder.gains, strict=True))
    assert pick.mixer[0].weight is turn.mixer[0].weight and pick.head.linear is not turn.head.linear
    assert pick.prefix_length == 1 + len("pick the mode")
    played, modes = _play(agent, "toy/Pick-v0", 5)
    assert np.mean(np.array(played) == modes) > 0.8
    answers, modes = _play(agent, "toy/Turn-v0", 6, gym.spaces.Box(-1.0, 2.0, (2,), np.float32))
    assert np.abs(np.array(answers)[..., 0] - (modes - 1.0)).mean() < 0.4
    log = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    first = next(line for line in log if "eval_loss" in line)
    assert {"eval_toy/Pick-v0_loss", "eval_toy/Turn-v0_score"} <= set(first)
    assert first["eval_loss"] == pytest.approx(
        (first["eval_toy/Pick-v0_loss"] + first["eval_toy/Turn-v0_loss"]) / 2
    )  # relative to the untrained model, so both count alike


def test_a_checkpoint_plays_the_same_and_is_the_same_bytes(trained, tmp_path):
    agent, folder, _ = trained
    again = make_agent(str(folder))
    assert again.merged and not agent.merged
    for env_id, space in (("toy/Pick-v0", None), ("toy/Turn-v0", gym.spaces.Box(-1.0, 2.0, (2,), np.float32))):
        one, other = _play(agent, env_id, 7, space)[0], _play(again, env_id, 7, space)[0]
        assert np.allclose(np.array(one), np.array(other), atol=1e-4)
    copy = save_generalist(again, tmp_path / "copy")
    assert again.merged
    for name in ("agent.json", "adapter_config.json", "shared.safetensors"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
    same = save_generalist(train_generalist(CONFIG, _lessons(), tmp_path / "run"), tmp_path / "same")
    assert all((same / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())


def test_another_task_is_learnt_from_it_and_an_unknown_one_refused(trained, tmp_path):
    _, folder, _ = trained
    agent = make_agent(str(folder))
    with pytest.raises(CheckpointError, match=r"does not know toy/Other-v0; it was trained on toy/Pick-v0, toy/Turn"):
        _play(agent, "toy/Other-v0", 0)
    few = [Lesson(_named("toy/Other-v0", 8, episodes=6), _named("toy/Other-v0", 9, episodes=6), "regret", 4)]
    short = dataclasses.replace(CONFIG, steps=10, eval_every=5)
    learnt = train_generalist(short, few, tmp_path / "few", start_from=agent)
    scratch = train_generalist(short, few, tmp_path / "scratch")
    assert learnt.serves == ("toy/Other-v0",)
    assert learnt.results["valid_loss"] * learnt_scale(learnt) < scratch.results["valid_loss"] * learnt_scale(scratch)


def test_the_recipe_few_shot_starts_from_a_generalist_or_from_scratch(trained, tmp_path, monkeypatch):
    import netllm_gym.recipes.few_shot as recipe

    class Env:
        metadata = {"description": "pick another mode"}  # noqa: RUF012

    monkeypatch.setattr(recipe, "make_env", lambda env_id, kwargs: Env)
    data, valid = (_named("toy/Other-v0", seed, episodes=6) for seed in (8, 9))
    options = {"steps": 4, "eval_every": 2, "objective": "regret", "batch_size": 4, "warmup": 1}
    start = str(trained[1])
    learnt = netllm_gym.train("few-shot", [data], tmp_path / "few", valid=[valid], say=None,
                              options={**options, "start_from": start})  # fmt: skip
    assert (learnt.config.backbone, learnt.config.lora_rank) == ("tiny-random", 4), "its body is the generalist's"
    assert make_agent(str(tmp_path / "few")).specs["toy/Other-v0"]["words"] == "pick another mode"
    options |= {"backbone": "tiny-random", "layers": 1, "start_from": "", "description": "pick well"}
    scratch = netllm_gym.train("few-shot", [data], tmp_path / "none", valid=[valid], say=None, options=options)
    assert scratch.specs["toy/Other-v0"]["words"] == "pick well"
    with pytest.raises(ConfigError, match="any/random is no generalist"):
        netllm_gym.train("few-shot", [data], tmp_path / "x", valid=[valid], say=None,
                         options={**options, "start_from": "any/random"})  # fmt: skip


def learnt_scale(agent) -> float:
    """Losses are relative to each run's own start: compare them in the task's unit."""
    return float(agent.scale[0][0])


def test_mistakes_are_one_line(trained, tmp_path):
    lesson = _lessons()[0]
    with pytest.raises(ConfigError, match="lessons of different environments"):
        train_generalist(CONFIG, [lesson, lesson], tmp_path / "a")
    with pytest.raises(ConfigError, match="tuning must be lora"):
        train_generalist(dataclasses.replace(CONFIG, tuning="frozen"), [lesson], tmp_path / "b")
    place = tmp_path / "broken"
    import shutil

    shutil.copytree(trained[1], place)
    about = json.loads((place / "agent.json").read_text())
    (place / "agent.json").write_text(json.dumps({**about, "tasks": {"toy/Pick-v0": {}}}))
    with pytest.raises(CheckpointError, match="not a valid description"):
        make_agent(str(place))
    (place / "agent.json").write_text(json.dumps(about))
    (place / "shared.safetensors").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="is damaged"):
        make_agent(str(place))


def test_an_environment_may_bring_its_own_words():
    assert description_of("netllm_gym/ABR-v0", {}) == DESCRIPTIONS["netllm_gym/ABR-v0"]
    assert description_of("netllm_gym/ABR-v0", {"description": "Choose well."}) == "Choose well."
    assert description_of("somebody/Else-v3", {}) == ""


def test_it_says_which_spaces_have_another_size_than_it_learnt_in(trained):
    agent, data = trained[0], _named("toy/Pick-v0", 5, episodes=1)
    agent.reset(EnvInfo("toy/Pick-v0", data.observation_space, data.action_space, {}, {}, 0))
    assert agent.notice == ""
    more = gym.spaces.Discrete(int(data.action_space.n) + 3)
    agent.reset(EnvInfo("toy/Pick-v0", data.observation_space, more, {}, {}, 0))
    assert agent.notice == f"action of {more.n} choices in place of {data.action_space.n} choices"


def _taught(env_id: str, kwargs: dict, agents: tuple[str, ...], tmp_path, monkeypatch):
    from netllm_gym import CollectConfig, collect
    from netllm_gym.datasets.store import load_experience

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = f"test/{env_id.split('/')[1].lower()}"
    return load_experience(collect(CollectConfig(env_id, agents, 3, env_kwargs=kwargs), name))


def test_a_generalist_taught_by_rows_and_advice_plays_any_ladder_and_cluster(tmp_path, monkeypatch):
    from netllm_gym.agents.abr.lessons import lessons
    from netllm_gym.datasets.schedules import advised
    from tests.agents.test_abr_rows import _teacher, _worlds

    abr, cluster = "netllm_gym/ABR-v0", "netllm_gym/ClusterScheduling-v0"
    rows = lessons(_worlds(4), _teacher(), 6, seed=2, futures=1, horizon=2)
    jobs = {"split": "train", "jobs": 4, "executors": 8, "max_stages": 96, "max_jobs": 16, "max_edges": 256}
    graphs = advised(_taught(cluster, jobs, ("cluster/adaptive",), tmp_path, monkeypatch), 2.0)
    short = dataclasses.replace(CONFIG, steps=4, eval_every=2)
    lessons = [Lesson(rows, rows, "regret", 4), Lesson(graphs, graphs, "cloning", 4, context=1)]
    agent = train_generalist(short, lessons, tmp_path / "run")
    save_generalist(agent, tmp_path / "agent")
    ladder = {"traces": "abr/synthetic", "split": "valid", "video": "synthetic"}
    wider = {**jobs, "split": "valid", "executors": 20, "max_stages": 128}
    for env_id, setting in ((abr, ladder), (cluster, wider)):
        found = netllm_gym.evaluate(
            env=env_id, agents=[str(tmp_path / "agent")], setting=setting, episodes=2, progress=False
        )
        assert len(found.frame) == 2 and not found.frame["failed"].any() and set(found.frame["notice"]) == {""}
