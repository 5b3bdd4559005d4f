"""Ways a checkpoint folder breaks."""

from __future__ import annotations

import json
from pathlib import Path

DAMAGES = ("missing", "torn", "shape")


def damage(folder: Path, kind: str, kept: int) -> None:
    """Break a checkpoint whose ``hidden`` is not 63: no weights, only their first `kept` bytes, or another shape."""
    weights = folder / "weights.safetensors"
    if kind == "missing":
        weights.unlink()
    elif kind == "torn":
        weights.write_bytes(weights.read_bytes()[:kept])
    else:
        about = json.loads((folder / "agent.json").read_text())
        about["config"]["hidden"] = 63
        (folder / "agent.json").write_text(json.dumps(about))
