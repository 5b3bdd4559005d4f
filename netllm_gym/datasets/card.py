"""The dataset card: what a reader must know before training on it, as Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any


def render_card(dataset: str, description: dict[str, Any]) -> str:
    """Render the card of a dataset from its description (``netllm_gym.json``)."""
    config, traces, returns = description["config"], description["trace_set"], description["returns"]
    agents = Counter(episode["agent"] for episode in description["episodes"])
    recordings = len({episode["group"] for episode in description["episodes"]})
    kwargs = ", ".join(f"{key}={value!r}" for key, value in config["env_kwargs"].items())
    quantiles = " / ".join(f"{value:.2f}" for value in returns["quantiles"])
    played = "none: episodes differ by their seeds"
    if traces["name"]:
        played = f"{traces['name']}, split {traces['split']}; {recordings} source recordings played"
    if notes := traces.get("notes"):  # what was understood in a user's files, guessed or repaired
        played += f". {'; '.join(notes)}"
    command = f"netllm-gym collect --env {config['env']} --dataset {dataset} --seed {config['seed']}"
    command += "".join(f" --agent {agent}" for agent in config["agents"])
    command += f" --episodes {config['episodes']} --epsilon {config['epsilon']:g}"
    command += " --hindsight" if config["hindsight"] else ""
    command += f" --values-of {config['values_of']}" if config["values_of"] else ""
    command += f" --teacher {config['teacher']}" if config["teacher"] else ""
    command += "".join(f" --env-arg {key}={value}" for key, value in config["env_kwargs"].items())
    return f"""# {dataset}

| | |
|---|---|
| environment | `{config["env"]}` ({kwargs}) |
| episodes | {len(description["episodes"])}: {", ".join(f"{count} by {name}" for name, count in agents.items())} |
| steps | {description["steps"]} |
| exploration | each action replaced by a uniform one with probability {config["epsilon"]:g}; stored |
| teacher | {description["teacher"] or "none"} |
| action values | {f"of {description['action_values']}" if description["action_values"] else "none"} |
| traces | {played} |
| trace digest | `{traces["digest"][:16]}` |
| licence of the traces | {traces["licence"]} |
| cite | {traces["citation"] or "netllm_gym"} |
| returns | mean {returns["mean"]:.2f}, {returns["min"]:.2f} to {returns["max"]:.2f}; 5/25/50/75/95 %: {quantiles} |
| mean reward per step | {returns["reward_mean"]:.4f} |
| seed | {config["seed"]} |
| content digest | `{description["digest"][:16]}` |
| versions | {", ".join(f"{key} {value}" for key, value in description["versions"].items())} |

Again, bit for bit:

    {command}
"""
