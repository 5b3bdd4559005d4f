"""Playable DASH content whose every segment weighs what a video manifest says, to the byte.

Each level is a short real H.264 encode (a test pattern that shows the level and the time), smaller than the manifest
asks for, cut into one fragment a chunk. What is missing is filled up with an ISO-BMFF ``free`` box when the segment is
served, so that a video of 270 MB takes 10 MB in the cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from netllm_gym.errors import ConfigError, DatasetError, TraceFormatError
from netllm_gym.files import atomic_path, cache_dir, digest, write_json
from netllm_gym.testbed import mp4
from netllm_gym.testbed.tools import ffmpeg
from netllm_gym.traces import VideoManifest

FRAMES_PER_S = 12
# (width, height, constant rate factor): the first that is small enough for every chunk of a level is taken.
QUALITIES = ((480, 270, 34), (320, 180, 36), (160, 90, 40), (64, 36, 48), (32, 18, 51))
# A level's encode may fill this much of its smallest chunk: a later version of ffmpeg must not overflow it.
FILL = 0.8
RECIPE = 2  # part of the cache's key: raise it when the encode changes


@dataclass(frozen=True)
class Content:
    """A video that can be served.

    Attributes:
        folder: where the encodes lie (``level-0.mp4`` …, ``content.json``).
        video: its manifest.
        codecs: RFC 6381 name of each level's codec.
    """

    folder: Path
    video: VideoManifest
    codecs: tuple[str, ...]

    @cached_property
    def _levels(self) -> list[tuple[bytes, list[bytes]]]:
        return [mp4.cut((self.folder / f"level-{n}.mp4").read_bytes()) for n in range(self.video.levels)]

    def initialisation(self, level: int) -> bytes:
        """Return the initialisation segment of a level."""
        return self._levels[level][0]

    def size(self, level: int, chunk: int) -> int:
        """Bytes of a segment: the manifest's."""
        return int(self.video.chunk_bytes[chunk, level])

    def segment(self, level: int, chunk: int) -> bytes:
        """Return the media segment of `chunk` (from 0) at `level`; its length is :meth:`size`."""
        real = self._levels[level][1][chunk]
        return real + mp4.padding(self.size(level, chunk) - len(real))

    def mpd(self) -> str:
        """Return the DASH manifest: on demand, one video, addresses ``LEVEL/init.mp4`` and ``LEVEL/NUMBER.m4s``."""
        chunk_ms = Fraction(self.video.chunk_s).limit_denominator(1000)
        seconds = self.video.chunks * self.video.chunk_s
        representations = "\n".join(
            f'      <Representation id="{n}" bandwidth="{round(float(kbps) * 1000)}" codecs={quoteattr(name)}/>'
            for n, (kbps, name) in enumerate(zip(self.video.bitrates_kbps, self.codecs, strict=True))
        )
        return f"""<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"
     mediaPresentationDuration="PT{seconds:.3f}S" minBufferTime="PT{self.video.chunk_s:.3f}S">
  <Period id="0" start="PT0S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
      <SegmentTemplate timescale="{chunk_ms.denominator}" duration="{chunk_ms.numerator}" startNumber="1"
                       initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Number$.m4s"/>
{representations}
    </AdaptationSet>
  </Period>
</MPD>
"""

    def export(self, folder: str | Path) -> Path:
        """Write everything as plain files below `folder`, for any web server; return the path of the MPD."""
        folder = Path(folder)
        for level in range(self.video.levels):
            with atomic_path(folder / str(level) / "init.mp4") as path:
                path.write_bytes(self.initialisation(level))
            for chunk in range(self.video.chunks):
                with atomic_path(folder / str(level) / f"{chunk + 1}.m4s") as path:
                    path.write_bytes(self.segment(level, chunk))
        with atomic_path(folder / "manifest.mpd") as path:
            path.write_text(self.mpd(), encoding="utf-8")
        return folder / "manifest.mpd"


def _room(video: VideoManifest) -> np.ndarray:
    sizes = video.chunk_bytes
    if (sizes != np.round(sizes)).any() or (sizes >= 2**31).any():
        raise ConfigError(f"{video.name}: real segments need whole numbers of bytes below 2 GiB")
    return sizes.min(axis=0)


def _encode(video: VideoManifest, level: int, quality: tuple[int, int, int], target: Path) -> None:
    """Run ffmpeg for one level: constant frame rate, one key frame a chunk, nothing that leans on another chunk."""
    width, height, factor = quality
    frames = max(round(video.chunk_s * FRAMES_PER_S), 1)
    rate = Fraction(frames) / Fraction(video.chunk_s).limit_denominator(1000)
    command = [
        ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi",
        "-i", f"testsrc=size={width}x{height}:rate={rate.numerator}/{rate.denominator}"
        f",hue=h={level * 360 // max(video.levels, 1)}",
        "-frames:v", str(frames * video.chunks), "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline",
        "-pix_fmt", "yuv420p", "-crf", str(factor), "-g", str(frames), "-keyint_min", str(frames),
        "-sc_threshold", "0", "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact",
        "-map_metadata", "-1", "-movflags", "+frag_keyframe+empty_moov+default_base_moof",
        "-video_track_timescale", "12000", "-f", "mp4", str(target),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # On a full disk ffmpeg says so and ends with 0.
    if done.returncode or done.stderr.strip():
        reason = " ".join(done.stderr.split())[-200:] or f"exit code {done.returncode}"
        raise ConfigError(f"ffmpeg could not encode level {level} of {video.name}: {reason}")


def _fits(video: VideoManifest, level: int, segments: list[bytes], room: float) -> bool:
    if len(segments) != video.chunks:
        raise TraceFormatError(f"{video.name} level {level}", f"{len(segments)} fragments for {video.chunks} chunks")
    return max(len(segment) for segment in segments) + mp4.HEADER <= FILL * room


def _level(video: VideoManifest, level: int, room: float, folder: Path) -> str:
    """Encode one level as well as fits; return its codec."""
    target = folder / f"level-{level}.mp4"
    for quality in QUALITIES:
        _encode(video, level, quality, target)
        start, segments = mp4.cut(target.read_bytes())
        if _fits(video, level, segments, room):
            return mp4.codec(start)
    smallest = max(len(segment) for segment in segments)
    raise ConfigError(
        f"{video.name} asks for a chunk of {room:.0f} bytes at level {level}; "
        f"the smallest that plays has about {smallest / FILL:.0f}"
    )


def _digests(folder: Path, levels: int) -> list[str]:
    return [digest([(folder / f"level-{n}.mp4").read_bytes()]) for n in range(levels)]


def load(folder: Path, video: VideoManifest) -> Content:
    """Open what :func:`build` left in `folder`.

    Raises:
        DatasetError: it is missing, incomplete, for another video, or damaged.
    """
    try:
        stored = json.loads((folder / "content.json").read_text(encoding="utf-8"))
        if stored["video"] != video.digest or stored["files"] != _digests(folder, video.levels):
            raise DatasetError(f"{folder}: the content does not match its digest; delete the folder and build again")
        codecs = tuple(str(name) for name in stored["codecs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{folder} holds no content ({type(error).__name__})") from None
    return Content(folder, video, codecs)


def build(
    video: VideoManifest, folder: str | Path | None = None, say: Callable[[str], None] = lambda line: None
) -> Content:
    """Return playable content for a video, encoding it when it is not in the cache yet.

    Args:
        video: any manifest whose sizes are whole numbers.
        folder: where to keep it; by default in the package's cache, named by the manifest's digest.
        say: told what takes long.

    Raises:
        ConfigError: no ffmpeg, sizes that no encode can meet, or no room on the disk.
        DatasetError: what is in the cache is damaged.
    """
    room = _room(video)
    default = cache_dir() / "testbed" / f"content-{RECIPE}-{video.digest[:24]}"
    target = default if folder is None else Path(folder)
    if (target / "content.json").is_file():
        return load(target, video)
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"encoding {video.name}: {video.levels} levels of {video.chunks * video.chunk_s:.0f} s")
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        codecs = [_level(video, level, float(room[level]), work) for level in range(video.levels)]
        files = _digests(work, video.levels)
        write_json(work / "content.json", {"video": video.digest, "codecs": codecs, "files": files})
        try:
            work.rename(target)
        except OSError:  # somebody else built the same meanwhile: theirs is as good
            if not (target / "content.json").is_file():
                raise
    except OSError as error:
        raise ConfigError(f"cannot write content into {target.parent}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load(target, video)
