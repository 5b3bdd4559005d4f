"""What a GPU does with the agent: is it right, is it fast, what does it cost at the paper's size.

``netllm-gym bench gpu`` runs the sections of :mod:`netllm_gym.agents.llm.gpu_sections`; each writes its part of the
report when it ends, the most important first, and one that fails is recorded and does not stop the rest. On a CPU
everything runs with tiny sizes (``smoke``), which proves the command and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from netllm_gym.agents.llm.gpu_bench import Bench
from netllm_gym.agents.llm.gpu_sections import SECTIONS
from netllm_gym.errors import ConfigError


def measure_gpu(
    out: str | Path | None = None,
    smoke: bool = False,
    budget_s: float = 600.0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run every section; return (and, after each section, write to `out`) what was found.

    Args:
        out: JSON file to write.
        smoke: tiny sizes, on whatever device is there.
        budget_s: sections that would not end within it are left out, and say so.
        say: receives a line after each section.

    Raises:
        ConfigError: no CUDA device, without `smoke`.
    """
    bench = Bench(smoke, budget_s, Path(out) if out else None, say)
    if bench.device.type != "cuda" and not smoke:
        raise ConfigError("bench gpu needs a CUDA device, there is none here; --smoke proves the command on a CPU")
    return bench.run(SECTIONS)


def table(report: dict[str, Any]) -> list[dict[str, str]]:
    """Flatten a report into rows of `section`, `what`, `value`."""
    rows = []

    def walk(section: str, path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(section, f"{path}, {key}" if path else str(key), inner)
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append({"section": section, "what": path, "value": shown})

    for section, found in report.items():
        walk(section, "", found)
    return rows
