"""Environments and agents that nobody here wrote: recorded as they were, or refused in a line that says what is odd."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest

import netllm_gym
from netllm_gym import CollectConfig, collect, evaluate, make_agent
from netllm_gym.answers import IllegalActionError, ObservationError
from netllm_gym.datasets.rollout import rollout
from netllm_gym.envs.actions import with_flat_actions
from netllm_gym.envs.dict import DictEnv
from netllm_gym.envs.lookup import spec_of
from netllm_gym.errors import ConfigError, NetLLMGymError
from tests.foreign import FOREIGN, MEASURED, WRAPPED, Asking, Foreign, Sloppy

ANYBODY = make_agent("any/random")


def test_what_is_written_into_again_is_recorded_as_it_was():
    record = rollout(Foreign(actions="factors"), Sloppy(), 0, 0, None)
    assert record.observations["observation"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert record.actions[:, 0].tolist() == [0, 1, 2, 0]
    frame = evaluate(FOREIGN, [Sloppy()], {"actions": "factors"}, episodes=1, progress=False).frame
    assert frame["repeat_rate"].tolist() == [0.0]


def test_an_agent_is_told_what_it_earned_where_info_does_not_say():
    agent = Sloppy()
    episode = netllm_gym.play(Foreign(actions="factors"), agent).run()
    assert agent.heard == [None, 1.0, 2.0, 3.0] and "reward" not in episode.info


@pytest.mark.parametrize("actions", ["dict", "factors"])
def test_an_environment_registered_by_its_address_is_collected_and_made_again(actions):
    name = f"netllm_gym/test/foreign-{actions}-v0"
    collect(CollectConfig(FOREIGN, ("any/random",), 2, env_kwargs={"actions": actions}), name)
    stored = minari.load_dataset(name)
    assert stored.recover_environment().action_space == stored.spec.action_space


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("old reset", r"reset\(\) returned ndarray, Gymnasium's form is \(observation, info\).*shimmy"),
        ("old step", r"step\(\) returned ndarray, float, bool, dict, Gymnasium's form is .*shimmy"),
        ("words", "observation 'observation' holds str.* in place of numbers"),
        ("objects", "observation 'observation' holds object in place of numbers"),
        ("category", r"observation 'observation' is 3, not in Discrete\(3\)"),
        ("short mask", "action_mask.* has 2 entries for 3 actions"),
        ("nothing", "action_mask.* allows no action"),
        ("lacks", "observation 'y' is in the observation space and not in what the environment shows"),
        ("lacks deep", "observation 'in:y' is in the observation space and not in what"),
        ("beyond", "the reward is int, not a number .*too large"),
    ],
)
def test_an_answer_that_no_dataset_holds_is_named(odd, message):
    # Some are refused while an episode is played, some when it is recorded.
    agent = make_agent("any/random") if odd != "short mask" else Always()
    with pytest.raises(NetLLMGymError, match=message):
        rollout(Foreign(odd), agent, 0, 0, None)


class Always(netllm_gym.Agent):
    name = "always"

    def __init__(self, action=0):
        self.action = action

    def act(self, observation, info):
        return self.action


def test_old_environments_inside_dict_are_named_too():
    with pytest.raises(ObservationError, match="shimmy"):
        netllm_gym.play(DictEnv(Foreign("old reset")), ANYBODY)


def test_a_reset_that_fails_is_its_episodes_failure():
    frame = evaluate(FOREIGN, [Always()], episodes=1, progress=False).frame
    assert not frame["failed"].any()
    episode = netllm_gym.play(Foreign("fails"), Always(), record_errors=True).run()
    assert episode.failure == "RuntimeError: the simulator is gone" and episode.steps == 0
    with pytest.raises(RuntimeError, match="is gone"):
        netllm_gym.play(Foreign("fails"), Always())


@pytest.mark.parametrize(("odd", "first"), [("no mask", None), ("mask at times", [1, 1, 1]), ("", None)])
def test_steps_without_a_mask_allow_everything(odd, first):
    record = rollout(Foreign(odd), ANYBODY, 0, 0, None, epsilon=0.5)
    masks = record.action_mask
    assert (masks is None) if first is None else (masks[0].tolist(), masks[1].tolist()) == (first, [1, 0, 1])


def test_masks_may_be_a_list_of_factors():
    record = rollout(Foreign("lists", "factors"), ANYBODY, 0, 0, None)
    assert record.actions.tolist() == [[0, 1]] * 4


def test_a_mask_in_the_observation_is_kept():
    env = Foreign("masked")
    record = rollout(env, ANYBODY, 0, 0, None, epsilon=0.5)
    assert record.actions.tolist() == env.played == [2, 1, 2, 1]
    assert record.action_mask.tolist() == [[False, False, True], [False, True, False]] * 2
    with pytest.raises(IllegalActionError, match="masked out"):
        netllm_gym.play(Foreign("masked"), Always(0)).run()
    assert netllm_gym.play(Foreign("other mask"), Always(0)).run().steps == 4  # one of something else
    assert DictEnv(Foreign("masked")).reset(seed=0)[1]["action_mask"].tolist() == [False, False, True]


@pytest.mark.parametrize("wrap", [lambda env: env, gym.wrappers.PassiveEnvChecker, DictEnv])
def test_a_mask_that_is_asked_for_is_kept(wrap):
    env = Asking()
    record = rollout(wrap(env), ANYBODY, 0, 0, None, epsilon=0.5)
    assert record.actions.tolist() == env.played == [2, 1, 2, 1]
    assert record.action_mask.tolist() == [[False, False, True], [False, True, False]] * 2
    with pytest.raises(IllegalActionError, match="masked out"):
        netllm_gym.play(wrap(Asking()), Always(0)).run()


def test_an_environment_without_metadata_is_shown_as_a_dict():
    inner = Foreign()
    inner.metadata = None
    env = DictEnv(inner)
    assert env.metadata["modalities"] == {"observation": "scalar"} and env.reset(seed=0, options={"low": 0.0})


def test_shares_in_a_mask_are_legal():
    assert set(rollout(Foreign("shares"), ANYBODY, 3, 0, None).actions.tolist()) <= {1, 2}


def test_factors_that_are_masked_out_are_refused():
    assert netllm_gym.play(Foreign("lists", "factors"), Always([0, 1])).run().steps == 4
    with pytest.raises(IllegalActionError, match="its factor 1 is masked out"):
        netllm_gym.play(Foreign("lists", "factors"), Always([0, 0])).run()


def test_whole_numbers_among_others_are_rounded_and_recorded_as_played():
    env = with_flat_actions(Foreign(actions="numbers"))
    record = rollout(env, Always(np.array([8.7, 0.1])), 0, 0, None)  # Dict spaces sort their keys
    assert record.actions.tolist() == [[9.0, 0.1]] * 4
    assert [(one["level"].tolist(), one["share"].tolist()) for one in env.unwrapped.played] == [([9], [0.1])] * 4
    assert with_flat_actions(Foreign(actions="levels")).action_space == gym.spaces.Box(0, 9, (2,), np.int64)


def test_refused_spaces_say_what_to_do():
    with pytest.raises(ConfigError, match=r"actions are a Dict .* gymnasium.ActionWrapper"):
        collect(CollectConfig(FOREIGN, ("any/random",), 1, env_kwargs={"actions": "worded"}), "netllm_gym/test/mix-v0")
    with pytest.raises(ConfigError, match=r"'word' is a Text.*leave_out=\['word'\]"):
        collect(CollectConfig(FOREIGN, ("any/random",), 1, env_kwargs={"odd": "text"}), "netllm_gym/test/text-v0")
    kwargs = {"env": FOREIGN, "env_kwargs": {"odd": "text"}, "leave_out": ["word"]}
    data = collect(CollectConfig("netllm_gym/Dict-v0", ("any/random",), 1, env_kwargs=kwargs), "netllm_gym/test/out-v0")
    assert list(data.observation_space) == ["x"]
    with pytest.raises(ConfigError, match="leave_out: observation has no key 'w'; its keys are word, x"):
        DictEnv(Foreign("text"), leave_out=["w"])


def test_only_names_are_names_of_traces():
    record = rollout(Foreign("names"), ANYBODY, 5, 0, None)
    assert (record.trace, record.group) == ("episode 5", "episode 5")
    frame = evaluate(FOREIGN, ["any/random"], {"odd": "names"}, episodes=2, progress=False).frame
    assert frame["trace"].tolist() == ["0", "1"] == frame["group"].tolist()


@pytest.mark.parametrize("action", [[1.5], [300], [-1], ["a"], None])
def test_an_action_is_not_bent_into_its_space(action):
    with pytest.raises(IllegalActionError, match="illegal action"):
        netllm_gym.play(Foreign(actions="whole"), Always(action)).run()
    assert netllm_gym.play(Foreign(actions="whole"), Always([7.0])).run().steps == 4


def test_agents_decide_in_the_spaces_of_the_wrapped_environment(tmp_path):
    data = collect(CollectConfig(WRAPPED, ("any/random",), 3, epsilon=0.5), "netllm_gym/test/wrapped-v0")
    assert data.action_space.n == 2 and data.observation_space["observation"].shape == (3,)
    pytest.importorskip("d3rlpy")
    netllm_gym.train("bc", [data], tmp_path / "bc", options={"steps": 3, "batch_size": 4})
    frame = evaluate(WRAPPED, [str(tmp_path / "bc"), "any/random"], episodes=2, progress=False).frame
    assert not frame["failed"].any(), list(frame["reason"])


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (None, "info['score'] is None, not a number"),
        ("high", "info['score'] is 'high', not a number"),
        ([1, 2], "info['score'] is [1, 2], not a number"),
        (float("nan"), "the metric score became nan"),
        (float("inf"), "the metric score became inf"),
    ],
)
def test_a_metric_that_is_no_number_fails_its_episode_alone(score, reason):
    frame = evaluate(MEASURED, [Always()], {"score": score}, episodes=1, progress=False).frame
    assert frame["failed"].all() and frame["reason"].tolist() == [reason]
    assert evaluate(MEASURED, [Always()], {"score": [3]}, episodes=1, progress=False).frame["score"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"metric": "score"}, "metadata\\['metric'\\] of the environment is a table, not 'score'"),
        ({"reward_terms": ["score"]}, "metadata\\['reward_terms'\\] of the environment is a table of tables"),
    ],
)
def test_metadata_of_another_form_is_named(metadata, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(MEASURED, [Always()], {"metadata": metadata}, episodes=1, progress=False)


@pytest.mark.parametrize("scale", ["big", 0, [1.0, -1.0], float("nan")])
def test_a_scale_is_a_positive_number(scale):
    config = CollectConfig(MEASURED, ("any/random",), 1, env_kwargs={"metadata": {"scales": {"observation": scale}}})
    with pytest.raises(ConfigError, match=r"the scale of observation 'observation' is .* positive number"):
        collect(config, "netllm_gym/test/scaled-v0")


def test_an_environment_that_ignores_its_seed_is_named(recwarn):
    with pytest.warns(UserWarning, match="Foreign-v0 begins otherwise each time after the same seed"):
        evaluate(FOREIGN, [Always()], {"odd": "unseeded"}, episodes=1, progress=False)
    with pytest.warns(UserWarning, match="begins otherwise"):
        config = CollectConfig(FOREIGN, ("any/random",), 1, env_kwargs={"odd": "unseeded"})
        collect(config, "netllm_gym/test/unseeded-v0")
    evaluate(FOREIGN, [Always()], episodes=1, progress=False)
    evaluate("netllm_gym/Dict-v0", [Always()], {"env": "CartPole-v1"}, episodes=1, progress=False)
    assert not [w for w in recwarn if "otherwise" in str(w.message)]
    with pytest.warns(UserWarning, match="Foreign-v0 goes on otherwise .* nothing may carry over"):
        evaluate(FOREIGN, [Always()], {"odd": "carries over"}, episodes=1, progress=False)


def test_what_was_played_counts_though_the_environment_cannot_be_closed():
    said = "Foreign-v0 could not be closed: OSError: the simulator does not answer"
    with pytest.warns(UserWarning, match=said):
        result = evaluate(FOREIGN, [Always()], {"odd": "stays open"}, episodes=1, progress=False)
    assert len(result.frame) == 1
    with pytest.warns(UserWarning, match=said):
        collect(CollectConfig(FOREIGN, ("any/random",), 1, env_kwargs={"odd": "stays open"}), "netllm_gym/test/open-v0")


def test_an_episode_without_end_is_said_and_can_be_cut_off(monkeypatch):
    monkeypatch.setattr(sys.modules["netllm_gym.play"], "ENDLESS", 3)
    setting = {"odd": "endless", "max_episode_steps": 5}
    with pytest.warns(UserWarning, match="3 steps and no end yet; max_episode_steps=N"):
        frame = evaluate(FOREIGN, [Always()], setting, episodes=1, progress=False).frame
    assert frame["steps"].tolist() == [5]


def test_a_module_in_the_working_directory_is_found(monkeypatch, tmp_path):
    text = "import gymnasium, tests.foreign\ngymnasium.register('netllm_gym_test/{0}-v0', 'tests.foreign:Foreign')\n"
    for name in ("HereA", "HereB"):
        (tmp_path / f"{name.lower()}_env.py").write_text(text.format(name))
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *(place for place in sys.path if place)])
    monkeypatch.chdir(tmp_path)
    assert spec_of("herea_env:netllm_gym_test/HereA-v0").id == "netllm_gym_test/HereA-v0"
    sys.path.remove(str(tmp_path))
    assert DictEnv("hereb_env:netllm_gym_test/HereB-v0").inner.spec.id == "netllm_gym_test/HereB-v0"


def test_an_agent_without_act_says_so():
    episode = netllm_gym.play(Foreign(), netllm_gym.Agent(), record_errors=True).run()
    assert episode.failure == "NotImplementedError: Agent has no method act"


def test_an_environment_inside_dict_is_rendered_without_a_warning(monkeypatch, recwarn):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gym.make("netllm_gym/Dict-v0", env="CartPole-v1", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().ndim == 3 and not [w for w in recwarn if "render_mode" in str(w.message)]


def test_power_of_agents_that_failed_says_why():
    result = evaluate(FOREIGN, [Always(7), "any/random"], episodes=2, progress=False, trace_steps="examples")
    with pytest.raises(ConfigError, match=r"share no episode .*: illegal action 7: not in Discrete\(3\)"):
        result.power("any/random", 0.05)


def test_an_environment_whose_simulator_is_missing_says_what_to_install(monkeypatch):
    class Missing(Foreign):
        def __init__(self):
            raise gym.error.DependencyNotInstalled("install the simulator")

    monkeypatch.setitem(gym.registry, "me/Missing-v0", gym.envs.registration.EnvSpec("me/Missing-v0", Missing))
    with pytest.raises(ConfigError, match="me/Missing-v0: install the simulator"):
        evaluate("me/Missing-v0", [Always()], episodes=1, progress=False)
