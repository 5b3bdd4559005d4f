"""A user's own head logs: loaded by path, imported under a name, and refused when they are not what they say."""

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, NetLLMGymError, TraceFormatError
from netllm_gym.traces.head.geometry import canonical_to_quaternion, lonlat_to_vector
from netllm_gym.traces.head.user import guess_columns

TIME = np.arange(0.0, 30.0, 0.1)
ANGLES = np.column_stack([20 * np.sin(TIME), 10 * np.cos(TIME), 3 * np.sin(TIME / 2)])


def write(folder, columns, user="u1", video="v1", header=True, shift=0.0):
    q = canonical_to_quaternion(ANGLES + np.array([shift, 0, 0]))
    values, labels = {
        "ypr": (ANGLES + np.array([shift, 0, 0]), "yaw,pitch,roll"),
        "quaternion-xyzw": (q, "x,y,z,w"),
        "quaternion-wxyz": (q[:, [3, 0, 1, 2]], "w,x,y,z"),
        "vector": (lonlat_to_vector(ANGLES[:, 0] + shift, ANGLES[:, 1]), "x,y,z"),
    }[columns]
    (folder / video).mkdir(parents=True, exist_ok=True)
    path = folder / video / f"{user}.csv"
    np.savetxt(path, np.column_stack([TIME, values]), delimiter=",", header=f"time,{labels}" * header, comments="")
    return path


@pytest.mark.parametrize("columns", ["ypr", "quaternion-xyzw", "quaternion-wxyz", "vector"])
def test_a_header_tells_the_format_and_all_formats_agree(tmp_path, columns) -> None:
    path = write(tmp_path, columns)
    assert guess_columns(path.read_bytes(), "log") == columns
    (found,) = traces.load(tmp_path)
    assert (found.user, found.video, found.hz) == ("u1", "v1", 5.0)
    axes = 2 if columns == "vector" else 3
    np.testing.assert_allclose(found.angles_deg[:, :axes], ANGLES[::2][:, :axes], atol=1e-4)


def test_four_numbers_without_a_header_could_be_two_things(tmp_path) -> None:
    path = write(tmp_path, "quaternion-xyzw", header=False)
    with pytest.raises(TraceFormatError, match="say which"):
        traces.load(tmp_path)
    assert guess_columns(write(tmp_path, "ypr", header=False).read_bytes(), path.name) == "ypr"


def test_imported_logs_play_in_both_environments(tmp_path) -> None:
    import gymnasium as gym

    write(tmp_path / "a", "ypr")
    write(tmp_path / "b", "quaternion-wxyz", user="u2", video="v2", shift=5.0)
    traces.import_heads(tmp_path / "a", "my-heads", split="train")
    traces.import_heads(tmp_path / "b", "my-heads")
    assert len(traces.load("user/my-heads", "all")) == 2
    for name, action in (("Prediction", None), ("Streaming", None)):
        env = gym.make(f"netllm_gym/Viewport{name}-v0", traces="user/my-heads")
        _, info = env.reset(seed=0)
        assert info["user"] == "u2", action
        env.action_space.seed(0)
        env.step(env.action_space.sample())


def test_what_cannot_be_imported(tmp_path) -> None:
    write(tmp_path / "a", "ypr", user="u3")
    traces.import_heads(tmp_path / "a", "twice")
    with pytest.raises(ConfigError, match="stands in split 'test'"):
        traces.import_heads(tmp_path / "a", "twice", split="train")
    with pytest.raises(ConfigError, match="no split 'valid'; it has test"):
        traces.load("user/twice", "valid")
    with pytest.raises(ConfigError, match="letters"):
        traces.import_heads(tmp_path / "a", "../x")
    (tmp_path / "a" / "v1" / "u4.csv").write_text("time,yaw,pitch,roll\n0,0,95,0\n1,0,0,0\n")
    with pytest.raises(NetLLMGymError, match="out of range"):
        traces.import_heads(tmp_path / "a", "bad")
    with pytest.raises(NetLLMGymError):
        traces.load("user/bad")
