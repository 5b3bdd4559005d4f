"""Minari datasets on disk: written whole, described by a card, and loaded as :class:`Experience` for training."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.datasets.card import render_card
from netllm_gym.datasets.config import CollectConfig
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.datasets.integrity import check_files, file_digests, measure
from netllm_gym.datasets.rollout import Record
from netllm_gym.envs.leaves import JOIN, LeafView, fill_of
from netllm_gym.envs.lookup import importable, make_env, metadata_of
from netllm_gym.errors import ConfigError, DatasetError, printable
from netllm_gym.files import boundary, digest, exact_json, exact_value, make_folder, storage, write_text
from netllm_gym.versions import VERSION, versions

_ID = re.compile(r"[\w-]+(/[\w-]+)*-v\d+")


def datasets_root() -> Path:
    """Minari's folder of datasets: ``$MINARI_DATASETS_PATH`` or its default."""
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    make_folder(root)
    return root


def dataset_path(dataset: str) -> Path:
    """Folder of a dataset.

    Raises:
        ConfigError: not a Minari id (``namespace/name-vN``).
    """
    if not _ID.fullmatch(dataset):
        raise ConfigError(f"{dataset!r} is not a dataset id; write namespace/name-v0")
    return datasets_root() / dataset


def check_dataset_id(dataset: str) -> None:
    """Refuse a name that Minari would refuse, before anything is played.

    Raises:
        ConfigError: not a Minari id.
    """
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import validate_namespace

    dataset_path(dataset)
    try:
        namespace = parse_dataset_id(dataset)[0]
        if namespace is not None:
            validate_namespace(namespace)
    except ValueError as error:
        raise ConfigError(f"{dataset!r} is not a dataset id: {error}") from None


def require_storable(space: gym.Space) -> None:
    """Refuse a space that Minari would write and not read again, before anything is played.

    Raises:
        ConfigError: such a space (a Box without entries along one of several axes, say).
    """
    from minari.serialization import deserialize_space, serialize_space

    try:
        if deserialize_space(serialize_space(space)) == space:
            return
        reason = "it comes back as another"
    except Exception as error:  # of Minari or Gymnasium
        reason = printable(error)
    raise ConfigError(f"no dataset can hold {str(space)[:200]}: {reason}")


def describe(dataset: str) -> dict[str, Any]:
    """Return what this package recorded about a dataset: configuration, digests, versions, returns.

    Raises:
        DatasetError: it is not here or was not collected by this package.
    """
    path = dataset_path(dataset) / "netllm_gym.json"
    if not path.is_file():
        here = dataset_path(dataset)
        reason = "was not collected by netllm_gym" if here.exists() else f"is not on this machine ({here})"
        raise DatasetError(f"dataset {dataset} {reason}; collect it with netllm-gym collect")
    try:
        found = exact_value(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"dataset {dataset}: its description is broken ({error})") from None
    if not isinstance(found, dict):
        raise DatasetError(f"dataset {dataset}: its description is broken (not an object)")
    return found


def exists(dataset: str, key: str) -> bool:
    """Whether `dataset` was collected already from the configuration with digest `key`.

    Raises:
        ConfigError: a dataset of that name has other content.
    """
    path = dataset_path(dataset)
    if not path.exists():
        return False
    if describe(dataset).get("key") == key:
        return True
    raise ConfigError(f"dataset {dataset} exists with another configuration; choose another name or raise its version")


@contextmanager
def _minari_root(path: Path) -> Iterator[None]:
    """Let Minari write below `path` instead of the user's datasets."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _bounds(records: Sequence[Record]) -> dict[str, tuple[int, int]]:
    """Most (nodes, edges) that any record holds, by the key of the graph, rounded up so that later ones fit too."""
    largest: dict[str, tuple[int, int]] = {}
    for record in records:
        for name, nodes in record.observations.items():
            key = name.removesuffix(f"{JOIN}nodes")
            links = record.observations.get(f"{key}{JOIN}edge_links")
            if key != name and links is not None:
                most = largest.get(key, (1, 1))
                largest[key] = (max(most[0], nodes.shape[1]), max(most[1], links.shape[1]))
    return {key: (_rounded(nodes), _rounded(edges)) for key, (nodes, edges) in largest.items()}


def _rounded(count: int) -> int:
    """Return the next power of two."""
    return 1 << max(count - 1, 1).bit_length()


def _fitted(key: str, values: np.ndarray, space: gym.Space) -> np.ndarray:
    """Pad the rows of a graph, ``[T + 1, rows, …]``, to those of the space."""
    missing = space.shape[0] - values.shape[1] if space.shape and values.ndim > 1 else 0
    if missing <= 0:
        return values
    rest = np.full((len(values), missing, *values.shape[2:]), fill_of(key), values.dtype)
    return np.concatenate([values, rest], axis=1)


def _buffer(index: int, record: Record, view: LeafView) -> Any:
    from minari.data_collector import EpisodeBuffer

    steps = len(record.rewards)

    def padded(values: np.ndarray) -> np.ndarray:
        """Minari wants an info for the final observation too; nothing was decided there."""
        return np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])

    infos = {"propensity": padded(record.propensity)}
    if record.action_values is not None:
        infos["action_values"] = padded(record.action_values)
    if record.taught is not None:
        infos["taught"] = padded(record.taught)
    if record.action_mask is not None:  # all is legal where nothing was decided
        infos["action_mask"] = np.concatenate([record.action_mask, np.ones_like(record.action_mask[:1])])
    terminations = np.zeros(steps, bool)
    terminations[-1] = record.terminated
    truncations = np.zeros(steps, bool)
    truncations[-1] = not record.terminated
    return EpisodeBuffer(
        id=index,
        observations={key: _fitted(key, record.observations[key], space) for key, space in view.space.spaces.items()},
        actions=record.actions,
        rewards=list(record.rewards),
        terminations=list(terminations),
        truncations=list(truncations),
        infos=infos,
    )


def write_dataset(dataset: str, config: CollectConfig, records: list[Record]) -> None:
    """Write records as the Minari dataset `dataset`, with ``netllm_gym.json`` and a dataset card beside the data."""
    import minari

    env = make_env(config.env, config.env_kwargs)
    inner: Any = env.unwrapped
    played: Any = getattr(inner, "traces", None)
    view = LeafView(env.observation_space, bounds=_bounds(records))
    metadata = metadata_of(env)
    # A class that was registered as an object is stored by its address; one that has none is left out of the dataset.
    spec = env.spec
    address = None if spec is None else importable(spec)
    returns = np.array([record.rewards.sum() for record in records])
    means = np.array([record.rewards.mean() for record in records])
    content = digest(
        value.tobytes() for record in records for _, value in sorted(record.arrays().items()) if value.dtype.kind != "U"
    )
    description = {
        "key": config.key,
        "config": asdict(config),
        "episodes": [{"agent": r.agent, "trace": r.trace, "group": r.group, "steps": len(r.rewards)} for r in records],
        "trace_set": {
            **{key: getattr(played, key, "") for key in ("name", "split", "digest", "licence", "citation")},
            "notes": list(getattr(played, "notes", ())),
        },
        "modalities": view.described(metadata.get("modalities", {}), view.modalities),
        "scales": view.scales(metadata),
        "returns": {
            "mean": float(returns.mean()),
            "min": float(returns.min()),
            "max": float(returns.max()),
            "quantiles": np.quantile(returns, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist(),
            "reward_mean": float(means.mean()),
        },
        "steps": int(sum(len(r.rewards) for r in records)),
        "action_values": "oracle" if config.hindsight else config.values_of,
        "teacher": config.teacher,
        "digest": content,
        "versions": versions(),
    }
    target = dataset_path(dataset)
    make_folder(target.parent)
    # One place per dataset, which its lock guards: what a writer who died left there goes first.
    folder = datasets_root() / ".partial" / f"{dataset.replace('/', '--')}.new"
    with storage(target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        boundary("begin", target)
        with _minari_root(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no separate evaluation environment was named
            minari.create_dataset_from_buffers(
                dataset_id=dataset,
                buffer=[_buffer(i, record, view) for i, record in enumerate(records)],
                env=env if address is spec else address,
                observation_space=view.space,
                action_space=env.action_space,
                algorithm_name="+".join(config.agents),
                code_permalink="https://pypi.org/project/netllm-gym",
                author="netllm_gym",
                author_email="none",
                requirements=[f"netllm_gym=={VERSION}"],
                description=f"{len(records)} episodes of {config.env} by {', '.join(config.agents)}",
                data_format="hdf5",
                jpeg_encoding=False,
            )
            for level in folder.rglob("namespace_metadata.json"):
                wanted = datasets_root() / level.relative_to(folder)
                if not wanted.exists():
                    write_text(wanted, level.read_text(encoding="utf-8"))
        written = folder / dataset
        description["files"] = file_digests(written)
        (written / "netllm_gym.json").write_text(exact_json(description, indent=2) + "\n", encoding="utf-8")
        (written / "README.md").write_text(render_card(dataset, description), encoding="utf-8")
        boundary("written", target)
        os.replace(written, target)
        boundary("replaced", target)
        shutil.rmtree(folder, ignore_errors=True)


class Dataset(str):
    """A dataset on this machine: its id, through which everything of its :class:`Experience` is at hand.

    It can be given wherever an id or experience is wanted; the data are read when something of them is asked for.

    Example: ``collect(config, "me/mix-v0").steps``.
    """

    @cached_property
    def experience(self) -> Experience:
        """The data in memory."""
        return load_experience(str(self))

    @property
    def path(self) -> Path:
        """Its folder."""
        return dataset_path(str(self))

    def describe(self) -> dict[str, Any]:
        """Return what this package recorded about it; see :func:`describe`."""
        return describe(str(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.experience, name)


def load_experience(dataset: str) -> Experience:
    """Load a dataset for training.

    Raises:
        DatasetError: it is missing, broken, or was not collected by this package.
    """
    import minari

    description = describe(dataset)
    if "modalities" not in description:
        raise DatasetError(f"dataset {dataset} was collected by an older version; delete {dataset_path(dataset)}")
    check_files(dataset, dataset_path(dataset), description)
    try:
        config = description["config"]
        kept = {"env_id": config["env"], "env_kwargs": config["env_kwargs"], "digest": description["digest"]}
        scales = description["scales"]
        if not all(isinstance(part, dict) for part in (kept["env_kwargs"], description["modalities"], scales)):
            raise TypeError("its description has parts of another kind")
        if not isinstance(kept["env_id"], str) or not isinstance(kept["digest"], str):
            raise TypeError("its description names no environment")
        measure(dataset_path(dataset), [facts["steps"] for facts in description["episodes"]])
        stored = minari.load_dataset(dataset, download=False)
        episodes = []
        for data, facts in zip(stored.iterate_episodes(), description["episodes"], strict=True):
            steps = facts["steps"]
            infos = data.infos or {}
            values, masks, taught = (infos.get(key) for key in ("action_values", "action_mask", "taught"))
            episodes.append(
                Episode(
                    {key: np.asarray(value)[:steps] for key, value in data.observations.items()},
                    np.asarray(data.actions),
                    np.asarray(data.rewards, dtype=np.float64),
                    None if values is None else np.asarray(values)[:steps],
                    facts["trace"],
                    None if masks is None else np.asarray(masks, bool)[:steps],
                    None if taught is None else np.asarray(taught)[:steps].astype(np.asarray(data.actions).dtype),
                )
            )
        spaces = stored.spec.observation_space, stored.spec.action_space
    except Exception as error:  # Minari answers damaged files with whatever its parts raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DatasetError(f"dataset {dataset} cannot be read ({reason}); delete {dataset_path(dataset)}") from None
    return Experience(
        episodes=episodes,
        env_id=kept["env_id"],
        env_kwargs=kept["env_kwargs"],
        observation_space=spaces[0],
        action_space=spaces[1],
        modalities=description["modalities"],
        scales=scales,
        name=dataset,
        digest=kept["digest"],
    )


def list_datasets() -> list[str]:
    """Return the ids of the datasets on this machine that this package collected."""
    root = datasets_root()
    names = [path.parent.relative_to(root).as_posix() for path in root.rglob("netllm_gym.json")]
    return sorted(name for name in names if not name.startswith("."))
