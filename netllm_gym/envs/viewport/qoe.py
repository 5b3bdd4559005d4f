"""Quality of experience of a tiled chunk, paid when it is played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import ConfigError, UnknownNameError

# The test preferences of MANSY (IEEE TMC 2024), its weights of quality, stall and variation, and their equal
# mix.
PRESETS = {
    "balanced": (3.0, 3.0, 3.0),
    "quality": (5.0, 1.0, 3.0),
    "stall": (2.0, 4.0, 3.0),
    "smooth": (1.0, 3.0, 5.0),
    "quality-stall": (4.0, 4.0, 1.0),
}


UTILITIES = ("rate", "log")


def level_utility(utility: str | Sequence[float], ladder_kbps: ArrayLike) -> NDArray[np.float64]:
    """Return what each level of a ladder is worth, ``[L]``, the highest 1.

    Args:
        utility: ``rate``, the rate over the highest; ``log``, ``ln(rate / lowest) / ln(highest / lowest)``, which is 0
            at the lowest level; or a number for every level (a mean VMAF, say), divided by the highest.
        ladder_kbps: rates, rising, ``[L]``.

    Raises:
        ConfigError: another name, or numbers that do not fit the ladder, are negative or do not rise.
    """
    rates = np.asarray(ladder_kbps, np.float64)
    if isinstance(utility, str):
        if utility not in UTILITIES:
            raise UnknownNameError("utility of levels", utility, UTILITIES)
        if utility == "rate" or len(rates) == 1:
            return rates / rates[-1]
        return np.log(rates / rates[0]) / np.log(rates[-1] / rates[0])
    try:
        worth = np.asarray(utility, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"utility is a name or a number for every level, got {utility!r}") from None
    if worth.shape != rates.shape or not np.isfinite(worth).all() or worth[0] < 0 or (np.diff(worth) <= 0).any():
        raise ConfigError(f"utility needs {len(rates)} rising numbers, none negative, one for each level")
    if worth[-1] <= 0:
        raise ConfigError("the utility of the highest level must be positive")
    return worth / worth[-1]


@dataclass(frozen=True)
class ViewQoE:
    """``w1 · quality - w2 · stall_s - w3 · (spatial + change) - w4 · blank``, weights of 1-3 scaled to sum to
    3.

    The form is MANSY's: quality is the mean utility of the tiles in the true view, by the share of the view
    each fills; spatial is their mean absolute deviation; change is the difference to the chunk before (0 for
    the first). What a level is worth says :func:`level_utility`. ``blank`` (ours; published simulators have no empty
    tiles) is the share of the view that shows nothing; a hole is worth minus full quality by default.

    Attributes:
        quality, stall, variation, blank: the weights w1 to w4.
    """

    quality: float = 1.0
    stall: float = 1.0
    variation: float = 1.0
    blank: float = 1.0

    @classmethod
    def preset(cls, name: str) -> ViewQoE:
        """Return MANSY's weights by name, normalised.

        Raises:
            UnknownNameError: no such preset.
        """
        if name not in PRESETS:
            raise UnknownNameError("360-degree QoE", name, PRESETS)
        weights = PRESETS[name]
        scale = 3.0 / sum(weights)
        return cls(*(scale * weight for weight in weights))

    def __post_init__(self) -> None:
        if min(self.quality, self.stall, self.variation, self.blank) < 0:
            raise ConfigError("QoE weights must not be negative")

    def terms(self, share: np.ndarray, utility: np.ndarray, before: float | None) -> tuple[float, float, float, float]:
        """Return ``quality, spatial, change, blank`` of a played chunk.

        Args:
            share: mean share of the true view each tile filled while the chunk played, ``[T]``, sums to 1.
            utility: of each tile as downloaded, ``[T]``; NaN where it was skipped.
            before: quality of the chunk before, ``None`` for the first.
        """
        empty = np.isnan(utility)
        shown = np.where(empty, 0.0, utility)
        quality = float(share @ shown)
        spatial = float(share @ np.abs(shown - quality))
        return quality, spatial, 0.0 if before is None else abs(quality - before), float(share @ empty)


class PlayedChunks:
    """Scores chunks in their order, once they have been played.

    Args:
        qoe: the weights.
        utility: of each level, ``[L]``.
        share: mean share of the true view per chunk and tile, ``[chunks, T]``.
        sizes: bytes, ``[chunks, L, T]``.
    """

    def __init__(
        self, qoe: ViewQoE, utility: NDArray[np.float64], share: NDArray[np.float64], sizes: NDArray[np.float64]
    ) -> None:
        self._qoe, self._share, self._sizes = qoe, share, sizes
        self._utility_or_nan = np.append(utility, np.nan)  # index -1: skipped
        self._played = 0
        self._before: float | None = None

    def until(self, end: int, levels: NDArray[np.int64]) -> dict[str, Any]:
        """Score the chunks before `end` that have not been scored; return the sums of their terms.

        Args:
            end: how many chunks have been played to their end.
            levels: of every tile when its chunk began to play, -1 = a hole, ``[chunks, T]``.
        """
        quality = spatial = change = blank = wasted = 0.0
        first = self._played
        while self._played < end:
            n = self._played
            share, shown = self._share[n], levels[n]
            terms = self._qoe.terms(share, self._utility_or_nan[shown], self._before)
            self._before = terms[0]
            quality, spatial = quality + terms[0], spatial + terms[1]
            change, blank = change + terms[2], blank + terms[3]
            unseen = np.flatnonzero((share <= 0) & (shown >= 0))
            wasted += float(self._sizes[n][shown[unseen], unseen].sum())
            self._played += 1
        played = self._played - first
        return {
            "quality": quality,
            "spatial": spatial,
            "change": change,
            "blank": blank,
            "wasted_bytes": wasted,
            "played": played,
            "hit_rate": 1.0 - blank / played if played else 1.0,
        }
