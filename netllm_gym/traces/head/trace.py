"""Head traces: where one user looks while one video plays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.files import digest

# canonical: (lon, lat, roll), see netllm_gym.traces.head.geometry. published: NetLLM's (roll, pitch, yaw),
# Z-X-Y.
AXES = {"canonical": ("lon", "lat", "roll"), "published": ("roll", "pitch", "yaw")}
_LIMITS = {"canonical": (180.0, 90.0, 180.0), "published": (180.0, 90.0, 180.0)}


@dataclass(frozen=True, eq=False, init=False)
class HeadTrace:
    """The orientation of one user's head during one video, on a uniform clock.

    Attributes:
        user, video: identifiers within the data set.
        hz: samples per second.
        angles_deg: shape ``[n, 3]``, degrees; which angles, `reading` tells.
        reading: ``canonical`` (lon, lat, roll) or ``published`` (roll, pitch, yaw as NetLLM stores them).
        start_s: position in the video of the first sample.
        valid: bool ``[n]``; False where the recording has a gap (the angles there only bridge it).
        dataset: where it comes from, e.g. ``jin2022``.

    Raises:
        TraceFormatError: shapes that do not fit, angles out of range or not finite, a rate that is not
            positive.
    """

    user: str
    video: str
    hz: float
    angles_deg: NDArray[np.float64]
    reading: str
    start_s: float
    valid: NDArray[np.bool_]
    dataset: str

    def __init__(
        self,
        user: str,
        video: str,
        hz: float,
        angles_deg: ArrayLike,
        reading: str = "canonical",
        start_s: float = 0.0,
        valid: ArrayLike | None = None,
        dataset: str = "user",
    ) -> None:
        name = f"{dataset}/video{video}/user{user}"
        angles = np.array(angles_deg, dtype=np.float64)
        if reading not in AXES:
            raise TraceFormatError(name, f"unknown reading {reading!r}; known: {', '.join(AXES)}")
        if angles.ndim != 2 or angles.shape[1] != 3 or len(angles) == 0:
            raise TraceFormatError(name, f"angles need the shape [n, 3], got {angles.shape}")
        mask = np.ones(len(angles), bool) if valid is None else np.array(valid, dtype=bool)
        if mask.shape != (len(angles),):
            raise TraceFormatError(name, f"{len(mask)} marks of validity for {len(angles)} samples")
        if not (np.isfinite(hz) and hz > 0):
            raise TraceFormatError(name, f"the sample rate must be positive, got {hz}")
        bad = ~np.isfinite(angles) | (np.abs(angles) > np.array(_LIMITS[reading]) + 1e-6)
        if bad.any():
            row, axis = np.argwhere(bad)[0]
            label = AXES[reading][axis]
            raise TraceFormatError(name, f"sample {row}: {label} {angles[row, axis]:g}° is out of range")
        angles.flags.writeable = False
        mask.flags.writeable = False
        for key, value in (
            ("user", str(user)),
            ("video", str(video)),
            ("hz", float(hz)),
            ("angles_deg", angles),
            ("reading", reading),
            ("start_s", float(start_s)),
            ("valid", mask),
            ("dataset", dataset),
        ):
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.angles_deg)

    @property
    def name(self) -> str:
        """``dataset/video/user``, unique within a set."""
        return f"{self.dataset}/video{self.video}/user{self.user}"

    @property
    def group(self) -> str:
        """What statistics resample by: the pair of video and user."""
        return self.name

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self) / self.hz

    @cached_property
    def digest(self) -> str:
        """SHA-256 of reading, clock, angles and gaps."""
        clock = np.array([self.hz, self.start_s]).tobytes()
        return digest([self.reading.encode(), clock, self.angles_deg.tobytes(), self.valid.tobytes()])
