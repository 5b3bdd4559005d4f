"""The state of a training run on disk: written whole or not at all, taken up again where it stood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError
from netllm_gym.files import atomic_path, digest, exact_value, finite, make_folder, sweep, write_exact_json, write_text


def stored(run: Path) -> bool:
    """Whether `run` holds a state."""
    return (run / "state.json").is_file()


def store(
    run: Path, networks: Mapping[str, Mapping[str, Any]], optimiser: Any, state: dict[str, Any], line: Mapping[str, Any]
) -> None:
    """Write the state of a run, and a line of its log.

    Args:
        run: folder, made when missing.
        networks: name → torch tensors by name.
        optimiser: torch's; its moments are kept.
        state: anything else to take up again, JSON-able; ``config`` must be among it.
        line: appended to ``log.jsonl``.
    """
    from safetensors.torch import save

    make_folder(run)
    sweep(run)
    parts = {**networks, **{f"adam.{number}": found for number, found in optimiser.state_dict()["state"].items()}}
    tensors = {f"{name}.{key}": value.clone() for name, part in parts.items() for key, value in part.items()}
    before = _read(run) if stored(run) else {}
    lines = _log(run)[: before.get("lines", 0)]
    write_text(run / "log.jsonl", "".join(f"{found}\n" for found in (*lines, json.dumps(finite(line)))))
    content = save(tensors)
    # The description is written last and names the tensors it belongs to: a run that dies in between goes on from
    # the state before.
    name = f"state-{digest([content])[:16]}.safetensors"
    with atomic_path(run / name) as temporary:
        temporary.write_bytes(content)
    write_exact_json(run / "state.json", {**state, "tensors": name, "lines": len(lines) + 1})
    _drop_others(run, name)


def _drop_others(run: Path, name: str) -> None:
    for old in run.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def _log(run: Path) -> list[str]:
    path = run / "log.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _read(run: Path) -> dict[str, Any]:
    """Return the description of a run.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        state = exact_value((run / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{run / 'state.json'} is damaged ({error}); delete the folder and train again") from None
    if not isinstance(state, dict) or not {"config", "tensors"} <= set(state):
        raise ConfigError(
            f"{run / 'state.json'} is damaged or of an earlier version; delete the folder and train again"
        )
    return state


def resume(run: Path, config: dict[str, Any], names: tuple[str, ...], optimiser: Any) -> tuple[dict[str, Any], Any]:
    """Read what :func:`store` wrote; the optimiser gets its moments back.

    Returns:
        ``(networks, state)`` as they were stored, networks called `names`.

    Raises:
        ConfigError: the run has another configuration.
    """
    from safetensors.torch import load

    state = _read(run)
    if state["config"] != config:
        raise ConfigError(f"{run} holds a run with other hyper-parameters; choose another folder")
    try:
        content = (run / str(state["tensors"])).read_bytes()
    except OSError as error:
        raise ConfigError(f"{run}: its tensors cannot be read ({error.strerror}); delete it and train again") from None
    if str(state["tensors"]) != f"state-{digest([content])[:16]}.safetensors":
        raise ConfigError(f"{run}: its tensors are damaged; delete the folder and train again")
    tensors = load(content)
    sweep(run)
    _drop_others(run, str(state["tensors"]))

    def part(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    moments = optimiser.state_dict()
    for key, value in part("adam.").items():
        number, _, moment = key.partition(".")
        moments["state"].setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict(moments)
    return {name: part(f"{name}.") for name in names}, state
