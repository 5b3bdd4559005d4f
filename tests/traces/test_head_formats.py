"""Public layouts of head logs: each is recognised, read right, and what was guessed is said; damage beyond the stated
tolerances is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from netllm_gym import traces
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.head import orient
from netllm_gym.traces.head.geometry import canonical_to_quaternion, lonlat_to_vector, wrap_deg
from netllm_gym.traces.head.layout import places
from netllm_gym.traces.head.scales import HeadOptions
from netllm_gym.traces.head.user import understand_heads

TIME = np.round(np.arange(0.0, 30.0, 0.1), 3)
ANGLES = np.column_stack([wrap_deg(170 * np.sin(TIME / 3)), 35 * np.sin(TIME / 5), 5 * np.sin(TIME)])
AT_5HZ = ANGLES[::2]


def write(path, columns, header=None, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(separator.join(f"{x:.9g}" if isinstance(x, float) else str(x) for x in row) for row in columns)
    path.write_text((f"{header}\n" if header else "") + rows + "\n")
    return path


def rows_of(*columns):
    return list(zip(*[np.asarray(c).tolist() for c in columns], strict=True))


def close(trace, axes=3, tolerance=0.05):
    found = trace.angles_deg[:, :axes]
    assert len(found) == len(AT_5HZ)
    return np.abs(wrap_deg(found - AT_5HZ[:, :axes])).max() < tolerance


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("time,pitch,yaw,roll", "0,10,-40,0", (-40, 10, 0)),
        ("roll;yaw;pitch;t", "1;-40;10;0", (-40, 10, 1)),
        ("Timestamp (ms)\tLatitude\tLongitude", "0\t10\t-40", (-40, 10, 0)),
        (
            "no. frame, raw x, raw yaw, raw pitch, raw roll, cal. yaw, cal. pitch, cal. roll",
            "1, 0, 9, 9, 9, -40, 10, 2",
            (-40, 10, 2),
        ),
        ("time,head_yaw_deg,head_pitch_deg,gaze_yaw_deg,gaze_pitch_deg", "0,-40,10,99,9", (-40, 10, 0)),
        ("t,yaw_rad,pitch_rad", f"0,{math.radians(-40)},{math.radians(10)}", (-40, 10, 0)),
    ],
)
def test_the_header_decides_the_columns(tmp_path, header, row, expected) -> None:
    (tmp_path / "log.csv").write_text(f"{header}\n{row}\n")
    found = understand_heads(tmp_path / "log.csv")
    assert found.traces[0].angles_deg[0] == pytest.approx(expected, abs=1e-6)


QUATERNION = canonical_to_quaternion(ANGLES)
VECTOR = lonlat_to_vector(ANGLES[:, 0], ANGLES[:, 1])


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("time,qx,qy,qz,qw", (0, 1, 2, 3)),
        ("time,q_w,q_x,q_y,q_z", (3, 0, 1, 2)),
        ("Timestamp,UnitQuaternion.z,UnitQuaternion.w,UnitQuaternion.x,UnitQuaternion.y", (2, 3, 0, 1)),
        ("elapsed_time,RotationX,RotationY,RotationZ,RotationW", (0, 1, 2, 3)),
        ("t,w,z,y,x", (3, 2, 1, 0)),
        ("time,head_rot_x,head_rot_y,head_rot_z,head_rot_w", (0, 1, 2, 3)),
    ],
)
def test_quaternions_in_any_order(tmp_path, header, order) -> None:
    write(tmp_path / "v1" / "u1.csv", rows_of(TIME, *QUATERNION[:, order].T), header)
    (trace,) = traces.load(tmp_path)
    assert close(trace) and (trace.video, trace.user) == ("v1", "u1")


@pytest.mark.parametrize("convention", orient.AXES)
def test_quaternions_of_each_convention(tmp_path, convention) -> None:
    axes = orient.AXES[convention]
    # The same head in another convention: its rotation in those axes.
    world = Rotation.from_quat(QUATERNION).as_matrix()
    turned = np.einsum("ji,njk,kl->nil", axes, world, axes)
    q = Rotation.from_matrix(turned).as_quat()
    assert np.abs(wrap_deg(orient.from_quaternion(q, convention) - ANGLES)).max() < 1e-6
    write(tmp_path / "log.csv", rows_of(TIME, *q.T), "time,qx,qy,qz,qw")
    found = understand_heads(tmp_path / "log.csv", options=HeadOptions(convention=convention))
    assert close(found.traces[0])


def test_a_headset_that_turns_about_z_is_read_with_z_up(tmp_path) -> None:
    axes = orient.AXES["hamilton"]
    world = Rotation.from_quat(QUATERNION).as_matrix()
    q = Rotation.from_matrix(np.einsum("ji,njk,kl->nil", axes, world, axes)).as_quat()[:, [3, 0, 1, 2]]
    # Corbillon2017: time, frame, w, x, y, z between blanks, under uid-…/test0/<video>/
    where = tmp_path / "uid-7" / "test0" / "Diving" / "Diving_0.txt"
    write(where, rows_of(TIME, np.arange(len(TIME)), *q.T), separator=" ")
    found = understand_heads(tmp_path)
    assert close(found.traces[0])
    assert (found.traces[0].user, found.traces[0].video) == ("7", "Diving")


def test_eight_columns_time_quaternion_vector_are_checked_against_each_other(tmp_path) -> None:
    mirrored = Rotation.from_quat(QUATERNION).as_matrix()
    axes = orient.AXES["opencv"]
    q = Rotation.from_matrix(np.einsum("ji,njk,kl->nil", axes, mirrored, axes)).as_quat()
    write(tmp_path / "u3" / "u3_roller.csv", rows_of(TIME, *q.T, *VECTOR.T))
    found = understand_heads(tmp_path)
    (trace,) = found.traces
    assert close(trace) and (trace.user, trace.video) == ("u3", "roller")
    assert any("opencv" in note for note in found.notes)
    write(tmp_path / "u3" / "u3_roller.csv", rows_of(TIME, *q[::-1].T, *VECTOR.T))
    found = understand_heads(tmp_path)
    assert close(found.traces[0], axes=2) and any("disagree" in note for note in found.notes)


@pytest.mark.parametrize("up", ["y", "z"])
def test_unit_vectors_with_and_without_header(tmp_path, up) -> None:
    v = VECTOR if up == "y" else VECTOR[:, [2, 0, 1]] * np.array([1, -1, 1])
    for header in (None, "time,x,y,z"):
        write(tmp_path / "v.csv", rows_of(TIME, *v.T), header)
        assert close(understand_heads(tmp_path / "v.csv").traces[0], axes=2)


def test_radians_are_recognised_and_said(tmp_path) -> None:
    write(tmp_path / "r.csv", rows_of(TIME, *np.radians(ANGLES).T), "time,yaw,pitch,roll")
    found = understand_heads(tmp_path / "r.csv")
    assert close(found.traces[0]) and any("radians" in note for note in found.notes)
    theta, phi = np.radians(ANGLES[:, 0] + 180.0), np.radians(90.0 - ANGLES[:, 1])
    write(tmp_path / "t.csv", rows_of(TIME, theta, phi), "playback_time(s),theta,phi")
    assert close(understand_heads(tmp_path / "t.csv").traces[0], axes=2)


def test_a_row_a_viewer_in_radians(tmp_path) -> None:
    lines = [
        TIME,
        np.radians(ANGLES[:, 1]),
        np.radians(ANGLES[:, 0]),
        np.radians(-ANGLES[:, 1]),
        np.radians(ANGLES[:, 0]),
    ]
    write(tmp_path / "84.txt", [row.tolist() for row in lines], separator=" ")
    first, second = traces.load(tmp_path)
    assert close(first, axes=2) and (first.video, first.user, second.user) == ("84", "1", "2")
    assert second.angles_deg[:, 1] == pytest.approx(-first.angles_deg[:, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("width", "header"), [(1.0, "Idx, longitude, latitude, start timestamp"), (3840.0, "ms,x,y"), (3840.0, None)]
)
def test_positions_on_the_frame(tmp_path, width, header) -> None:
    x, y = (ANGLES[:, 0] / 360 + 0.5) * width, (0.5 - ANGLES[:, 1] / 180) * (width / 2 if width > 1 else 1.0)
    ms = TIME * 1000
    table = rows_of(np.arange(len(x)), x, y, ms) if width == 1.0 else rows_of(ms, x, y)
    if header is None:
        table = rows_of(x, y, ms)  # the clock comes last
    write(tmp_path / "p.csv", table, header)
    found = understand_heads(tmp_path / "p.csv")
    assert close(found.traces[0], axes=2, tolerance=0.1)
    assert any("ms" in note for note in found.notes) or header is not None
    assert any("frame" in note for note in found.notes)


def test_a_file_with_many_viewers(tmp_path) -> None:
    head = "user,video,time,yaw,pitch,roll"
    rows = [(u, "lake", *r) for u in ("ann", "bob") for r in rows_of(TIME, *ANGLES.T)]
    write(tmp_path / "all.csv", rows, head)
    found = traces.load(tmp_path / "all.csv")
    assert [(t.user, t.video) for t in found] == [("ann", "lake"), ("bob", "lake")] and close(found[1])
    # Salient360's files: the numbers start anew with each viewer
    x, y = ANGLES[:, 0] / 360 + 0.5, 0.5 - ANGLES[:, 1] / 180
    rows = rows_of(np.arange(len(x)), x, y, TIME * 1000) * 3
    write(tmp_path / "one" / "8_cows.csv", rows, "Idx, longitude, latitude, start timestamp")
    found = traces.load(tmp_path / "one")
    assert [(t.user, t.video) for t in found] == [("1", "8_cows"), ("2", "8_cows"), ("3", "8_cows")]


def test_json_logs_of_several_shapes(tmp_path) -> None:
    samples = [
        {"pitch": -float(p), "roll": float(r), "sec": float(t), "yaw": float(y)}
        for t, (y, p, r) in zip(TIME, ANGLES, strict=True)
    ]
    document = {"data": [{"filename": "6.mp4", "hmd": "vive", "pitch_yaw_roll_data_hmd": samples}]}
    (tmp_path / "10.json").write_text(json.dumps(document))
    (trace,) = traces.load(tmp_path)
    assert close(trace) and (trace.user, trace.video) == ("10", "6")
    columns = {"time": TIME.tolist(), "yaw": ANGLES[:, 0].tolist(), "pitch": ANGLES[:, 1].tolist()[:-1]}
    (tmp_path / "10.json").write_text(json.dumps({"a": columns, "b": columns}))
    found = traces.load(tmp_path)
    assert [t.video for t in found] == ["a", "b"] and len(found[0]) == len(AT_5HZ)
    lines = [
        json.dumps({"t": float(t), "q": {"x": q[0], "y": q[1], "z": q[2], "w": q[3]}})
        for t, q in zip(TIME, QUATERNION.tolist(), strict=True)
    ]
    (tmp_path / "10.json").write_text("\n".join(lines))
    assert close(traces.load(tmp_path)[0])


def test_frames_are_counted_and_said(tmp_path) -> None:
    lines = [
        f"frame,{i + 1},forward,{a[0] / 360 + 0.5:.7f},{0.5 + a[1] / 180:.7f},eye,0.5,0.5" for i, a in enumerate(ANGLES)
    ]
    (tmp_path / "003.txt").write_text("\n".join(lines))
    found = understand_heads(tmp_path / "003.txt", options=HeadOptions(frame_hz=10.0))
    assert close(found.traces[0], axes=2)
    assert any("25 a second" in n for n in understand_heads(tmp_path / "003.txt").notes)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/lake/ann.csv", ("ann", "lake")),
        ("a/u07/u07_coaster.csv", ("u07", "coaster")),
        ("a/coaster_user33_orientation.csv", ("33", "coaster")),
        ("a/Experiment_1/12/video_3.csv", ("12", "3")),
        ("a/uid-0a/test0/Rhino/Rhino_0.txt", ("0a", "Rhino")),
        ("a/8_cows_user_2.csv", ("2", "8_cows")),
    ],
)
def test_layouts_of_folders(tmp_path, path, expected) -> None:
    file = tmp_path / path
    assert places(tmp_path / "a", [file])[0][file] == expected
    with pytest.raises(ConfigError, match="not"):
        places(tmp_path / "a", [file], "{viewer}.csv")


def test_a_pattern_names_the_places(tmp_path) -> None:
    write(tmp_path / "x" / "s1-lake.csv", rows_of(TIME, *ANGLES.T), "time,yaw,pitch,roll")
    (trace,) = understand_heads(tmp_path, pattern="{user}-{video}.csv").traces
    assert (trace.user, trace.video) == ("s1", "lake")


# --- repairs and their limits
# -------------------------------------------------------------------------------------------------


def long_log():
    time = np.arange(26_260) / 100.0
    return time, np.column_stack([100 * np.sin(time / 9), 80 * np.sin(time / 13), np.zeros(len(time))])


def test_small_damage_is_repaired_and_counted(tmp_path) -> None:
    time, angles = long_log()
    time[500] = time[499] - 0.009
    angles[900, 1] = -90.23
    path = write(tmp_path / "l.csv", rows_of(time, *angles.T), "time,yaw,pitch,roll")
    path.write_text(path.read_text() + "262.6,1")  # cut off while it was written
    found = understand_heads(path)
    assert found.traces[0].duration_s == pytest.approx(262.6, abs=0.3)
    assert sorted(found.repairs.values()) == [1, 1, 1]
    assert all("at most" in k or "beyond" in k or "cut off" in k for k in found.repairs)


def test_large_damage_is_refused_with_its_line(tmp_path) -> None:
    time, angles = long_log()
    for change, message in (
        (lambda t, a: t.__setitem__(500, t[499] - 0.3), r":502: time .* does not come after"),
        (lambda t, a: a.__setitem__((900, 1), -92.0), r":902: pitch -92° is out of range"),
        (lambda t, a: t.__setitem__(slice(0, 2000, 2), t[0:2000:2] - 0.03), "goes back"),
    ):
        t, a = time.copy(), angles.copy()
        change(t, a)
        path = write(tmp_path / "l.csv", rows_of(t, *a.T), "time,yaw,pitch,roll")
        with pytest.raises(TraceFormatError, match=message):
            understand_heads(path)


def test_logs_that_start_later_keep_their_place_in_the_video(tmp_path) -> None:
    from netllm_gym.envs.viewport.crowd import Crowd

    for user, start in (("a", 0), ("b", 20), ("c", 40)):
        time = np.arange(start, start + 60, 0.2)
        write(tmp_path / "v" / f"{user}.csv", rows_of(time, time, 0 * time, 0 * time), "time,yaw,pitch,roll")
    found = traces.load(tmp_path)
    assert [t.start_s for t in found] == [0.0, 20.0, 40.0]
    seen = Crowd(tuple(found)).directions("v", 250, 251)
    yaw = np.degrees(np.arctan2(seen[:, 0, 0], seen[:, 0, 2]))
    assert yaw == pytest.approx([50.0, 50.0, 50.0], abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.1,0.2,0.3,0.927\n1,0.1,0.2,0.3,0.927\n", "say which"),
        ("0,1,2,100\n.5,2.5,3,-100\n1,2,2,170\n", "roll"),
        ("name,time,colour\na,0,red\n", "no column names an orientation"),
        ("yaw,pitch\n1,2\n", "no column names a time"),
    ],
)
def test_what_nothing_tells_is_refused(tmp_path, text, message) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "u.csv").write_text(text)
    with pytest.raises(TraceFormatError, match=message):
        understand_heads(tmp_path)


@pytest.mark.realdata
def test_netllm_files_by_path_are_read_in_the_canonical_reading(tmp_path, fcc_hsdpa) -> None:
    from netllm_gym.traces import catalog
    from netllm_gym.traces.fetch import Source, fetch_files

    entry = catalog.describe("viewport/jin2022")
    inner = "viewport_prediction/data/viewports/Jin2022/video1/5Hz/simple_5Hz_user1.csv"
    data = fetch_files(Source(entry["repository"], entry["commit"]), [inner])[inner]
    for folder, fine in (("Jin2022", True), ("mine", False)):
        path = tmp_path / folder / "video1" / "5Hz" / "simple_5Hz_user1.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        if fine:
            (trace,) = traces.load(tmp_path / folder)
            wanted = orient.from_quaternion(
                Rotation.from_euler("ZXY", [[4.635097, 9.926961, 153.601913]], degrees=True).as_quat()
            )[0]
            wanted[0] -= 90.0
            assert trace.angles_deg[0] == pytest.approx(wanted, abs=1e-6) and (trace.video, trace.user) == ("1", "1")
        else:
            with pytest.raises(TraceFormatError, match="--dataset"):
                traces.load(tmp_path / folder)
