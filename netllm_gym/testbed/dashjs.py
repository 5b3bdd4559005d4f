"""dash.js at a pinned version, brought once by npm, checked by its digest, kept in the cache."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from netllm_gym.errors import DownloadError
from netllm_gym.files import atomic_path, cache_dir, file_digest
from netllm_gym.testbed.tools import npm

VERSION = "5.2.1"
# Of the package, as the npm registry states it, and of the one file that is used.
INTEGRITY = "sha512-axcJmLeJCTJMLUfQRErUJB1KOiU5iHF+DMLBc3FKeox1HPYtGUQlC6Xm5Mm6vhBUR3CHHLIPOqw0JDIqMtP+Dw=="
MEMBER = "package/dist/modern/umd/dash.all.min.js"
SHA256 = "3a22b1f4576ab294f41e56f156cec7972a5f83edda379416778293ff22d2eb49"
MAX_BYTES = 16 * 2**20


def path() -> Path:
    """Where the player is kept."""
    return cache_dir() / "testbed" / f"dash-{VERSION}.js"


def present() -> bool:
    """Whether it is there, whole."""
    return path().is_file() and file_digest(path()) == SHA256


def bring(say: Callable[[str], None] = lambda line: None) -> Path:
    """Return the player's file, fetched when it is not there.

    Raises:
        ConfigError: npm is missing.
        DownloadError: npm cannot get it, or it is not what was pinned.
    """
    target = path()
    if present():
        return target
    say(f"fetching dash.js {VERSION} with npm")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm(), "pack", f"dashjs@{VERSION}", "--ignore-scripts", "--pack-destination", folder]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=300, cwd=folder
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"npm could not fetch dashjs@{VERSION}: {type(error).__name__}") from None
        archive = Path(folder) / f"dashjs-{VERSION}.tgz"
        if done.returncode or not archive.is_file():
            reason = " ".join(done.stderr.split())[-160:]
            raise DownloadError(f"npm could not fetch dashjs@{VERSION}: {reason or 'no file'}")
        data = extract(archive.read_bytes())
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def extract(package: bytes) -> bytes:
    """Return the player's file from the npm package.

    Raises:
        DownloadError: package or file differ from what was pinned.
    """
    if "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode() != INTEGRITY:
        raise DownloadError(f"dashjs@{VERSION} is not the pinned package (digest mismatch)")
    try:
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
            member = archive.getmember(MEMBER)
            if not member.isreg() or member.size > MAX_BYTES:
                raise DownloadError(f"dashjs@{VERSION}: {MEMBER} is not the file it should be")
            handle = archive.extractfile(member)
            data = handle.read() if handle else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise DownloadError(f"dashjs@{VERSION}: not a readable package ({error})") from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DownloadError(f"dashjs@{VERSION}: {MEMBER} does not match its digest")
    return data
