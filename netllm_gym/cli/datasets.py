"""``netllm-gym collect``, ``datasets`` and ``train``."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from netllm_gym.cli.output import EnvArgs, NoOptions, Options, console, emit, others_code, parse_settings, say_notes


def collect_command(
    dataset: Annotated[str, typer.Option(help="Minari id, e.g. netllm_gym/abr/robust_mpc-v0.")],
    agent: Annotated[list[str], typer.Option(help="Agent, may be repeated for a mix.")],
    env: Annotated[str, typer.Option(help="Environment id.")] = "netllm_gym/ABR-v0",
    episodes: Annotated[int, typer.Option(help="Episodes; 0 plays each trace once with each agent.")] = 0,
    epsilon: Annotated[float, typer.Option(help="Share of actions drawn at random.")] = 0.0,
    hindsight: Annotated[bool, typer.Option("--hindsight", help="Store hindsight action values.")] = False,
    values_of: Annotated[str, typer.Option(help="Store each action's return when this agent goes on.")] = "",
    teacher: Annotated[str, typer.Option(help="Store what this agent would have done in each state.")] = "",
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; the result does not depend on them.")] = 1,
    env_arg: EnvArgs = None,
    set: NoOptions = None,
) -> None:
    """Collect an offline dataset from one agent or a mix; the same command resumes a stopped one."""
    from netllm_gym.datasets.collect import CollectConfig, collect, has_split
    from netllm_gym.datasets.store import dataset_path, describe

    kwargs: dict[str, Any] = {"split": "train"} if has_split(env) else {}
    if env == "netllm_gym/ABR-v0":
        kwargs["random_start"] = True
    dataset_path(dataset)  # a bad name is an error before any bar is drawn
    kwargs |= parse_settings(env_arg or [], "--env-arg")
    config = CollectConfig(env, tuple(agent), episodes, epsilon, seed, hindsight, kwargs, values_of, teacher)
    with others_code():
        collect(config, dataset, workers)
    description = describe(dataset)
    say_notes(description["trace_set"].get("notes", ()))
    console.print(
        f"{dataset}: {len(description['episodes'])} episodes, {description['steps']} steps, mean reward per step "
        f"{description['returns']['reward_mean']:.4f}\ncard: {dataset_path(dataset) / 'README.md'}"
    )


def datasets_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the datasets on this machine."""
    from netllm_gym.datasets.store import describe, list_datasets

    rows = []
    for name in list_datasets():
        description = describe(name)
        rows.append(
            {
                "dataset": name,
                "env": description["config"]["env"],
                "traces": ":".join(description["trace_set"][key] for key in ("name", "split"))
                if description["trace_set"]["name"]
                else "none",
                "agents": "+".join(description["config"]["agents"]),
                "steps": description["steps"],
                "action values": description["action_values"],
                "mean reward": description["returns"]["reward_mean"],
            }
        )
    emit(rows, as_json)


def train_command(
    recipe: Annotated[str, typer.Argument(help="How to train; see netllm-gym recipes.")],
    out: Annotated[str, typer.Option(help="Checkpoint folder to write.")],
    dataset: Annotated[list[str] | None, typer.Option(help="Dataset id, may be repeated.")] = None,
    valid: Annotated[list[str] | None, typer.Option(help="Validation dataset, may be repeated.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop training after about so long.")] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    set: Options = None,
) -> None:
    """Train an agent by a recipe; the same command resumes a stopped training where the recipe can."""
    from netllm_gym.recipes import train

    agent = train(
        recipe,
        dataset or [],
        out,
        valid=valid,
        minutes=minutes,
        seed=seed,
        options=parse_settings(set or []),
    )
    console.print(f"trained {agent.name}; try: {_evaluation_of(out, dataset or [])}", soft_wrap=True, markup=False)


def _evaluation_of(out: str, datasets: list[str]) -> str:
    """Return the command that evaluates the agent in `out` where it was trained."""
    import json

    from netllm_gym.agents.checkpoint import read_description
    from netllm_gym.datasets.store import describe
    from netllm_gym.errors import NetLLMGymError
    from netllm_gym.settings import task_of

    words = ["netllm-gym", "evaluate", "--agent", out]
    try:
        description = read_description(out)
        env = str(description["env_id"])
        if env == "any":  # a model of several tasks: where it learnt last, else its first
            env = str(describe(datasets[0])["config"]["env"] if datasets else next(iter(description["tasks"])))
    except NetLLMGymError:  # a recipe of another package that writes another kind of folder
        return shlex.join(words)
    try:
        task = "crowd" if description["kind"] == "crowd" else task_of(env)  # both are tested in one environment
        return shlex.join([*words, "--task", task])
    except NetLLMGymError:
        words += ["--env", env, "--agent", "any/random"]
    kwargs = describe(datasets[0])["config"]["env_kwargs"] if datasets else {}
    for key, value in kwargs.items():
        if key != "split":
            words += ["--env-arg", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--episodes", "20"])


def recipes_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes that train agents, and what each needs."""
    from netllm_gym.recipes import list_recipes, recipe_of

    rows = []
    for name in list_recipes():
        recipe = recipe_of(name)
        data = "datasets" if recipe.data else "its own"
        rows.append({"recipe": name, "data": data, "extra": recipe.extra or "none", "description": recipe.description})
    emit(rows, as_json)
