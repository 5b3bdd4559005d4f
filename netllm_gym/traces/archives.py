"""Archives of trace files: a ``.zip`` or ``.tar`` (also packed with gzip, bzip2 or xz) is read like its folder.

Only regular files are taken, below a folder of our own that is deleted afterwards. Names that lead elsewhere, links and
hidden files are left out. Sizes are counted while unpacking, whatever an archive says about itself.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from netllm_gym.errors import DownloadError, TraceFormatError
from netllm_gym.traces import packed
from netllm_gym.traces.fetch import MAX_MEMBERS, MAX_UNPACKED_BYTES, members
from netllm_gym.traces.text import MAX_TEXT_BYTES

_BROKEN = (*packed.BROKEN, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_PIECE = 2**20


def is_archive(path: Path) -> bool:
    """Tell whether a file is an archive: a tar, or a zip that is no spreadsheet and no file of numpy's."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                if path.suffix.lower() in (".npz", ".xlsx", ".docx", ".ods", ".jar"):
                    return False
                with zipfile.ZipFile(path) as archive:
                    return "[Content_Types].xml" not in archive.namelist()
        with packed.opened(path) as stream:
            return stream.read(512)[257:262] == b"ustar"
    except _BROKEN:
        return False


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the folder of an archive's files, for the length of a ``with``.

    Raises:
        TraceFormatError: too many files or bytes, a broken archive, a password, or no file inside.
    """
    with tempfile.TemporaryDirectory(prefix="netllm-gym-") as temporary:
        root = Path(temporary) / (path.name.split(".")[0] or "archive")
        root.mkdir()
        try:
            count = _unzip(path, root) if zipfile.is_zipfile(path) else _untar(path, root)
        except TraceFormatError:
            raise
        except DownloadError as error:
            raise TraceFormatError(path, str(error).rpartition(": ")[2]) from None
        except _BROKEN as error:
            raise TraceFormatError(path, f"not a readable archive ({' '.join(str(error).split())[:80]})") from None
        if not count:
            raise TraceFormatError(path, "the archive holds no files")
        inner = list(root.iterdir())
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() else root


def _place(root: Path, name: str) -> Path | None:
    """Return where a member goes, or ``None`` where it must not, or holds nothing."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    hidden = any(part.startswith((".", "__MACOSX")) or "\0" in part for part in parts)
    if not parts or hidden or parts[0].startswith("/") or ":" in parts[0] or len(name) > 1000 or len(parts) > 40:
        return None
    target = root.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _unzip(path: Path, root: Path) -> int:
    count = total = 0
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise TraceFormatError(path, f"more than {MAX_MEMBERS} members")
        for info in infos:
            if info.is_dir() or (info.external_attr >> 28) not in (0, 8):  # a link, a device
                continue
            target = _place(root, info.filename)
            if target is None or target.exists():
                continue
            if info.flag_bits & 1:
                raise TraceFormatError(path, "the archive needs a password: unpack it first")
            with archive.open(info) as source, target.open("wb") as copy:
                size = 0
                while piece := source.read(_PIECE):
                    size, total = size + len(piece), total + len(piece)
                    if size > MAX_TEXT_BYTES or total > MAX_UNPACKED_BYTES:
                        raise TraceFormatError(path, f"{info.filename[:80]} unpacks to more than any archive of traces")
                    copy.write(piece)
            count += 1
    return count


def _untar(path: Path, root: Path) -> int:
    count = 0
    with packed.opened(path) as stream:
        for name, size, read in members(cast(BinaryIO, stream), str(path)):
            target = _place(root, name.removeprefix("./"))
            if target is None or target.exists():
                continue
            if size > MAX_TEXT_BYTES:
                raise TraceFormatError(path, f"{name[:80]} unpacks to more than any archive of traces")
            target.write_bytes(read())
            count += 1
    return count


__all__ = ["is_archive", "unpacked"]
