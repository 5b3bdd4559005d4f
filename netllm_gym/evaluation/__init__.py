"""Who decided better: paired evaluation, statistics with refusal, figures and a report."""

from __future__ import annotations

from netllm_gym.evaluation.generalisation import generalisation_gap
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.runner import evaluate
from netllm_gym.evaluation.settings import Setting, list_settings, load_setting

__all__ = ["EvaluationResult", "Setting", "evaluate", "generalisation_gap", "list_settings", "load_setting"]


def __getattr__(name: str) -> object:
    if name != "courses":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    from netllm_gym.evaluation import timelines

    warnings.warn("netllm_gym.evaluation.courses is called timelines now", DeprecationWarning, stacklevel=2)
    return timelines
