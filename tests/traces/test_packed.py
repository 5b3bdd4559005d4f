"""Files packed with gzip, bzip2 or xz are read like what is in them, and broken or swollen ones are one sentence."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces import packed, reading
from netllm_gym.traces.user import understand

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
LINK = b"time_s,throughput_mbps\n" + b"".join(b"%d,%d.5\n" % (i, 2 + i % 3) for i in range(40))
HEAD = b"timestamp,yaw,pitch\n" + b"".join(b"%.2f,%.1f,5.0\n" % (i / 20, i / 2) for i in range(200))


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(("kind", "data"), [("network", LINK), ("head", HEAD)])
def test_a_packed_file_is_read_like_the_plain_one(tmp_path: Path, suffix: str, kind: str, data: bytes) -> None:
    plain, small = tmp_path / "a" / "video1_user2.csv", tmp_path / "b" / f"video1_user2.csv.{suffix}"
    for path, content in ((plain, data), (small, PACKERS[suffix](data))):
        path.parent.mkdir()
        path.write_bytes(content)
    first, second = (understand(path) for path in (plain.parent, small.parent))
    assert first.kind == second.kind == kind and len(first.traces) == len(second.traces) == 1
    if kind == "network":
        assert (first.traces[0].throughput_mbps == second.traces[0].throughput_mbps).all()
    else:
        assert (first.traces[0].user, first.traces[0].video) == (second.traces[0].user, second.traces[0].video)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_that_is_cut_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"link.csv.{suffix}"
    path.write_bytes(PACKERS[suffix](LINK * 50)[:-20])
    with pytest.raises(TraceFormatError, match="cannot be read") as caught:
        reading.content(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT_BYTES", 10_000)
    path = tmp_path / f"link.csv.{suffix}"
    path.write_bytes(PACKERS[suffix](b"0" * 100_000))
    with pytest.raises(TraceFormatError, match="unpacked"):
        reading.content(path)


def test_names_lose_what_packed_them_alone() -> None:
    assert [packed.inner_name(name) for name in ("a.csv.XZ", "a.csv.gz", "a.csv")] == ["a.csv", "a.csv", "a.csv"]
