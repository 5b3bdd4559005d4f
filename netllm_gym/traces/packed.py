"""Files that gzip, bzip2 or xz packed are read like what is in them; they tell themselves by how they begin."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

_OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open))
# What their names end in, to be left out of the name of what is inside.
SUFFIXES = (".gz", ".bz2", ".xz")
# What reading a broken one raises.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacked. How much comes out is the reader's to bound."""
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
    return cast(IO[bytes], opener(path, "rb")) if opener else path.open("rb")


def inner_name(name: str) -> str:
    """Return a file's name without what packed it."""
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), name)
