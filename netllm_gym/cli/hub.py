"""``netllm-gym push`` and ``pull``: checkpoints on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netllm_gym.cli.output import console


def push_command(
    folder: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create it as a private repository.")] = False,
) -> None:
    """Upload an agent to the Hugging Face Hub (log in with `hf auth login` first)."""
    from netllm_gym.agents.hub import push

    console.print(push(folder, repository, private))


def pull_command(
    repository: Annotated[str, typer.Argument(help="user/name on the Hub.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
) -> None:
    """Download an agent from the Hugging Face Hub and print its folder."""
    from netllm_gym.agents.hub import pull

    console.print(str(pull(repository, revision)))
