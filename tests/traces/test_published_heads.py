"""Head logs in the shapes that published data sets have: places beside turns, answers beside logs, other clocks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.user import understand

COUNT = 300
TIME = np.arange(COUNT) / 20
YAW, PITCH = 70 * np.sin(TIME / 1.7), 25 * np.sin(TIME / 1.1)
NECK_M = 0.12


def _pose(right_handed: bool, neck_m: float = NECK_M) -> tuple[np.ndarray, np.ndarray]:
    """Return places and quaternions (x, y, z, w) of a head that turns about its neck, in Unity's axes or OpenXR's."""
    turn = Rotation.from_euler("YX", np.column_stack([YAW, -PITCH]), degrees=True)
    place = neck_m * turn.apply([0.0, 0.3, 1.0]) + [0.0, 1.6, 0.0]
    quaternion = turn.as_quat()
    if right_handed:
        place, quaternion = place * [1, 1, -1], quaternion * [-1, -1, 1, 1]
    return place, quaternion


def _write(path: Path, header: str, columns: list[np.ndarray], separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack(columns)
    path.write_text(header + "\n" + "".join(separator.join(f"{x:.6g}" for x in row) + "\n" for row in rows))
    return path


def _sees(trace: Any, yaw: np.ndarray = YAW, pitch: np.ndarray = PITCH) -> None:
    assert np.allclose(trace.angles_deg[:, 0], yaw[::4][: len(trace.angles_deg)], atol=0.5)
    assert np.allclose(trace.angles_deg[:, 1], pitch[::4][: len(trace.angles_deg)], atol=0.5)


@pytest.mark.parametrize("right_handed", [False, True])
@pytest.mark.parametrize(
    "header", [
        "time_s,px,py,pz,qx,qy,qz,qw",
        "timestep,PositionX,PositionY,PositionZ,QuaternionX,QuaternionY,QuaternionZ,QuaternionW",
        "t_unity,x_unity,y_unity,z_unity,qx_unity,qy_unity,qz_unity,qw_unity",
        "oculusTS,hmdposx,hmdposy,hmdposz,hmdrotx,hmdroty,hmdrotz,hmdrotw",
    ],
)  # fmt: skip
def test_where_a_head_moves_tells_whose_axes_its_quaternions_have(tmp_path, header, right_handed) -> None:
    place, quaternion = _pose(right_handed)
    clock = TIME if header.startswith("t") and "step" not in header else TIME * 1000
    found = understand(_write(tmp_path / "log.csv", header, [clock, place, quaternion]))
    _sees(found.traces[0])
    assert any(("opengl" if right_handed else "unity") in said and "rises" in said for said in found.sentences())


def test_a_place_that_stands_still_tells_nothing(tmp_path) -> None:
    place, quaternion = _pose(True, 0.0)
    found = understand(_write(tmp_path / "log.csv", "time_s,x,y,z,qx,qy,qz,qw", [TIME, place, quaternion]))
    _sees(found.traces[0], -YAW, -PITCH)
    assert any("the usual one" in said for said in found.sentences())


def test_a_walk_around_something_does_not_turn_the_axes(tmp_path) -> None:
    place, quaternion = _pose(False)
    around = -2.0 * Rotation.from_quat(quaternion).apply([0.0, 0.0, 1.0]) * [1, 0, 1]
    found = understand(_write(tmp_path / "log.csv", "time_s,x,y,z,qx,qy,qz,qw", [TIME, place + around, quaternion]))
    _sees(found.traces[0])


@pytest.mark.parametrize("down", [False, True])
def test_a_head_that_sinks_tells_that_its_pitch_looks_down(tmp_path, down) -> None:
    place, _ = _pose(False)
    columns = [TIME, YAW, -PITCH if down else PITCH, place]
    found = understand(_write(tmp_path / "log.csv", "time_s,yaw,pitch,pos_x,pos_y,pos_z", columns))
    _sees(found.traces[0])
    assert down == any("looks down" in said for said in found.sentences())


@pytest.mark.parametrize("right_handed", [False, True])
def test_where_a_head_moves_tells_whose_angles_about_three_axes_are(tmp_path, right_handed) -> None:
    place, _ = _pose(right_handed)
    turns = [PITCH, -YAW] if right_handed else [-PITCH, YAW]
    columns = [TIME, place, *turns, np.zeros(COUNT)]
    found = understand(_write(tmp_path / "log.csv", "time_s,pos_x,pos_y,pos_z,rot_x,rot_y,rot_z", columns))
    _sees(found.traces[0])


def test_steps_that_only_count_rows_are_frames(tmp_path) -> None:
    found = understand(_write(tmp_path / "log.csv", "timestep,yaw,pitch", [np.arange(COUNT), YAW, PITCH]))
    assert any("frames" in said and "--frame-rate" in said for said in found.sentences())
    assert found.traces[0].duration_s == pytest.approx((COUNT - 1) / 30, abs=0.3)


def test_answers_and_notes_of_any_shape_beside_logs_are_passed_over(tmp_path) -> None:
    _, quaternion = _pose(False)
    (tmp_path / "a" / "test0" / "dive").mkdir(parents=True)
    frames = np.arange(COUNT)
    rows = np.column_stack([TIME, frames, quaternion[:, [3, 2, 0, 1]]])
    log = tmp_path / "a" / "test0" / "dive" / "dive_0.txt"
    log.write_text("".join(" ".join(f"{x:.6g}" for x in row) + "\n" for row in rows))
    (tmp_path / "a" / "answers.txt").write_text("0 12345678-abcd\n1 male\n2 27\n")
    (tmp_path / "a" / "sickness.csv").write_text("1,2,0,1\n0,0,3,1\n2,1,0,0\n")
    (tmp_path / "a" / "ragged.csv").write_text("question,answer\nhow was it,good,very\n1,2\n")
    found = understand(tmp_path)
    assert (found.kind, len(found.traces)) == ("head", 1)
    assert any("skipped 3 files" in said for said in found.sentences())


def test_a_log_that_is_damaged_is_not_taken_for_answers(tmp_path) -> None:
    for name in ("u1", "u2"):
        _write(tmp_path / "v1" / f"{name}.csv", "time_s,yaw,pitch", [TIME, YAW, PITCH])
    (tmp_path / "v1" / "u3.csv").write_text("time_s,yaw,pitch\n" + "0,1,2\n" * 5 + "0.1,1\n0.2,1,2\n")
    with pytest.raises(TraceFormatError, match=r"u3\.csv:7"):
        understand(tmp_path)
    (tmp_path / "v1" / "u3.csv").rename(tmp_path / "v1" / "a0.csv")
    with pytest.raises(TraceFormatError, match=r"a0\.csv:7"):
        understand(tmp_path)


@pytest.mark.parametrize(
    "header",
    ["time yaw pitch ", "time;yaw;pitch", "time_s,yaw,pitch,", "time,view,\n,yaw,pitch", "time,yaw,pitch\n,deg,deg"],
)  # fmt: skip
def test_names_that_stand_otherwise_than_the_rows_below_them(tmp_path, header) -> None:
    found = understand(_write(tmp_path / "log.csv", header, [TIME, YAW, PITCH]))
    _sees(found.traces[0])


def test_a_header_with_a_name_too_many_is_refused_and_not_dropped(tmp_path) -> None:
    with pytest.raises(TraceFormatError, match="expected 4 columns, found 3"):
        understand(_write(tmp_path / "log.csv", "time,yaw,pitch,roll", [TIME, YAW, PITCH]))


def test_a_title_with_more_commas_than_columns_is_no_header(tmp_path) -> None:
    _sees(
        understand(
            _write(tmp_path / "log.csv", "Room 3, night, viewer 7, 2nd run\ntime,yaw,pitch", [TIME, YAW, PITCH])
        ).traces[0]
    )


@pytest.mark.parametrize("header", ["index,w,x,y,z", "yaw,pitch,roll,name,blood_pressure"])
def test_an_orientation_without_a_clock_says_what_to_call_one(tmp_path, header) -> None:
    _, quaternion = _pose(False)
    columns = [np.full(COUNT, 3.0), quaternion[:, [3, 0, 1, 2]]] if "w" in header.split(",") else [YAW] * 5
    with pytest.raises(TraceFormatError, match="call it time_s"):
        understand(_write(tmp_path / "log.csv", header, columns))


@pytest.mark.parametrize("key", ["{:.2f}", "2024-01-01T00:00:{:06.3f}Z"])
def test_json_samples_that_stand_under_their_times(tmp_path, key) -> None:
    samples = {key.format(t): {"yaw": y, "pitch": p} for t, y, p in zip(TIME, YAW, PITCH, strict=True)}
    (tmp_path / "log.json").write_text(json.dumps({"u1": samples, "u2": samples}))
    found = understand(tmp_path / "log.json")
    assert [trace.user for trace in found.traces] == ["u1", "u2"]
    _sees(found.traces[0])


def test_numbered_json_samples_need_times_of_their_own(tmp_path) -> None:
    samples = {str(i): {"yaw": y, "pitch": p} for i, (y, p) in enumerate(zip(YAW, PITCH, strict=True))}
    (tmp_path / "log.json").write_text(json.dumps(samples))
    with pytest.raises(TraceFormatError, match="no list of samples"):
        understand(tmp_path / "log.json")
    timed = {key: {"t": TIME[int(key)], **sample} for key, sample in samples.items()}
    (tmp_path / "log.json").write_text(json.dumps(timed))
    _sees(understand(tmp_path / "log.json").traces[0])


def test_the_oldest_pickles_are_named(tmp_path) -> None:
    (tmp_path / "log").write_bytes(pickle.dumps(np.ones(3), protocol=0))
    with pytest.raises(TraceFormatError, match="a pickle, which may run code"):
        understand(tmp_path / "log")


@pytest.mark.parametrize("header", ["time,qr,qi,qj,qk", "time,real,i,j,k", "time,q_w,q_i,q_j,q_k"])
def test_quaternions_by_the_letters_of_hamilton(tmp_path, header) -> None:
    _, quaternion = _pose(False)
    _sees(understand(_write(tmp_path / "log.csv", header, [TIME, quaternion[:, [3, 0, 1, 2]]])).traces[0])


def test_columns_that_hold_the_size_of_the_frame(tmp_path) -> None:
    across, down = (YAW + 180) / 360, (90 - PITCH) / 180
    size = [np.full(COUNT, 2000.0), np.full(COUNT, 1000.0)]
    header = "time,x,y,width,height"
    found = understand(_write(tmp_path / "px.csv", header, [TIME, across * 2000, down * 1000, *size]))
    _sees(found.traces[0])
    _sees(understand(_write(tmp_path / "share.csv", header, [TIME, across, down, *size])).traces[0])


def test_dotnet_ticks_under_that_name(tmp_path) -> None:
    ticks = [f"{638_000_000_000_000_000 + round(t * 1e7)},{y},{p}\n" for t, y, p in zip(TIME, YAW, PITCH, strict=True)]
    (tmp_path / "log.csv").write_text("Ticks,HeadYaw,HeadPitch\n" + "".join(ticks))
    _sees(understand(tmp_path / "log.csv").traces[0])


def test_a_clock_of_whole_seconds_does_not_cost_what_lies_between(tmp_path) -> None:
    _, quaternion = _pose(False)
    rows = [f"15.12.2023 11:24:{int(t):02d}," + ",".join(f"{x:.6f}" for x in q) + ",9.1,9.2\n"
            for t, q in zip(TIME, quaternion, strict=True)]  # fmt: skip
    header = "TimeStamp,CameraXRot,CameraYRot,CameraZRot,CameraWRot,CameraYaw,CameraPitch\n"
    (tmp_path / "log.csv").write_text(header + "".join(rows))
    found = understand(tmp_path / "log.csv")
    _sees(found.traces[0])
    assert any("coarse" in said for said in found.sentences())


def test_two_logs_under_one_clock_are_not_spread(tmp_path) -> None:
    clock = np.repeat(TIME, 2)
    turned = np.column_stack([YAW, YAW + 90]).ravel()
    with pytest.raises(TraceFormatError, match="two different orientations"):
        understand(_write(tmp_path / "log.csv", "time,yaw,pitch", [clock, turned, np.repeat(PITCH, 2)]))


def test_eyes_beside_a_head_in_json_are_no_further_viewers(tmp_path) -> None:
    def log(turn: np.ndarray) -> list[dict[str, float]]:
        return [{"TimeStamp": t, "Pitch": p, "Yaw": y} for t, p, y in zip(TIME, PITCH, turn, strict=True)]

    videos = [{"VideoID": v, "HM": log(YAW), "EM": log(YAW + 9), "LEM": log(YAW + 8)} for v in ("V1", "V2")]
    (tmp_path / "P1.json").write_text(json.dumps({"data": [{"ParticipantID": "P1", "videos": videos}]}))
    found = understand(tmp_path / "P1.json")
    assert [(trace.user, trace.video) for trace in found.traces] == [("P1", "V1"), ("P1", "V2")]
    _sees(found.traces[1])


def test_logs_behind_folders_of_other_things_are_found(tmp_path) -> None:
    (tmp_path / "1_scores").mkdir()
    for i in range(9):
        (tmp_path / "1_scores" / f"P{i}.csv").write_text("clip,score\nA,3\nB,4\n")
    _write(tmp_path / "2_head" / "P1.csv", "time,yaw,pitch", [TIME, YAW, PITCH])
    found = understand(tmp_path)
    assert (found.kind, len(found.traces)) == ("head", 1)


def test_shares_of_a_head_go_before_those_of_a_gaze(tmp_path) -> None:
    across, down = (YAW + 180) / 360, (90 - PITCH) / 180
    columns = [TIME, across * 0 + 0.4, down * 0 + 0.6, across, down]
    _sees(understand(_write(tmp_path / "log.csv", "time,gaze_u,gaze_v,head_u,head_v", columns)).traces[0])


def test_angles_of_a_device_are_refused_whatever_stands_before_their_names(tmp_path) -> None:
    header = "time,orientation_alpha,orientation_beta,orientation_gamma"
    with pytest.raises(TraceFormatError, match="call them yaw, pitch, roll"):
        understand(_write(tmp_path / "log.csv", header, [TIME, YAW, PITCH, PITCH]))


def test_names_of_a_right_handed_world_tell_where_nothing_moves(tmp_path) -> None:
    _, quaternion = _pose(True)
    found = understand(_write(tmp_path / "webxr_log.csv", "time,qx,qy,qz,qw", [TIME, quaternion]))
    _sees(found.traces[0])
    assert any("webxr" in said for said in found.sentences())
    columns = [TIME, PITCH, -YAW, np.zeros(COUNT)]
    _sees(
        understand(_write(tmp_path / "aframe" / "u1.csv", "time,rotation.x,rotation.y,rotation.z", columns)).traces[0]
    )
