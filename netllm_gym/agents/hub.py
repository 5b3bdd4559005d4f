"""Checkpoints on the Hugging Face Hub, by its own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netllm_gym import extras
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.errors import CheckpointError, ConfigError, DownloadError

# What a checkpoint consists of; nothing else is sent or brought, and nothing that could hold code.
_PATTERNS = ["agent.json", "adapter_config.json", "*.safetensors", "README.md"]


def _hub() -> Any:
    return extras.load("huggingface_hub", "the Hugging Face Hub")


def _of_the_hub(error: Exception) -> bool:
    """Whether an error is the Hub's or the network's: its client raises those of its HTTP library as they are."""
    roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(roots & {"huggingface_hub", "httpx", "httpx2", "requests", "httpcore2"})


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def push(folder: str | Path, repository: str, private: bool = False) -> str:
    """Upload a checkpoint folder to ``user/name``; return the address of the commit.

    Raises:
        CheckpointError: the folder is no checkpoint.
        DownloadError: the Hub refuses or cannot be reached.
    """
    read_description(folder)
    hub = _hub()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        found = hub.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=_PATTERNS,
            commit_message="Upload a netllm_gym agent",
        )
    except Exception as error:
        if not _of_the_hub(error):
            raise
        raise DownloadError(f"{repository}: the Hub refused, or cannot be reached ({_line(error)})") from None
    return str(found)


def pull(repository: str, revision: str | None = None) -> Path:
    """Download the checkpoint ``user/name`` into the Hub's cache; return its folder.

    Args:
        repository: ``user/name``, or ``user/name@revision``.
        revision: a commit, branch or tag; a commit pins the agent for ever.

    Raises:
        ConfigError: two revisions.
        DownloadError: there is no such repository or revision, or the Hub cannot be reached.
        CheckpointError: it holds no agent of this package.
    """
    hub = _hub()
    repository, _, pinned = repository.partition("@")
    if pinned and revision and pinned != revision:
        raise ConfigError(f"{repository}: asked for revision {pinned} and revision {revision}")
    revision = revision or pinned or None
    try:
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=_PATTERNS)
    except Exception as error:
        if not _of_the_hub(error):
            raise
        raise DownloadError(f"{repository}: cannot be had from the Hub ({_line(error)})") from None
    try:
        read_description(folder)
    except CheckpointError as error:
        raise CheckpointError(f"hf://{repository}: {error}") from None
    return Path(folder)
