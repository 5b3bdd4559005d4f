"""Public data from pinned commit archives: downloaded once, verified file by file, never executed.

``NETLLM_GYM_MIRROR`` redirects the download to another root with the same layout
(``<owner>/<repo>/<commit>.tar.gz``); ``file://`` roots are read in place.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import tarfile
import urllib.parse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netllm_gym.errors import DownloadError
from netllm_gym.files import cache_dir

ORIGIN = "https://github.com/{repository}/archive/{commit}.tar.gz"
# No public set comes near these; an archive that exceeds them is hostile or wrong.
MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 2**30
MAX_MEMBERS = 100_000


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
        with tarfile.open(path, mode="r:gz") as archive:
            for count, member in enumerate(archive):
                if count > MAX_MEMBERS:
                    raise DownloadError(f"{path}: more than {MAX_MEMBERS} members")
                inner = member.name.partition("/")[2]
                if not member.isreg() or not any(fnmatch.fnmatchcase(inner, pattern) for pattern in patterns):
                    continue
                total += member.size
                if member.size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
                    raise DownloadError(f"{path}: {member.name} is larger than any file of this set")
                handle = archive.extractfile(member) or io.BytesIO()
                files[inner] = handle.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DownloadError(f"{path}: not a readable archive ({error})") from None
    if not files:
        raise DownloadError(f"{path}: no file matches {', '.join(patterns)}")
    files = dict(sorted(files.items()))
    if sha256 is not None and content_digest(files) != sha256:
        raise DownloadError(
            f"{path}: the files differ from the pinned ones (digest mismatch); delete it and fetch again"
        )
    return files
