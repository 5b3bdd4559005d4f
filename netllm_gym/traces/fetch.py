"""Public data from pinned commit archives: downloaded once, verified file by file, never executed.

``NETLLM_GYM_MIRROR`` redirects the download to another root with the same layout
(``<owner>/<repo>/<commit>.tar.gz``); ``file://`` roots are read in place.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from netllm_gym.errors import DownloadError
from netllm_gym.files import cache_dir

ORIGIN = "https://github.com/{repository}/archive/{commit}.tar.gz"
# No public set comes near these; an archive that exceeds them is hostile or wrong.
MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 2**30
MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 2 * 2**30
MAX_EXTENDED_BYTES = 2**20
_BLOCK = 512


@dataclass(frozen=True)
class Source:
    """A public repository at a pinned commit.

    Attributes:
        repository: ``owner/name`` on the code host.
        commit: the full commit hash.
    """

    repository: str
    commit: str

    @property
    def url(self) -> str:
        """Where the archive comes from, after ``NETLLM_GYM_MIRROR``."""
        mirror = os.environ.get("NETLLM_GYM_MIRROR")
        if mirror:
            if "://" not in mirror:  # a folder of this machine
                mirror = Path(mirror).expanduser().resolve().as_uri()
            return f"{mirror.rstrip('/')}/{self.repository}/{self.commit}.tar.gz"
        return ORIGIN.format(repository=self.repository, commit=self.commit)


def _archive(source: Source, progress: bool) -> Path:
    """Return the archive on disk, downloading it into the cache when it is not there."""
    parts = urllib.parse.urlsplit(source.url)
    if parts.scheme == "file":
        path = Path(urllib.parse.unquote(parts.path))
        if not path.is_file():
            raise DownloadError(f"the mirror has no {source.repository}/{source.commit}.tar.gz (looked at {path})")
        return path
    import pooch

    folder = cache_dir() / "archives" / source.repository
    try:
        return Path(
            pooch.retrieve(
                source.url,
                known_hash=None,  # hosts do not promise stable archives: the files inside are verified instead
                fname=f"{source.commit}.tar.gz",
                path=folder,
                progressbar=progress,
            )
        )
    except Exception as error:  # pooch passes on whatever its transport raises
        raise DownloadError(f"cannot download {source.url}: {error}") from None


def content_digest(files: dict[str, bytes]) -> str:
    """SHA-256 over the sorted lines ``<sha256 of file>  <path>`` joined by newlines."""
    lines = sorted(f"{hashlib.sha256(data).hexdigest()}  {path}" for path, data in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def members(stream: BinaryIO, path: str) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield ``(name, size, read)`` of the regular files of a tar archive, in one pass, within bounds.

    Names come from the header, or from the extended header (pax, GNU) before it; sizes always from the header, as code
    hosts write them. Links and special files are left out.

    Raises:
        DownloadError: too many members, extended headers or data larger than any public set's.
        ValueError: not a tar archive.
    """
    unpacked, name = 0, ""
    for count in range(MAX_MEMBERS + 1):
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK or not header.strip(b"\0"):
            if not count and header[:1] != b"\0":
                raise ValueError("no tar header")
            return
        if header[257:262] != b"ustar":
            raise ValueError("no ustar header")
        size = _octal(header[124:136])
        kind = header[156:157]
        padded = -(-size // _BLOCK) * _BLOCK
        unpacked += padded
        if unpacked > MAX_UNPACKED_BYTES or (kind in b"xgLK" and size > MAX_EXTENDED_BYTES):
            raise DownloadError(f"{path}: unpacks to more than any archive of traces")
        if kind in b"xgLK" and kind:
            extended = _whole(stream, padded)[:size]
            if kind == b"L":
                name = extended.rstrip(b"\0").decode("utf-8", "replace")
            elif kind == b"x":
                name = _pax_path(extended) or name
            continue
        plain = header[:100].rstrip(b"\0").decode("utf-8", "replace")
        prefix = header[345:500].rstrip(b"\0").decode("utf-8", "replace")
        found = name or (f"{prefix}/{plain}" if prefix else plain)
        name = ""
        taken = False

        def read(size: int = size, padded: int = padded) -> bytes:
            nonlocal taken
            taken = True
            return _whole(stream, padded)[:size]

        if kind in (b"0", b"\0"):
            yield found, size, read
        left = 0 if taken else padded
        while left:
            piece = stream.read(min(left, 2**20))
            if not piece:
                raise ValueError("the archive ends within a file")
            left -= len(piece)
    raise DownloadError(f"{path}: more than {MAX_MEMBERS} members")


def _whole(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ValueError("the archive ends within a file")
    return data


def _octal(field: bytes) -> int:
    text = field.rstrip(b"\0 ").lstrip(b" ")
    if not text.isdigit():
        raise ValueError("a size that is no octal number")
    return int(text, 8)


def _pax_path(records: bytes) -> str:
    """Return the path of a pax header's records, ``<length> path=<value>`` lines."""
    found, at = "", 0
    while at < len(records):
        space = records.find(b" ", at, at + 12)
        if space < 0 or not records[at:space].isdigit() or not int(records[at:space]):
            raise ValueError("a broken pax header")
        record = records[space + 1 : at + int(records[at:space])]
        at += int(records[at:space])
        key, _, value = record.partition(b"=")
        if key == b"path":
            found = value.rstrip(b"\n").decode("utf-8", "replace")
    return found


def fetch_files(
    source: Source, patterns: Sequence[str], sha256: str | None = None, progress: bool = False
) -> dict[str, bytes]:
    """Return the files of `source` whose path inside the repository matches one of the shell-style `patterns`.

    Args:
        source: repository and commit.
        patterns: e.g. ``"data/traces/train/*"``; ``*`` also crosses folders.
        sha256: expected :func:`content_digest` of the selected files; ``None`` skips the check.
        progress: show a progress bar while downloading.

    Returns:
        Path inside the repository → content, sorted by path. Links and special files are ignored.

    Raises:
        DownloadError: no archive, a broken or oversized one, no matching file, or a digest that differs.
    """
    path = _archive(source, progress)
    files: dict[str, bytes] = {}
    total = 0
    try:
        with gzip.open(path, "rb") as stream:
            for name, size, read in members(cast(BinaryIO, stream), str(path)):
                inner = name.partition("/")[2]
                if not any(fnmatch.fnmatchcase(inner, pattern) for pattern in patterns):
                    continue
                total += size
                if size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
                    raise DownloadError(f"{path}: {name} is larger than any file of this set")
                files[inner] = read()
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DownloadError(f"{path}: not a readable archive ({error})") from None
    if not files:
        raise DownloadError(f"{path}: no file matches {', '.join(patterns)}")
    files = dict(sorted(files.items()))
    if sha256 is not None and content_digest(files) != sha256:
        raise DownloadError(
            f"{path}: the files differ from the pinned ones (digest mismatch); delete it and fetch again"
        )
    return files
