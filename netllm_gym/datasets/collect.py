"""Collect offline experience: any agent or mix of agents, any environment, into a Minari dataset.

Episodes are recorded in blocks, each written as one ``.npz`` by atomic rename into a staging folder; a collection
killed at any moment goes on from there with the same command. The finished dataset appears by one rename.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from netllm_gym.agents.base import check_serves
from netllm_gym.agents.registry import make_agent
from netllm_gym.answers import IllegalActionError, ObservationError, shut, warn_if_unseeded
from netllm_gym.arrays import load_arrays, save_arrays
from netllm_gym.datasets.config import CollectConfig, has_split
from netllm_gym.datasets.continuation import require_continuation
from netllm_gym.datasets.integrity import check_files
from netllm_gym.datasets.rollout import Record, rollout
from netllm_gym.datasets.store import (
    Dataset,
    check_dataset_id,
    dataset_path,
    datasets_root,
    describe,
    exists,
    require_storable,
    write_dataset,
)
from netllm_gym.envs.leaves import LeafView, require_actions
from netllm_gym.envs.lookup import make_env, metadata_of, spec_of, traces_of
from netllm_gym.errors import ConfigError, DamagedError, theirs
from netllm_gym.files import lock, make_folder, read_sealed, sweep, write_json
from netllm_gym.progress import counted
from netllm_gym.traces.protocol import training
from netllm_gym.workers import results

__all__ = ["CollectConfig", "collect", "has_split"]

BLOCK = 16


def _make(config: CollectConfig, spec: EnvSpec | None = None) -> gym.Env:
    with training("collecting experience"):
        return make_env(spec or config.env, config.env_kwargs)


@contextmanager
def _named(episode: str) -> Iterator[None]:
    """Say which episode went wrong: in the message of our own errors, in a note under somebody else's traceback."""
    try:
        with theirs(episode):
            yield
    except (IllegalActionError, ObservationError, ConfigError) as error:
        raise type(error)(f"{episode}: {error}") from None


def _record_block(config: CollectConfig, spec: EnvSpec, first: int, last: int, path: Path) -> None:
    """Record episodes `first` to `last` (exclusive) into one file."""
    env = _make(config, spec)
    inner: Any = env.unwrapped
    if config.hindsight and not hasattr(inner, "action_values"):
        raise ConfigError(f"{config.env} offers no hindsight action values")
    followed, teacher = (make_agent(name) if name else None for name in (config.values_of, config.teacher))
    if config.epsilon and not isinstance(env.action_space, gym.spaces.Discrete):
        raise ConfigError("epsilon noise needs discrete actions")
    agents = [make_agent(name) for name in config.agents]
    flat: dict[str, Any] = {}
    for episode in range(first, last):
        agent = agents[episode % len(agents)]
        traces = traces_of(env)  # without them, an episode differs from another by its seed alone
        trace = None if traces is None else (episode // len(agents)) % len(traces)
        with _named(f"episode {episode} of {config.env}, played by {agent.name}"):
            record = rollout(
                env, agent, episode, config.seed, trace, config.epsilon, config.hindsight, followed, teacher
            )
        flat |= {f"{episode}/{key}": value for key, value in record.arrays().items()}
    save_arrays(path, **flat)


def _whole(path: Path) -> bool:
    """Whether a block was recorded; one that is damaged is recorded again."""
    if not path.is_file():
        return False
    try:
        read_sealed(path)
    except DamagedError:
        path.unlink(missing_ok=True)
        return False
    return True


def _load_block(path: Path, first: int, last: int) -> list[Record]:
    arrays = load_arrays(path, "run the same command again")
    return [
        Record.from_arrays(
            {key.partition("/")[2]: value for key, value in arrays.items() if key.partition("/")[0] == str(episode)}
        )
        for episode in range(first, last)
    ]


def collect(
    config: CollectConfig,
    dataset: str,
    workers: int = 1,
    progress: bool | Callable[[int, int], None] | None = True,
) -> Dataset:
    """Collect episodes and write the Minari dataset `dataset`.

    Args:
        config: what to collect.
        dataset: Minari id, e.g. ``netllm_gym/abr/robust_mpc-v0``. Datasets are never overwritten.
        workers: processes; the result does not depend on them.
        progress: show a bar on stderr, or a function that is called with (episodes done, episodes in all).

    Returns:
        The dataset, ready to train on; it is also its id.

    Raises:
        ConfigError: an unusable configuration, or a dataset of that name with other content.
        UnknownNameError, DownloadError: as for the environment's traces and the agents.
        ObservationError, IllegalActionError: the environment showed or the agent answered what a dataset cannot hold.
        Exception: what the code of an environment or agent raises itself, with the episode in a note.
    """
    check_dataset_id(dataset)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    with lock(datasets_root() / ".partial" / dataset.replace("/", "--"), f"dataset {dataset}"):
        return _collect(config, dataset, workers, progress)


def _collect(
    config: CollectConfig, dataset: str, workers: int, progress: bool | Callable[[int, int], None] | None
) -> Dataset:
    from joblib import delayed

    if exists(dataset, config.key):
        check_files(dataset, dataset_path(dataset), describe(dataset))  # what was damaged since is not there
        for rest in (config.key, f"{dataset.replace('/', '--')}.new"):  # of a process that died after the rename
            shutil.rmtree(datasets_root() / ".partial" / rest, ignore_errors=True)
        return Dataset(dataset)
    spec = spec_of(config.env)
    env = _make(config, spec)
    view = LeafView(env.observation_space)  # refuses what no dataset can hold, before anything is played
    view.scales(metadata_of(env))
    require_actions(env.action_space)
    for space in (view.space, env.action_space):
        require_storable(space)
    total = config.episodes or len(traces_of(env) or ()) * len(config.agents)
    if not total:
        raise ConfigError(f"{config.env} has no traces to play once each; say how many episodes")
    if config.values_of:
        require_continuation(env, make_agent(config.values_of))
    if config.teacher and not make_agent(config.teacher).memoryless:
        raise ConfigError(f"{config.teacher} remembers what it did, so it cannot teach states it did not come to")
    for name in (*config.agents, config.values_of, config.teacher):  # refused before any work is done
        if name:
            check_serves(make_agent(name), env)
    warn_if_unseeded(env, config.seed, None if traces_of(env) is None else {"trace": 0})
    shut(env)
    staging = datasets_root() / ".partial" / config.key
    make_folder(staging)
    sweep(staging)
    write_json(staging / "config.json", asdict(config))
    blocks = [(first, min(first + BLOCK, total)) for first in range(0, total, BLOCK)]
    paths = [staging / f"{first:06d}.npz" for first, _ in blocks]
    missing = [(block, path) for block, path in zip(blocks, paths, strict=True) if not _whole(path)]
    done = total - sum(last - first for (first, last), _ in missing)
    calls = [delayed(_record_block)(config, spec, *block, path) for block, path in missing]
    with counted("collect", progress) as move:
        move(done, total)
        finished = results(calls, min(workers, max(1, len(missing))))
        for ((first, last), _), _none in zip(missing, finished, strict=True):
            done += last - first
            move(done, total)
    records = [record for block, path in zip(blocks, paths, strict=True) for record in _load_block(path, *block)]
    if odd := [record.notice for record in records if record.notice]:
        warnings.warn(
            f"{config.env} shows what its spaces do not declare: {odd[0]} (in {len(odd)} of {len(records)} episodes)",
            stacklevel=4,
        )
    write_dataset(dataset, config, records)
    shutil.rmtree(staging, ignore_errors=True)
    return Dataset(dataset)
