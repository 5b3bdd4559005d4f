"""Requests of single tiles: what arrives before its chunk plays, what is dropped, and what an upgrade throws away.

One *slot* sends the requests for tiles of one chunk and lasts until they are answered. Several slots may go to the same
chunk while it has not begun to play: a tile held already is fetched again at a higher level, as in Sabre360
(github.com/UMass-LIDS/sabre360) and in two-tier streaming (Sun et al., JETCAS 2019, doi:10.1109/JETCAS.2019.2898877).

What is late is dropped, in and out of the view, and the video plays on with a hole or with the lower level: players for
360-degree video skip tiles rather than stop the picture (Ghabashneh et al., "Dragonfly", SIGCOMM 2023), and Sabre360's
playback never waits for a tile once it has begun. Only a chunk of which nothing at all is there stops playback.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import bytes_by, transfer_s, wrap

EPSILON_S = 1e-9


@njit(cache=True)
def _arrivals(end: Any, carried: Any, rate: Any, offset: Any, sizes: Any) -> Any:
    """Seconds from `offset` to the arrival of each of `sizes` (bytes), sent one after another."""
    total = 0.0
    out = np.zeros(len(sizes))
    for i in range(len(sizes)):
        total += sizes[i]
        out[i] = transfer_s(end, carried, rate, offset, total)
    return out


@njit(cache=True)
def _delivered(end: Any, carried: Any, rate: Any, offset: Any, seconds: Any) -> Any:
    """Bytes that a link delivers in `seconds` from `offset`."""
    until = offset + seconds
    cycles = math.floor(until / end[-1])
    whole = cycles * carried[-1]
    return whole + bytes_by(end, carried, rate, until - cycles * end[-1]) - bytes_by(end, carried, rate, offset)


@dataclass(frozen=True)
class Slot:
    """What one slot brought.

    Attributes:
        seconds: how long it lasted.
        stall_s: of them without video.
        transfer_s: of them with bytes under way, from the first to the last.
        received: bytes that arrived, the useless ones included.
        replaced: bytes of lower levels, received before, that upgrades made useless.
        late: bytes received of a tile that was not complete when its chunk began to play.
        late_tiles: tiles asked for that were dropped.
    """

    seconds: float
    stall_s: float
    transfer_s: float = 0.0
    received: float = 0.0
    replaced: float = 0.0
    late: float = 0.0
    late_tiles: int = 0

    def info(self) -> dict[str, Any]:
        """Return what the environment reports of it."""
        return {
            "stall_s": self.stall_s,
            "bytes": self.received,
            "replaced_bytes": self.replaced,
            "late_bytes": self.late,
            "late_tiles": self.late_tiles,
            "download_time_s": self.seconds,
        }


def open_window(target_s: float, chunk_s: float) -> int:
    """Return how many chunks may be asked for at once, at most: those that begin within `target_s`."""
    return int(target_s / chunk_s + EPSILON_S) + 1


def slot_spaces(window: int, levels: int, tiles: int) -> dict[str, spaces.Space]:
    """Return the spaces of :meth:`TilePlayer.observe`."""
    return {
        "horizon_steps": spaces.Box(0, np.inf, (window, 2), np.float32),
        "tile_bytes": spaces.Box(0, np.inf, (window, levels, tiles), np.float32),
        "held_levels": spaces.Box(-1, levels - 1, (window, tiles), np.float32),
        "deadline_s": spaces.Box(0, np.inf, (window,), np.float32),
    }


class TilePlayer:
    """A player's buffer of tiles, its playback and its link.

    Args:
        sizes: bytes, ``[chunks, L, T]``.
        chunk_s: seconds of a chunk.
        link: :func:`~netllm_gym.envs.abr.kernel.link_arrays`.
        offset_s: position in the link's cycle at the beginning.
        rtt_s: from the requests of a slot to the first byte; the link's clock runs on.
        slot_s: seconds of a slot in which nothing is asked for.
        target_s: chunks may be asked for whose playout is no further ahead than this.

    Attributes:
        levels: level held of every tile, -1 = none, ``[chunks, T]``.
        position_s: seconds of video that have been played.
        open: the first chunk that has not begun to play: the first that may be asked for.
        stalled: playback waits at the beginning of chunk `open`. The slot that follows ends the wait, whatever it
            brings; so does the first slot of all.
    """

    def __init__(
        self,
        sizes: NDArray[np.float64],
        chunk_s: float,
        link: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        offset_s: float,
        rtt_s: float,
        slot_s: float,
        target_s: float,
    ) -> None:
        self._sizes, self._link, self._offset_s = sizes, link, offset_s
        self._chunk_s, self._rtt_s, self._slot_s, self._target_s = chunk_s, rtt_s, slot_s, target_s
        self._window = open_window(target_s, chunk_s)
        shown = slot_spaces(self._window, *sizes.shape[1:])
        self._shapes = {key: space.shape or () for key, space in shown.items()}
        self.levels = np.full((len(sizes), sizes.shape[2]), -1, np.int64)
        self.position_s, self.open, self.stalled = 0.0, 0, True

    @property
    def over(self) -> bool:
        """Whether the last chunk has begun to play."""
        return self.open >= len(self.levels)

    @property
    def ended(self) -> int:
        """How many chunks have been played to their end."""
        return self.open if self.stalled else self.open - 1

    def first_empty(self) -> int:
        """Return the first chunk, not yet playing, of which nothing is there; the number of chunks if there is none."""
        for chunk in range(self.open, len(self.levels)):
            if (self.levels[chunk] < 0).all():
                return chunk
        return len(self.levels)

    def deadline_s(self, chunk: int) -> float:
        """Return the seconds of playback until a chunk begins to play."""
        return max(chunk * self._chunk_s - self.position_s, 0.0)

    def may_ask(self, chunk: int) -> bool:
        """Whether a chunk, counted from the beginning of the video, may be asked for."""
        within = self.deadline_s(chunk) <= self._target_s + EPSILON_S
        return self.open <= chunk < len(self.levels) and within

    def mask(self) -> NDArray[np.bool_]:
        """Return which of the next chunks may be asked for, ``[W]``."""
        return np.array([self.may_ask(self.open + ahead) for ahead in range(self._window)])

    def observe(self, horizon: Callable[[int], tuple[int, int]]) -> dict[str, NDArray[np.float32]]:
        """Return what is shown of the chunks that have not begun to play, see :func:`slot_spaces`.

        Args:
            horizon: head samples to the last and to the first of a chunk, by how many chunks it lies ahead.
        """
        shown = {key: np.zeros(shape, np.float32) for key, shape in self._shapes.items()}
        shown["held_levels"] -= 1
        for ahead, chunk in enumerate(range(self.open, min(self.open + self._window, len(self.levels)))):
            shown["horizon_steps"][ahead] = horizon(ahead)
            shown["tile_bytes"][ahead] = self._sizes[chunk]
            shown["held_levels"][ahead] = self.levels[chunk]
            shown["deadline_s"][ahead] = self.deadline_s(chunk)
        return shown

    def slot(self, chunk: int, wanted: NDArray[np.int64]) -> Slot:
        """Ask for tiles of one chunk and play meanwhile.

        Tiles are sent one after another, higher levels first, then in order of their number. The slot ends when the
        last has arrived or the chunk begins to play, whichever is earlier. Where nothing is asked for it lasts
        ``slot_s``.

        Args:
            chunk: one that :meth:`may_ask` allows.
            wanted: level of each tile, ``[T]``; what is not above the level held is not asked for.
        """
        empty = self.first_empty()
        until_empty = np.inf if empty >= len(self.levels) else self.deadline_s(empty)
        tiles = np.flatnonzero(wanted > self.levels[chunk])
        tiles = tiles[np.argsort(-wanted[tiles], kind="stable")]
        if not len(tiles):
            waits = self._slot_s if self.stalled else max(self._slot_s - until_empty, 0.0)
            return self._play(Slot(self._slot_s, waits))
        start = float(wrap(self._link[0][-1], self._offset_s + self._rtt_s))
        sizes = self._sizes[chunk, wanted[tiles], tiles]
        arrival = self._rtt_s + _arrivals(*self._link, start, sizes)
        seconds, stall, late = float(arrival[-1]), 0.0, 0.0
        if self.stalled:
            stall = seconds
        elif chunk > empty or (chunk == empty and arrival[0] > until_empty):
            stall = max(seconds - until_empty, 0.0)  # playback waits, so no tile of this chunk can be late
        else:
            seconds = min(seconds, self.deadline_s(chunk))
        arrived = tiles[arrival <= seconds]
        received = float(sizes[: len(arrived)].sum())
        if len(arrived) < len(tiles):
            under_way = float(_delivered(*self._link, start, max(seconds - self._rtt_s, 0.0)))
            late = min(max(under_way - received, 0.0), float(sizes[len(arrived)]))
        had = arrived[self.levels[chunk, arrived] >= 0]
        replaced = float(self._sizes[chunk, self.levels[chunk, had], had].sum())
        self.levels[chunk, arrived] = wanted[arrived]
        moving = max(seconds - self._rtt_s, 0.0)
        return self._play(Slot(seconds, stall, moving, received + late, replaced, late, len(tiles) - len(arrived)))

    def _play(self, slot: Slot) -> Slot:
        """Advance playback and the link by a slot; return it."""
        self._offset_s = float(wrap(self._link[0][-1], self._offset_s + slot.seconds))
        if self.stalled:  # whatever it brought
            self.stalled = False
            self.open += 1
            return slot
        position = self.position_s + slot.seconds - slot.stall_s
        while not self.over and position >= self.open * self._chunk_s - EPSILON_S:
            if (self.levels[self.open] < 0).all():
                position, self.stalled = self.open * self._chunk_s, True
                break
            self.open += 1
        self.position_s = position
        return slot
