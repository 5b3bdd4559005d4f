"""Head logs as testers bring them: units in any name, German clocks, gaze beside the head, viewers by letters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from netllm_gym.cli.traces import app
from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.user import understand

YAW = [60 * math.sin(i / 9) for i in range(80)]
PITCH = [20 * math.sin(i / 13) for i in range(80)]


def _log(header: str, row, separator: str = ",") -> str:
    return header + "\n" + "".join(separator.join(map(str, row(i, YAW[i], PITCH[i]))) + "\n" for i in range(80))


def _read(tmp_path: Path, text: str, name: str = "log.csv", encoding: str = "utf-8") -> Any:
    (tmp_path / name).write_bytes(text.encode(encoding))
    return understand(tmp_path / name)


def _sees(trace: Any) -> None:
    assert np.allclose(trace.angles_deg[::5, 0], YAW[::10], atol=0.2)
    assert np.allclose(trace.angles_deg[::5, 1], PITCH[::10], atol=0.2)


def test_unity_angles_with_a_unit_in_their_names_go_before_a_gaze(tmp_path) -> None:
    header = "Time (s),Camera Rotation X (deg),Camera Rotation Y (deg),Camera Rotation Z (deg),Gaze X,Gaze Y,Gaze Z"
    found = _read(tmp_path, _log(header, lambda i, y, p: (i / 10, -p % 360, y % 360, 0, 0.1, 0.1, 0.99)))
    _sees(found.traces[0])
    assert any("Unity" in sentence for sentence in found.sentences())


def test_euler_angles_in_radians_by_their_names(tmp_path) -> None:
    row = lambda i, y, p: (i * 100_000, math.radians(-p), math.radians(y), 0)  # noqa: E731
    _sees(_read(tmp_path, _log("timestamp_us,rot_x_rad,rot_y_rad,rot_z_rad", row)).traces[0])


def test_german_clocks_and_commas(tmp_path) -> None:
    row = lambda i, y, p: [f"{x:.4f}".replace(".", ",") for x in (i / 10, y, p)]  # noqa: E731
    _sees(_read(tmp_path, _log("Zeit [s];Kopf Yaw [°];Kopf Pitch [°]", row, ";"), encoding="cp1252").traces[0])


@pytest.mark.parametrize("form", ["m{}{}", "R[{},{}]", "r_{}{}", "4x4", "cell"])
def test_rotation_matrices(tmp_path, form) -> None:
    turns = Rotation.from_euler(
        "YXZ", np.column_stack([YAW, np.negative(PITCH), np.zeros(80)]), degrees=True
    ).as_matrix()
    first, size = (1, 3) if form == "r_{}{}" else (0, 4 if form == "4x4" else 3)
    names = [(a, b) for a in range(first, first + size) for b in range(first, first + size)]
    shape = "m{}{}" if form == "4x4" else form
    if form == "cell":
        lines = [f'{i / 10},"{turn.round(6).tolist()}"' for i, turn in enumerate(turns)]
        text = "\n".join(["time,rotation", *lines]) + "\n"
    else:
        lines = ["\t".join(["time", *(shape.format(a, b) for a, b in names)])]
        for i, turn in enumerate(turns):
            whole = np.eye(size)
            whole[:3, :3] = turn
            lines.append("\t".join([f"{i / 10}", *(f"{x:.6f}" for x in whole.ravel())]))
        text = "\n".join(lines) + "\n"
    found = _read(tmp_path, text)
    _sees(found.traces[0])
    assert any("rotation matrices" in sentence for sentence in found.sentences())


def test_nine_numbers_that_are_no_rotation_are_refused(tmp_path) -> None:
    names = ",".join(f"m{a}{b}" for a in range(3) for b in range(3))
    with pytest.raises(TraceFormatError):
        _read(tmp_path, _log(f"time,{names}", lambda i, y, p: (i / 10, *range(9))))


def test_fixations_begin_at_their_start(tmp_path) -> None:
    header = "user,video,longitude (deg),latitude (deg),start (ms),duration (ms)"
    found = _read(tmp_path, _log(header, lambda i, y, p: (1, "v", y, p, i * 100, 80)))
    assert found.kind == "head"
    _sees(found.traces[0])


def test_units_are_those_of_a_header_and_notes_are_passed_over(tmp_path) -> None:
    (tmp_path / "u1_v1.csv").write_text(_log("t,yaw,pitch", lambda i, y, p: (i / 10, y, p)))
    (tmp_path / "u2_v1.csv").write_text(
        _log("time,heading,tilt", lambda i, y, p: (i / 10, math.radians(y), math.radians(p)))
    )
    (tmp_path / "info.txt").write_text("The head logs of two viewers.\nAngles grow to the right, see the paper.\n")
    found = understand(tmp_path)
    assert [(trace.user, trace.video) for trace in found.traces] == [("u1", "v1"), ("u2", "v1")]
    for trace in found.traces:
        _sees(trace)
    assert "skipped: info.txt (notes)" in found.sentences()
    assert any(sentence.startswith("u2_v1.csv: angles in radians") for sentence in found.sentences())


@pytest.mark.parametrize("name", ["viewport/synthetic", "logs"])
def test_head_logs_are_drawn(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    turning = _log("t,yaw,pitch", lambda i, y, p: (i / 10, (170 + i + 180) % 360 - 180, p))
    Path("logs/u1_v1.csv").write_text(turning)
    Path("logs/u2_v1.csv").write_text(turning)
    drawn: list[Figure] = []
    saved = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (drawn.append(self), saved(self, *args, **kw)))
    result = CliRunner().invoke(app, ["plot", name, "--out", "heads.png"], catch_exceptions=False)
    assert result.exit_code == 0
    assert Path("heads.png").stat().st_size > 5000
    upper, lower = drawn[0].axes
    assert "yaw" in upper.get_ylabel() and "pitch" in lower.get_ylabel()
    assert 1 < len(upper.lines) == len(lower.lines) <= 4
    for line in upper.lines:  # nothing crosses the figure where a head turns through the back
        assert np.nanmax(np.abs(np.diff(line.get_ydata()))) <= 180.0


@pytest.mark.parametrize("names", ["{user}_{part}", "{part}_{user}", "{user} {part} (deg)", "{user}.{part}"])
@pytest.mark.parametrize("users", [("user1", "user2", "user10"), ("u01", "u02", "u03"), ("P07", "P08", "P09")])
def test_viewers_beside_each_other(tmp_path, names, users) -> None:
    columns = [names.format(user=user, part=part) for user in users for part in ("yaw", "pitch")]
    row = lambda i, y, p: (i / 10, *(x for k in range(3) for x in (y + 10 * k, p + k)))  # noqa: E731
    found = _read(tmp_path, _log(",".join(["time", *columns]), row), "concert.csv")
    assert [(trace.user, trace.video) for trace in found.traces] == [(user, "concert") for user in users]
    _sees(found.traces[0])
    assert np.allclose(found.traces[2].angles_deg[::5, 0], np.add(YAW[::10], 20), atol=0.2)
    assert any("named after viewers" in sentence for sentence in found.sentences())


def test_quaternions_of_viewers_beside_each_other(tmp_path) -> None:
    header = "t," + ",".join(f"viewer{k}_q{c}" for k in (1, 2) for c in "wxyz")
    half = [math.radians(y) / 2 for y in YAW]
    turn = lambda i: (math.cos(half[i]), 0, math.sin(half[i]), 0)  # noqa: E731
    found = _read(tmp_path, _log(header, lambda i, y, p: (i / 10, *turn(i), *turn(0))))
    assert [trace.user for trace in found.traces] == ["viewer1", "viewer2"]
    assert np.ptp(found.traces[0].angles_deg[:, 0]) > 60 and np.ptp(found.traces[1].angles_deg[:, 0]) < 1


@pytest.mark.parametrize(
    "header",
    ["t,user1_yaw,user1_pitch,user1_roll,user2_yaw", "t,yaw,pitch,roll,user1_age"],
)
def test_columns_that_are_not_the_same_for_every_viewer_are_not_parted(tmp_path, header) -> None:
    found = _read(tmp_path, _log(header, lambda i, y, p: (i / 10, y, p, 0, 30)[: header.count(",") + 1]))
    assert len(found.traces) == 1
