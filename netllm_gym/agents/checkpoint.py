"""Checkpoint folders: the one writer and the one reader of every trained agent.

``agent.json`` says what the agent is and holds the digest of each weights file, safetensors hold the weights, and
``README.md`` is the card. Nothing is ever unpickled. A kind of agent brings two functions: one that describes it and
hands its weights over, one that rebuilds it. The second is listed in :data:`LOADERS` as ``module:function``, so that
reading one kind never imports another's libraries.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.errors import CheckpointError, NetLLMGymError
from netllm_gym.extras import guarded
from netllm_gym.files import atomic_folder, exact_json, exact_value, file_digest, write_text
from netllm_gym.plugins import call
from netllm_gym.versions import VERSION

FORMAT = 1
DESCRIPTION = "agent.json"
WEIGHTS = "weights.safetensors"
CARD = "README.md"
LOADERS = {
    "llm": "netllm_gym.agents.llm.storage:load",
    "generalist": "netllm_gym.agents.llm.generalist_storage:load_generalist",
    "regret-mlp": "netllm_gym.agents.offline.checkpoint:load",
    "cluster-cql": "netllm_gym.agents.cluster.cql:load",
    "d3rlpy": "netllm_gym.agents.offline.checkpoint:load",
    "actor-critic": "netllm_gym.agents.abr.actor_critic:load",
    "abr-llm": "netllm_gym.agents.abr.llm:load",
    "abr-rows": "netllm_gym.agents.abr.row_agent:load",
    "adaptive": "netllm_gym.agents.cluster.adaptive:load",
    "decima": "netllm_gym.agents.cluster.decima:load",
    "crowd": "netllm_gym.agents.viewport.crowd:load",
    "viewport-network": "netllm_gym.agents.viewport.recurrent:load",
}


def write_checkpoint(
    folder: str | Path,
    description: Mapping[str, Any],
    fill: Callable[[Path], None] | None = None,
    *,
    weights: Mapping[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Write a checkpoint that appears whole or not at all, replacing an earlier checkpoint of that name.

    Args:
        folder: where.
        description: becomes ``agent.json``; needs ``kind``, ``env_id`` and ``config``.
        fill: writes further files into the temporary folder it is given.
        weights: arrays or tensors by name, for ``weights.safetensors``.
        card: text of ``README.md``.

    Raises:
        CheckpointError: the folder exists and is no checkpoint (it is left alone).
    """
    folder = Path(folder)
    if folder.exists() and not (folder / DESCRIPTION).is_file() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} exists and is not a checkpoint; choose another folder")
    with atomic_folder(folder) as temporary:
        if weights is not None:
            write_weights(temporary / WEIGHTS, weights)
        if card:
            (temporary / CARD).write_text(card, encoding="utf-8")
        if fill is not None:
            fill(temporary)
        digests = {path.name: file_digest(path) for path in sorted(temporary.glob("*.safetensors"))}
        rewrite_description(temporary, {"format": FORMAT, "netllm_gym": VERSION, **description, "sha256": digests})
    return folder


def rewrite_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``agent.json``, a line a key: the bounds of a space can be thousands of numbers."""
    lines = ",\n".join(f"  {json.dumps(key)}: {exact_json(value)}" for key, value in description.items())
    write_text(folder / DESCRIPTION, f"{{\n{lines}\n}}\n")


def write_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Write arrays, or torch's tensors, as safetensors."""
    values = dict(sorted(weights.items()))
    if all(type(value).__module__ == "numpy" for value in values.values()):
        from safetensors.numpy import save_file

        save_file(values, path)
    else:
        from safetensors.torch import save_file as save_tensors

        save_tensors({key: value.detach().cpu().contiguous().clone() for key, value in values.items()}, path)


def read_weights(folder: Path, name: str = WEIGHTS, torch: bool = False) -> dict[str, Any]:
    """Read a weights file of a checkpoint as NumPy's arrays, or as torch's tensors.

    Raises:
        CheckpointError: it is missing or broken.
    """
    from safetensors import SafetensorError

    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    reader: Any = importlib.import_module(f"safetensors.{'torch' if torch else 'numpy'}")
    try:
        return dict(reader.load_file(path))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({_reason(error)})") from None


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def rebuilding(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong while an agent is built from its description and weights into one line.

    Raises:
        CheckpointError: the weights do not fit ``agent.json``, or it does not describe an agent.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (
        NetLLMGymError, OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, AssertionError,
        ArithmeticError,
    ) as error:  # fmt: skip
        if isinstance(error, NetLLMGymError) and not isinstance(error, ValueError):
            raise  # an extra that is missing, say: no fault of the folder
        raise CheckpointError(f"{folder}: the weights do not fit {DESCRIPTION} ({_reason(error)})") from None


def space_to_json(space: Any) -> Any:
    """Return a Gymnasium space as what JSON can hold (Minari's form; bounds that are infinite are text)."""
    from minari.serialization import serialize_space

    return json.loads(serialize_space(space), parse_constant=str)  # NumPy reads "-Infinity" as the number again


def space_of_json(value: Any) -> Any:
    """Return the space that :func:`space_to_json` wrote; any exception may come from a broken one."""
    from minari.serialization import deserialize_space

    return deserialize_space(json.dumps(value))


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read and check ``agent.json``.

    Raises:
        CheckpointError: missing, broken, of another format, of a kind not known here, or beside other weights than
            those it was written with.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {DESCRIPTION}")
    try:
        facts = exact_value(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error})") from None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} must hold an object")
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {facts.get('format')!r}; this version reads format {FORMAT}")
    for key, kind in (("kind", str), ("env_id", str), ("config", dict)):
        if not isinstance(facts.get(key), kind):
            raise CheckpointError(f"{path}: {key!r} is missing or not a {kind.__name__}")
    if facts["kind"] not in LOADERS:
        raise CheckpointError(f"{path}: kind {facts['kind']!r} is not known; known: {', '.join(sorted(LOADERS))}")
    digests = facts.get("sha256", {})  # none in the checkpoints of the first releases
    if not isinstance(digests, dict):
        raise CheckpointError(f"{path}: 'sha256' is not an object")
    for name, digest in digests.items():
        weights = path.parent / Path(name).name
        if not weights.is_file():
            raise CheckpointError(f"{weights} is missing")
        if file_digest(weights) != digest:
            raise CheckpointError(f"{weights} is damaged: its content is not what {DESCRIPTION} says")
    return facts


def load_checkpoint(folder: str | Path, **kwargs: Any) -> Agent:
    """Rebuild the agent of a checkpoint folder; `kwargs` go to the loader of its kind.

    Raises:
        CheckpointError: the folder is incomplete, corrupt or of another version.
        MissingExtraError: its kind needs a package that is not installed.
        ConfigError: a keyword that its kind does not take.
    """
    facts = read_description(folder)
    module, _, function = LOADERS[facts["kind"]].partition(":")
    with guarded(f"the {facts['kind']} agent of {folder}"):
        loader = getattr(importlib.import_module(module), function)
    try:
        agent: Agent = call(loader, f"agent {folder}", Path(folder), facts, **kwargs)
    except (NetLLMGymError, ImportError):
        raise
    except Exception as error:  # what a loader trips over is what stands in the files
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{folder}: the checkpoint is damaged, or of another version ({reason})") from error
    return agent
