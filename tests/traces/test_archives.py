"""Archives of trace files are read like the folders they hold, within bounds and nowhere else."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import gymnasium as gym
import pytest

import netllm_gym
from netllm_gym.errors import TraceFormatError
from netllm_gym.traces import archives
from netllm_gym.traces.user import understand

COOKED = {f"set/trace_{k}": "".join(f"{i} {1.5 + k}\n" for i in range(20)).encode() for k in range(2)}
HEADS = {
    f"logs/v{k}/u1.csv": ("time,yaw,pitch,roll\n" + "".join(f"{i / 10},{i},{i % 20},0\n" for i in range(300))).encode()
    for k in range(2)
}


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def _tar(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_an_archive_is_its_folder(tmp_path: Path, name: str) -> None:
    if name.endswith("zip"):
        path = _zip(tmp_path / name, COOKED)
    else:
        path = _tar(tmp_path / name, COOKED, {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(
            name.rpartition(".")[2], "w"))  # fmt: skip
    found = netllm_gym.traces.load(path)
    assert [trace.name for trace in found] == ["trace_0", "trace_1"]
    assert [trace.mean_mbps for trace in found] == [1.5, 2.5]


def test_an_environment_plays_a_packed_set(tmp_path: Path) -> None:
    env = gym.make("netllm_gym/ViewportPrediction-v0", traces=str(_zip(tmp_path / "heads.zip", HEADS)))
    env.reset(seed=0)
    env.step(env.action_space.sample())


def test_names_that_lead_elsewhere_and_links_are_left_out(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    bad = {"../out.txt": b"1 2\n3 4\n", "/abs.txt": b"1 2\n", ".hidden": b"x", "__MACOSX/._a": b"\0"}
    path = _zip(inside / "a.zip", {**bad, **COOKED})
    with tarfile.open(inside / "b.tar", "w") as out:
        link = tarfile.TarInfo("set/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
        for name, data in {**bad, **COOKED}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    for archive in (path, inside / "b.tar"):
        assert len(understand(archive).traces) == 2
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "b.tar", "in"]


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TEXT_BYTES", 1000)
    big = {"a": b"1 2\n" * 1000}
    for path in (_zip(tmp_path / "a.zip", big), _tar(tmp_path / "a.tar.gz", big, "w:gz")):
        with pytest.raises(TraceFormatError, match="more than any archive"):
            understand(path)
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(TraceFormatError, match="more than any archive"):
        understand(_zip(tmp_path / "b.zip", COOKED))


def test_messages_name_the_archive_and_the_file_inside(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"set/one.txt": b"0 1.5\n5 1.5\n3 1.5\n9 2\n10 3\n"})
    with pytest.raises(TraceFormatError, match=r"a\.zip: one\.txt:3: time"):
        understand(path)


@pytest.mark.parametrize("data", [b"PK\x03\x04rest", b"PK\x03\x04" + b"\0" * 600])
def test_a_broken_archive_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(TraceFormatError, match="archive"):
        understand(tmp_path / "a.zip")


def test_a_cut_off_archive_is_one_line(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar.gz", {"a": bytes(range(256)) * 4000}, "w:gz")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(TraceFormatError, match=r"a\.tar\.gz: not a readable archive"):
        understand(path)
    with pytest.raises(TraceFormatError, match="holds no files"):
        understand(_zip(tmp_path / "e.zip", {".x": b"1"}))
