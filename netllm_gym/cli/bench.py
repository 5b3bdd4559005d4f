"""``netllm-gym bench``: what things cost, as ratios measured in one run."""

from __future__ import annotations

from typing import Annotated

import typer

from netllm_gym.cli.output import EnvArgs, NoOptions, Options, emit, parse_settings, remarks
from netllm_gym.extras import require

app = typer.Typer(help="Measure costs, each beside what it is compared with.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure costs, each beside what it is compared with."""


@app.command("llm")
def llm_command(
    batch: Annotated[int, typer.Option(help="Episodes in an optimiser step.")] = 16,
    steps: Annotated[int, typer.Option(help="Decisions in an episode.")] = 47,
    repeats: Annotated[int, typer.Option(help="Measurements of each; the median counts.")] = 3,
    set: Options = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare LoRA with full fine-tuning, training with the published loop, and a KV cache with recomputing."""
    require("llm", "bench llm")
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.cost import measure
    from netllm_gym.errors import ConfigError

    if min(batch, steps, repeats) < 1:
        raise ConfigError("batch, steps and repeats must be at least 1")
    config = LLMConfig.from_json(parse_settings(set or []))
    emit(measure(config, batch, steps, repeats, lambda line: remarks.print(f"  {line}")), as_json)


@app.command("text")
def text_command(
    agent: Annotated[str, typer.Argument(help="Agent with a head: a name or a checkpoint folder.")],
    env: Annotated[str, typer.Option(help="Environment id.")] = "netllm_gym/ABR-v0",
    decisions: Annotated[int, typer.Option(help="Decisions of each.")] = 20,
    backbone: Annotated[str, typer.Option(help="Model asked in words: smollm2-135m, or of the Hub.")] = "smollm2-135m",
    env_arg: EnvArgs = None,
    set: NoOptions = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare answers generated as text with a networking head: share of valid ones, latency, reward."""
    import gymnasium as gym

    require("llm", "bench text")
    from netllm_gym import make_agent
    from netllm_gym.agents.llm.text import TextAgent, against_head
    from netllm_gym.errors import ConfigError

    if decisions < 1:
        raise ConfigError("decisions must be at least 1")
    head = make_agent(agent)
    made = gym.make(env, disable_env_checker=True, **parse_settings(env_arg or [], "--env-arg"))
    emit(against_head(TextAgent(backbone), head, made, decisions), as_json)


@app.command("gpu")
def gpu_command(
    out: Annotated[str, typer.Option(help="JSON file, written after every section.")] = "runs/gpu.json",
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny sizes on whatever device is there.")] = False,
    budget: Annotated[float, typer.Option(help="Seconds; what would not end within them is left out.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check and measure the LLM agent on a GPU: exactness, speed, and the paper's claims at the size of Llama-2-7B."""
    from netllm_gym.agents.llm.gpu import measure_gpu, table

    emit(table(measure_gpu(out, smoke, budget, lambda line: remarks.print(line, markup=False))), as_json)
