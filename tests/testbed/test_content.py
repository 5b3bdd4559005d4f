"""Content plays, and every segment weighs what its manifest says."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DatasetError, TraceFormatError
from netllm_gym.testbed import content, mp4, tools
from netllm_gym.traces import VideoManifest
from netllm_gym.traces.video.mpd import read_mpd
from tests.testbed.conftest import small_video


def test_every_segment_weighs_what_the_manifest_says(content_folder: Path) -> None:
    video = small_video()
    built = content.load(content_folder, video)
    for level in range(video.levels):
        for chunk in range(video.chunks):
            segment = built.segment(level, chunk)
            assert len(segment) == video.chunk_bytes[chunk, level] == built.size(level, chunk)
            kinds = [kind for kind, _, _ in mp4.boxes(segment)]
            assert kinds == [b"moof", b"mdat", b"free"]


def test_a_real_decoder_plays_a_mixture_of_levels(content_folder: Path, tmp_path: Path) -> None:
    video = small_video()
    root = content.load(content_folder, video).export(tmp_path / "files").parent
    for level in range(video.levels):
        whole = tmp_path / f"{level}.mp4"
        segments = [root / str(level) / f"{n + 1}.m4s" for n in range(video.chunks)]
        whole.write_bytes((root / str(level) / "init.mp4").read_bytes() + b"".join(s.read_bytes() for s in segments))
        done = subprocess.run(
            [tools.ffmpeg(), "-v", "error", "-i", str(whole), "-f", "null", "-progress", "-", "-"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not done.stderr
        frames = [line for line in done.stdout.splitlines() if line.startswith("frame=")]
        assert int(frames[-1].removeprefix("frame=")) == video.chunks * video.chunk_s * content.FRAMES_PER_S


def test_the_mpd_is_one_that_the_package_reads(content_folder: Path) -> None:
    video = small_video()
    read = read_mpd(content.load(content_folder, video).mpd().encode(), "mpd")
    assert read.bitrates_kbps.tolist() == video.bitrates_kbps.tolist()
    assert (read.chunks, read.chunk_s) == (video.chunks, video.chunk_s)


def test_damage_is_noticed(content_folder: Path, tmp_path: Path) -> None:
    video = small_video()
    for name in ("content.json", "level-0.mp4", "level-1.mp4", "level-2.mp4"):
        (tmp_path / name).write_bytes((content_folder / name).read_bytes())
    content.load(tmp_path, video)
    data = bytearray((tmp_path / "level-1.mp4").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "level-1.mp4").write_bytes(data)
    with pytest.raises(DatasetError, match="digest"):
        content.build(video, tmp_path)
    with pytest.raises(DatasetError, match="digest"):
        content.load(content_folder, VideoManifest("other", [80, 180, 400], 4.0, video.chunk_bytes + 1))


def test_sizes_that_no_encode_can_meet_are_refused(ffmpeg, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="asks for a chunk of 200 bytes at level 0"):
        content.build(VideoManifest("tiny", [1, 2], 1.0, [[200, 90_000]] * 2), tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []  # nothing half-built is left
    with pytest.raises(ConfigError, match="whole numbers"):
        content.build(VideoManifest("half", [1, 2], 1.0, [[20000.5, 90_000]] * 2), tmp_path / "half")


def test_a_full_disk_leaves_nothing_behind(ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(content, "write_json", full)
    video = VideoManifest("one", [80], 1.0, [[40_000]])
    with pytest.raises(ConfigError, match="No space left on device"):
        content.build(video, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_ffmpeg_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match="apt install ffmpeg"):
        content.build(small_video(), tmp_path / "x")


def test_boxes_that_lie_are_refused() -> None:
    for data in (b"\0\0\0", b"\0\0\0\4free", b"\0\0\1\0free", b"\0\0\0\1free" + b"\xff" * 8):
        with pytest.raises(TraceFormatError):
            list(mp4.boxes(data))
    for size in (1, 7, 2**32):
        with pytest.raises(TraceFormatError):
            mp4.padding(size)
    for size in (0, 8, 9, 1000):
        assert len(mp4.padding(size)) == size
    with pytest.raises(TraceFormatError, match="no fragment"):
        mp4.cut(mp4.padding(16))
    with pytest.raises(TraceFormatError, match=r"no H\.264"):
        mp4.codec(mp4.padding(16))


def test_cut_leaves_out_the_index_at_the_end() -> None:
    box = lambda kind, size: size.to_bytes(4, "big") + kind + bytes(size - 8)  # noqa: E731
    start, segments = mp4.cut(box(b"ftyp", 16) + box(b"moof", 12) + box(b"mdat", 20) + box(b"mfra", 16))
    assert len(start) == 16 and [len(segment) for segment in segments] == [32]
    assert np.frombuffer(start, np.uint8)[4:8].tobytes() == b"ftyp"
