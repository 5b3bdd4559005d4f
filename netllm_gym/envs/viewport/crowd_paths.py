"""Where earlier viewers of the same video looked, and where they looked next: what a streaming service knows.

Paths stay on the video's clock. A viewer who started `gap` seconds before ours has looked only so far ahead; the mask
says which samples are known at the moment of the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.trace import HeadTrace

MAX_CROWD = 10_000


class CrowdPaths:
    """Paths of earlier viewers, by video.

    Args:
        traces: their head traces, all of one reading and rate; the order is that of their start times, latest first.
        viewers: rows shown.
        gap_s: seconds between the starts of two successive viewers, and between the last of them and ours. 0: all of
            them have seen the whole video.

    Raises:
        ConfigError: traces of several readings or rates, or a number that is no size.
    """

    def __init__(self, traces: Sequence[HeadTrace], viewers: int, gap_s: float = 0.0) -> None:
        if viewers < 1 or not np.isfinite(gap_s) or gap_s < 0:
            raise ConfigError(f"a crowd needs at least one viewer and a gap of 0 s or more, got {viewers} and {gap_s}")
        if len({(trace.reading, trace.hz) for trace in traces}) != 1:
            raise ConfigError("the crowd's head traces must share one reading and one rate")
        self.viewers, self.gap_s, self.hz = viewers, float(gap_s), traces[0].hz
        self._members: dict[str, list[HeadTrace]] = {}
        for trace in traces:
            self._members.setdefault(trace.video, []).append(trace)
        self._tables: dict[str, NDArray[np.float32]] = {}

    @property
    def videos(self) -> list[str]:
        """Videos that somebody has watched."""
        return list(self._members)

    def users(self, video: str) -> list[str]:
        """Viewers of a video, in the order of the table's rows."""
        return [trace.user for trace in self._members.get(video, ())]

    def table(self, video: str) -> NDArray[np.float32]:
        """All paths of a video on its clock, ``[users, samples, 3]``, degrees; NaN where nothing is known."""
        if video not in self._tables:
            members = self._members.get(video, [])
            starts = [round(trace.start_s * self.hz) for trace in members]
            length = max((s + len(t) for s, t in zip(starts, members, strict=True)), default=0)
            table = np.full((len(members), length, 3), np.nan, np.float32)
            for row, (start, trace) in enumerate(zip(starts, members, strict=True)):
                table[row, start : start + len(trace)] = np.where(trace.valid[:, None], trace.angles_deg, np.nan)
            self._tables[video] = table
        return self._tables[video]

    def around(self, video: str, user: str, now: int, history: int, future: int) -> tuple[NDArray, NDArray]:
        """Paths from `history` samples before sample `now` of the video's clock to `future` samples after it.

        Args:
            video: watched by our viewer.
            user: our viewer, who is left out.
            now: first sample that is not known of our viewer.
            history, future: samples before and from `now` on.

        Returns:
            Angles ``[viewers, history + future, 3]`` in degrees, 0 where unknown, and a mask of that shape without
            the last axis.
        """
        shown = np.full((self.viewers, history + future, 3), np.nan, np.float32)
        if video in self._members:
            table = self.table(video)
            rows = [row for row, other in enumerate(self.users(video)) if other != user][: self.viewers]
            first, last = max(now - history, 0), min(now + future, table.shape[1])
            if last > first:
                at = first - (now - history)
                shown[: len(rows), at : at + last - first] = table[rows, first:last]
        known: NDArray[np.bool_] = np.asarray(np.isfinite(shown).all(axis=-1))
        if self.gap_s:
            lead = np.floor(self.gap_s * self.hz * np.arange(1, self.viewers + 1))
            known = known & (np.arange(history + future)[None] < history + lead[:, None])
        return np.where(known[..., None], shown, np.float32(0.0)), known

    def spaces(self, samples: int) -> dict[str, spaces.Space]:
        """Spaces of ``crowd_deg`` and ``crowd_mask`` for windows of so many samples."""
        return {
            "crowd_deg": spaces.Box(-np.inf, np.inf, (self.viewers, samples, 3), np.float32),
            "crowd_mask": spaces.Box(0, 1, (self.viewers, samples), np.int8),
        }

    def observe(self, trace: HeadTrace, now: int, history: int, future: int) -> dict[str, NDArray]:
        """What an environment shows of the crowd around sample `now`; arguments and shapes as for :meth:`around`."""
        paths, known = self.around(trace.video, trace.user, now, history, future)
        return {"crowd_deg": paths, "crowd_mask": known.astype(np.int8)}
