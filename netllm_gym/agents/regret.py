"""Learning what every action loses against the best one: by value, and by what a choice among the predictions loses.

A regression of gaps spends itself on rare disasters of several ranges; which of two near levels is the better one
moves it little. Expected regret moves with just that, and with nothing where the choice is clear.
"""

from __future__ import annotations

from typing import Any

from netllm_gym.errors import ConfigError


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


def gap_loss(predicted: Any, gaps: Any, there: Any, decision: float, temperature: float) -> Any:
    """Return the squared error of the gaps that exist, plus `decision` times :func:`expected_regret`."""
    from torch.nn.functional import mse_loss  # who calls has torch; the core that reads configurations has not

    loss = mse_loss(predicted[there], gaps[there])
    return loss + decision * expected_regret(predicted, gaps, there, temperature) if decision else loss


def check_decision(decision: float, temperature: float) -> None:
    """Refuse what :func:`gap_loss` has no meaning for.

    Raises:
        ConfigError: a negative weight, or a temperature that is not positive.
    """
    if decision < 0 or temperature <= 0:
        raise ConfigError("decision must not be negative, and decision_temperature must be positive")
