"""The state of a training run on disk: written whole or not at all, taken up again where it stood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError
from netllm_gym.files import atomic_path, write_json


def stored(run: Path) -> bool:
    """Whether `run` holds a state."""
    return (run / "state.json").is_file()


def store(
    run: Path, networks: Mapping[str, Mapping[str, Any]], optimiser: Any, about: dict[str, Any], line: Mapping[str, Any]
) -> None:
    """Write the state of a run, and a line of its log.

    Args:
        run: folder, made when missing.
        networks: name → torch tensors by name.
        optimiser: torch's; its moments are kept.
        about: anything else to take up again, JSON-able; ``config`` must be among it.
        line: appended to ``log.jsonl``.
    """
    from safetensors.torch import save_file

    run.mkdir(parents=True, exist_ok=True)
    parts = {**networks, **{f"adam.{number}": found for number, found in optimiser.state_dict()["state"].items()}}
    tensors = {f"{name}.{key}": value.clone() for name, part in parts.items() for key, value in part.items()}
    with atomic_path(run / "state.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(run / "state.json", about)
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def resume(run: Path, config: dict[str, Any], names: tuple[str, ...], optimiser: Any) -> tuple[dict[str, Any], Any]:
    """Read what :func:`store` wrote; the optimiser gets its moments back.

    Returns:
        ``(networks, about)`` as they were stored, networks called `names`.

    Raises:
        ConfigError: the run has another configuration.
    """
    from safetensors.torch import load_file

    about = json.loads((run / "state.json").read_text(encoding="utf-8"))
    if about["config"] != config:
        raise ConfigError(f"{run} holds a run with other hyper-parameters; choose another folder")
    tensors = load_file(run / "state.safetensors")

    def part(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    state = optimiser.state_dict()
    for key, value in part("adam.").items():
        number, _, moment = key.partition(".")
        state["state"].setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict(state)
    return {name: part(f"{name}.") for name in names}, about
