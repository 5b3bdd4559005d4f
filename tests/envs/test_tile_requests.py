"""Requests of single tiles: bytes are conserved, deadlines kept, and an upgrade helps where a prediction was wrong."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.abr.kernel import link_arrays
from netllm_gym.envs.viewport.allocate import upgrade
from netllm_gym.envs.viewport.tile_requests import TilePlayer
from netllm_gym.errors import ConfigError, NetLLMGymError
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.traceset import TraceSet

STREAM = "netllm_gym/ViewportStreaming-v0"
# 4 chunks of a second, 2 levels of 3 tiles: 100 and 300 kB a tile. The link carries 1 MB/s.
SIZES = np.tile(np.array([[100e3] * 3, [300e3] * 3]), (4, 1, 1))


def player(rtt_s: float = 0.0, mbps: float = 8.0, sizes: np.ndarray = SIZES) -> TilePlayer:
    link = link_arrays(NetworkTrace("steady", [7.0], [mbps]), 1.0)
    return TilePlayer(sizes, 1.0, link, offset_s=6.5, rtt_s=rtt_s, slot_s=0.1, target_s=2.0)


def levels(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def make(requests: str = "tiles", **kwargs):
    return gym.make(STREAM, requests=requests, **kwargs).unwrapped


def steady(mbps: float) -> TraceSet:
    return TraceSet("steady", "test", (NetworkTrace("steady", np.full(100, 1.0), np.full(100, mbps)),))


def play(env, agent, trace: int = 0, network: int = 0):
    observation, info = env.reset(seed=1, options={"trace": trace, "network": network})
    agent.reset(EnvInfo.of(env, 0, agent.privileged))
    infos, over = [], False
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        assert env.observation_space.contains(observation)
        infos.append({**info, "reward": reward})
    return infos


def total(infos, key: str = "reward") -> float:
    return float(sum(info[key] for info in infos))


def test_skipping_all_tiles_takes_no_download_even_while_the_link_is_down() -> None:
    off_and_on = NetworkTrace("off and on", np.tile([2.5, 0.5], 40), np.tile([0.0, 40.0], 40))
    env = make("chunk", network=TraceSet("own", "test", (off_and_on,)), rtt_s=0.0)
    env.reset(seed=1, options={"trace": 0, "network": 0})
    skip, over = np.zeros(env.action_space.shape, np.int64), False
    while not over:
        observation, reward, over, _, info = env.step(skip)
        assert (info["download_time_s"], info["stall_s"], info["bytes"]) == (0.0, 0.0, 0.0)
        assert np.isfinite(reward) and env.observation_space.contains(observation)


# --- one slot


def test_a_slot_lasts_until_its_tiles_have_arrived_and_the_first_one_starts_playback() -> None:
    one = player(rtt_s=0.05)
    assert one.stalled and one.may_ask(2) and not one.may_ask(3)
    slot = one.slot(0, levels(0, 1, -1))
    assert slot.seconds == slot.stall_s == pytest.approx(0.05 + 0.4) and slot.transfer_s == pytest.approx(0.4)
    assert (one.open, one.stalled, one.position_s) == (1, False, 0.0)
    assert one.levels[0].tolist() == [0, 1, -1]
    assert one.slot(1, levels(-1, -1, -1)).seconds == 0.1  # nothing is asked for
    assert one.deadline_s(1) == pytest.approx(0.9)


def test_what_is_late_is_dropped_and_playback_goes_on() -> None:
    one = player()
    one.slot(0, levels(0, 0, 0))
    slot = one.slot(1, levels(1, 1, 1))  # needs 0.9 s
    assert slot.late_tiles == 0 and one.deadline_s(1) == pytest.approx(0.1)
    one.slot(2, levels(0, 0, -1))  # ends 0.1 s into chunk 1
    slot = one.slot(2, levels(1, 1, 1))  # 0.9 s; 0.9 s are left
    assert slot.late_tiles == 0 and slot.replaced == 200e3 and one.levels[2].tolist() == [1, 1, 1]
    for _ in range(3):
        one.slot(3, levels(-1, -1, -1))
    one.slot(3, levels(0, -1, -1))
    slot = one.slot(3, levels(1, 1, 1))  # 0.6 s are left: two tiles, the third is cut before its first byte
    assert (slot.seconds, slot.stall_s) == (pytest.approx(0.6), 0.0)
    assert (slot.late_tiles, slot.late, slot.replaced) == (1, pytest.approx(0.0, abs=1e-3), 100e3)
    assert one.levels[3].tolist() == [1, 1, -1] and one.over


def test_a_tile_that_is_cut_has_cost_its_bytes() -> None:
    one = player()
    one.slot(0, levels(0, 0, 0))
    one.slot(1, levels(0, -1, -1))
    for _ in range(4):
        one.slot(1, levels(-1, -1, -1))
    slot = one.slot(1, levels(1, 1, -1))  # 0.5 s are left: one tile, and 200 kB of the next
    assert slot.late == pytest.approx(200e3) and slot.received == pytest.approx(500e3) and slot.late_tiles == 1
    assert one.levels[1].tolist() == [1, -1, -1]


def test_playback_waits_only_where_nothing_of_a_chunk_is_there() -> None:
    one = player()
    one.slot(0, levels(0, 0, 0))
    slot = one.slot(2, levels(1, 1, 1))
    one.slot(2, levels(-1, -1, -1))
    assert slot.stall_s == 0.0 and one.stalled and one.open == 1 and one.deadline_s(1) == 0.0
    slot = one.slot(1, levels(0, -1, -1))
    assert slot.stall_s == slot.seconds == pytest.approx(0.1) and one.open == 2
    # The chunk that playback waits for is not cut: its deadline has moved.
    slow = player(mbps=1.0)
    slow.slot(0, levels(0, -1, -1))
    slot = slow.slot(1, levels(1, -1, 0))  # 2.4 s until the first tile
    assert slot.late_tiles == 0 and slot.stall_s == pytest.approx(2.2) and slow.open == 2
    assert slow.slot(2, levels(-1, -1, -1)).stall_s == 0.0
    # The slot after playback began to wait ends the wait, whatever it brings: chunk 2 plays black.
    for _ in range(9):
        slow.slot(2, levels(-1, -1, -1))
    assert slow.stalled
    assert slow.slot(3, levels(0, -1, -1)).stall_s == pytest.approx(0.8)
    assert (slow.open, slow.stalled) == (3, False) and (slow.levels[2] < 0).all()


def test_the_upgrade_of_a_view_never_lowers_its_worth() -> None:
    rng = np.random.default_rng(0)
    utility, sizes = np.array([0.1, 0.5, 1.0]), rng.uniform(1e4, 1e5, (3, 16)).cumsum(axis=0)

    def worth(interest, held):
        shown = np.where(held < 0, -1.0, utility[held])
        quality = interest @ shown
        return quality - interest @ np.abs(shown - quality)

    for _ in range(50):
        interest, held, budget = rng.dirichlet(np.full(16, 0.3)), rng.integers(-1, 3, 16), rng.uniform(0, 5e5)
        chosen = upgrade(interest, sizes, utility, held, budget, 1.0)
        asked = chosen >= 0
        assert (chosen[asked] > held[asked]).all()
        assert sizes[chosen[asked], np.flatnonzero(asked)].sum() <= budget
        assert worth(interest, np.maximum(chosen, held)) >= worth(interest, held) - 1e-12
    assert (upgrade(interest, sizes, utility, np.full(16, -1), 1e9, 1.0)[interest > 1e-6] == 2).all()


# --- episodes


@pytest.mark.parametrize(("mbps", "target"), [(12.0, 3.0), (40.0, 5.0)])
@pytest.mark.parametrize("name", ["any/random", "streaming/two-tier", "streaming/predictive"])
def test_bytes_and_time_are_conserved(name, mbps, target) -> None:
    env = make(network=steady(mbps), buffer_target_s=target, max_chunks=20)
    infos = play(env, make_agent(name))
    manifest, player = env.manifest, env.player
    held = [manifest.tile_bytes[n][row[row >= 0], np.flatnonzero(row >= 0)].sum() for n, row in enumerate(env.levels)]
    kept = total(infos, "bytes") - total(infos, "replaced_bytes") - total(infos, "late_bytes")
    assert kept == pytest.approx(sum(held), rel=1e-9) and player.over
    assert total(infos, "played") == env.chunks
    wall = infos[-1]["wall_time_s"]
    assert wall == pytest.approx(env.chunks * manifest.chunk_s + total(infos, "stall_s"))
    for info in infos:  # the link never delivers more than it can
        assert info["bytes"] <= (info["download_time_s"] - env.rtt_s * (info["bytes"] > 0)) * mbps * 125e3 + 1e-3
    unseen = total(infos, "wasted_bytes") - total(infos, "replaced_bytes") - total(infos, "late_bytes")
    assert 0 < unseen < sum(held)
    if name == "streaming/predictive":
        assert total(infos, "replaced_bytes") == 0.0
    assert total(infos, "illegal_actions") == 0.0


def test_chunks_that_play_do_not_change_and_holes_are_scored() -> None:
    env = make(max_chunks=8)
    env.reset(seed=3)
    rng, before, over, blank = np.random.default_rng(0), env.levels.copy(), False, 0.0
    env.action_space.seed(0)
    while not over:
        begun = env.player.open
        action = np.append(rng.integers(env.window), rng.integers(0, 7, 64) * (rng.random(64) < 0.5))
        _, _, over, _, info = env.step(action)
        assert (env.levels[:begun] == before[:begun]).all() and (env.levels >= before).all()
        before, blank = env.levels.copy(), blank + info["blank"]
    shown = env.share[: env.chunks]
    assert blank == pytest.approx(float((shown * (before < 0)).sum())) and blank > 0.0


def test_the_mask_says_which_chunks_are_open_and_other_requests_wait() -> None:
    env = make(buffer_target_s=2.0, max_chunks=4)
    observation, info = env.reset(seed=0)
    assert env.action_space.nvec.tolist() == [3, *[7] * 64]
    assert info["action_mask"][:3].tolist() == [1, 1, 1] and info["action_mask"][3:].all()
    assert info["action_mask"].astype(bool).tolist() == env.action_masks().tolist()
    assert observation["deadline_s"].tolist() == [0, 1, 2] and (observation["held_levels"] == -1).all()
    lowest = np.ones(65, np.int64)
    lowest[0] = 0
    observation, _, _, _, info = env.step(lowest)
    assert observation["deadline_s"].tolist() == [1, 2, 3] and info["action_mask"][:3].tolist() == [1, 1, 0]
    assert (observation["last_levels"] == 0).all() and observation["chunks_left"].tolist() == [3]
    lowest[0] = 2
    observation, _, _, _, info = env.step(lowest)
    assert info["illegal_actions"] == 1 and info["bytes"] == 0.0 and info["download_time_s"] == env.slot_s
    assert env.action_masks().shape == (3 + 64 * 7,)
    assert make("chunk").action_masks().all()


def test_where_the_link_is_no_limit_both_kinds_of_requests_show_the_same() -> None:
    kwargs = {"network": steady(5000.0), "rtt_s": 0.0, "max_chunks": 15}
    for name in ("streaming/whole-sphere", "streaming/oracle"):
        whole, single = make("chunk", **kwargs), make("tiles", **kwargs)
        first, second = play(whole, make_agent(name)), play(single, make_agent(name))
        assert (whole.levels == single.levels).all()
        assert total(first) == pytest.approx(total(second), rel=1e-9)


def turning() -> TraceSet:
    """A head that rests and, every four seconds, turns by a quarter within a second."""
    angle = np.repeat(np.arange(12) * 90.0, 20)
    angle[20:] = np.minimum(angle[:-20] + np.tile(np.arange(20) * 18.0, 11), angle[20:])
    lon = (angle + 180.0) % 360.0 - 180.0
    heads = HeadTrace("turns", "v", 5.0, np.stack([lon, np.zeros_like(lon), np.zeros_like(lon)], axis=1))
    return TraceSet("turning", "test", (heads,))


def test_an_upgrade_near_the_deadline_helps_where_the_prediction_was_wrong() -> None:
    kwargs = {"traces": turning(), "network": steady(28.0), "buffer_target_s": 5.0}
    once, again = make(**kwargs), make(**kwargs)
    early, late = play(once, make_agent("streaming/predictive")), play(again, make_agent("streaming/two-tier"))
    assert total(late, "quality") > total(early, "quality") + 1.0 and total(late) > total(early) + 2.0
    assert total(late, "replaced_bytes") > 0.0 and total(late, "stall_s") <= total(early, "stall_s") + 1e-9
    # A head at rest is predicted well from the beginning: coming back costs bytes and brings nothing.
    still = TraceSet("still", "test", (HeadTrace("rests", "v", 5.0, np.zeros((240, 3))),))
    kwargs["traces"] = still
    assert total(play(make(**kwargs), make_agent("streaming/two-tier"))) < total(
        play(make(**kwargs), make_agent("streaming/predictive", blur_deg=9.0))
    )


@pytest.mark.parametrize("name", ["streaming/two-tier", "streaming/predictive", "streaming/crowd", "any/random"])
def test_same_seed_same_numbers(name) -> None:
    kwargs = {"predictor": "viewport/hold-last"} if name == "streaming/crowd" else {}
    env = make(max_chunks=8, crowd=4)
    agent = make_agent(name, **kwargs)
    first, second = ([info["reward"] for info in play(env, agent, 2, 1)] for _ in range(2))
    assert first == second and len(first) > 8


def test_the_oracle_bounds_the_rules() -> None:
    env = make(max_chunks=30)

    def mean(name):
        return np.mean([total(play(env, make_agent(name), trace, trace % 8)) for trace in range(0, 32, 8)])

    assert mean("streaming/oracle") > max(mean("streaming/predictive"), mean("streaming/two-tier"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kwargs", [{}, {"crowd": 3, "chunk_s": 0.5, "render_mode": "rgb_array"}])
def test_gymnasium_accepts_requests_of_tiles(kwargs) -> None:
    env = make(max_chunks=5, **kwargs)
    check_env(env, skip_render_check=True)
    keys = set(env.observation_space.spaces)
    assert set(env.metadata["modalities"]) == keys == set(env.metadata["scales"])
    assert {"held_levels", "deadline_s"} <= keys and "held_levels" not in make("chunk").observation_space.spaces


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"requests": "tile"}, "requests must be one of chunk, tiles"),
        ({"action_mode": "pair"}, "action_mode='tiles'"),
        ({"slot_s": 0.0}, "slot_s must be positive"),
        ({"slot_s": float("inf")}, "slot_s must be positive"),
        ({"slot_s": "soon"}, "slot_s is a number"),
    ],
)
def test_mistakes_get_one_clear_line(kwargs, message) -> None:
    with pytest.raises(NetLLMGymError, match=message) as caught:
        make(**{"requests": "tiles", **kwargs})
    assert "\n" not in str(caught.value)


def test_wrong_actions_and_agents_are_refused() -> None:
    env = make(max_chunks=4)
    env.reset(seed=0)
    for action in (np.zeros(64, np.int64), np.append(4, np.ones(64, np.int64)), np.append(0, np.full(64, 9))):
        with pytest.raises(ConfigError, match="the action must be"):
            env.step(action)
    for wrong in ({"window_s": 0.0}, {"share": -1.0}):
        with pytest.raises(ConfigError, match="must be positive"):
            make_agent("streaming/two-tier", **wrong)
    plain = make("chunk")
    plain.reset(seed=0)
    with pytest.raises(ConfigError, match="requests='tiles'"):
        make_agent("streaming/two-tier").reset(EnvInfo.of(plain))


# Sums of reward, bytes and wasted bytes of 30 chunks (viewer 3, link 2) before requests of tiles were an option.
BEFORE = {
    "streaming/predictive": (20.014553315578056, 72115697.0, 38470009.0, 30.134533366332604),
    "streaming/whole-sphere": (14.577911942369399, 71090288.0, 47329446.0, 30.134533366332608),
    "streaming/oracle": (25.589262338179925, 72187805.0, 33547460.0, 30.134533366332597),
    "streaming/crowd": (18.68437566269332, 72171768.0, 38770738.0, 30.1345333663326),
}


@pytest.mark.parametrize("name", BEFORE)
def test_requests_of_chunks_give_the_numbers_they_gave(name) -> None:
    if name == "streaming/crowd":
        pytest.importorskip("torch")
    env = gym.make(STREAM, max_chunks=30, **({"crowd": 4} if name == "streaming/crowd" else {})).unwrapped
    infos = play(env, make_agent(name), 3, 2)
    now = (total(infos), total(infos, "bytes"), total(infos, "wasted_bytes"), infos[-1]["wall_time_s"])
    assert now == pytest.approx(BEFORE[name], rel=1e-12)
