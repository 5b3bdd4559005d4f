from __future__ import annotations

import importlib
import io
import tarfile

import pytest

from netllm_gym.errors import DownloadError
from netllm_gym.traces.fetch import Source, content_digest, fetch_files

SOURCE = Source("owner/repo", "c" * 40)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("NETLLM_GYM_MIRROR", tmp_path.as_uri())
    path = tmp_path / "owner" / "repo" / f"{SOURCE.commit}.tar.gz"
    path.parent.mkdir(parents=True)
    return path


def _archive(path, members: dict[str, bytes], link: str | None = None) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"repo-{SOURCE.commit}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(f"repo-{SOURCE.commit}/data/link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info)


def test_selected_files_are_read_and_links_ignored(mirror) -> None:
    _archive(mirror, {"data/b": b"2", "data/a": b"1", "code.py": b"x"}, link="/etc/passwd")
    found = fetch_files(SOURCE, ["data/*"])
    assert found == {"data/a": b"1", "data/b": b"2"}
    assert fetch_files(SOURCE, ["data/*"], content_digest(found)) == found


def test_changed_content_is_refused(mirror) -> None:
    _archive(mirror, {"data/a": b"1"})
    with pytest.raises(DownloadError, match="digest mismatch"):
        fetch_files(SOURCE, ["data/*"], "0" * 64)


def test_missing_broken_and_oversized_archives_are_one_line(mirror, monkeypatch) -> None:
    with pytest.raises(DownloadError, match="the mirror has no"):
        fetch_files(SOURCE, ["*"])
    mirror.write_bytes(b"not an archive")
    with pytest.raises(DownloadError, match="not a readable archive"):
        fetch_files(SOURCE, ["*"])
    _archive(mirror, {"data/a": b"1" * 1000})
    whole = mirror.read_bytes()
    mirror.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DownloadError):
        fetch_files(SOURCE, ["*"])
    mirror.write_bytes(whole)
    with pytest.raises(DownloadError, match="no file matches"):
        fetch_files(SOURCE, ["other/*"])
    # The package also offers a function of the module's name.
    monkeypatch.setattr(importlib.import_module("netllm_gym.traces.fetch"), "MAX_MEMBER_BYTES", 10)
    with pytest.raises(DownloadError, match="larger than"):
        fetch_files(SOURCE, ["data/*"])
