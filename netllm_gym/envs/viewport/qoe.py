"""Quality of experience of a tiled chunk, paid when it is played."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class ViewQoE:
    """``w1 · quality - w2 · stall_s - w3 · (spatial + change) - w4 · blank``, weights of 1-3 scaled to sum to
    3.

    The form is MANSY's: quality is the mean utility of the tiles in the true view, by the share of the view
    each fills; spatial is their mean absolute deviation; change is the difference to the chunk before (0 for
    the first). Utility is a level's nominal rate over the highest. ``blank`` (ours; published simulators have
    no empty tiles) is the share of the view that shows nothing; a hole is worth minus full quality by
    default.

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
