"""What a choice drawn from predicted gaps loses on average: the part of a loss that looks at decisions, not at values.

A regression of gaps spends itself on rare disasters of several ranges; which of two near levels is the better one
moves it little. Expected regret moves with just that, and with nothing where the choice is clear.
"""

from __future__ import annotations

from typing import Any


def expected_regret(predicted: Any, gaps: Any, there: Any, temperature: float) -> Any:
    """Return the mean regret of choices drawn from softmax(predicted / temperature), differentiable.

    Args:
        predicted: gaps to the best choice, a torch tensor ``[N, choices]``, at most 0 where they are right.
        gaps: the true ones, ``[N, choices]``, in the same unit.
        there: which choices exist, bool ``[N, choices]``.
        temperature: in that unit; small ones leave all but ties to the best prediction.
    """
    chances = (predicted / temperature).masked_fill(~there, float("-inf")).softmax(-1)
    return -(chances * gaps.masked_fill(~there, 0.0)).sum(-1).mean()
