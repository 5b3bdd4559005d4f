"""What a curriculum is worth to the learned ABR agent: `python benchmarks/abr_curriculum.py LABEL=FOLDER[,FOLDER…] …`.

Every label is a training recipe, its folders are checkpoints of different training seeds. The first label is what the
others are compared with, paired, on recordings × training seeds. Choose by `valid`; then read the rest.
"""

from __future__ import annotations

import argparse
from typing import Any

from netllm_gym import evaluate
from netllm_gym.evaluation.settings import load_setting

VALID = {"traces": "abr/fcc-hsdpa", "split": "valid", "video": "envivio-dash3"}
OTHERS = ("abr/fcc-sd", "abr/ghent-4g", "abr/hsdpa")


def settings(names: list[str]) -> dict[str, dict[str, Any]]:
    """Environment arguments by name: `valid`, the four test settings, or the test split of another set."""
    known = {"valid": VALID}
    known |= {n: dict(load_setting("abr", n, "paper").kwargs) for n in ("default", "unseen1", "unseen2", "unseen3")}
    return {name: known.get(name) or {"traces": name, "split": "test", "video": "envivio-dash3"} for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", metavar="LABEL=FOLDER[,FOLDER…]")
    parser.add_argument("--on", nargs="+", default=["valid", "default", "unseen1", "unseen2", "unseen3", *OTHERS])
    given = parser.parse_args()
    recipes = {label: folders.split(",") for label, _, folders in (text.partition("=") for text in given.recipes)}
    first = next(iter(recipes))
    agents: list[Any] = [
        {"name": folder, "label": label, "training_seed": seed}
        for label, folders in recipes.items()
        for seed, folder in enumerate(folders)
    ]
    print(f"| on | recipe | QoE by seed | mean (95 % interval) | − {first} | won |\n|---|---|---|---|---|---|")
    for name, kwargs in settings(given.on).items():
        found = evaluate(agents=[*agents, "abr/robust-mpc"], setting=kwargs, baseline=first, progress=False)
        seeds = found.frame.groupby(["agent", "training_seed"])["qoe"].mean()
        rows = found.summary().set_index("agent")
        for label in [*recipes, "abr/robust-mpc"]:
            row, by_seed = rows.loc[label], " ".join(f"{value:.4f}" for value in seeds[label])
            gap = f"{row.difference:+.4f} ({row.difference_low:+.4f} to {row.difference_high:+.4f})"
            print(
                f"| {name} | {label} | {by_seed} | {row['mean']:.4f} ({row.ci_low:.4f} to {row.ci_high:.4f}) | "
                + (f"{gap} | {row.win_rate:.0%} |" if label != first else "| |"),
                flush=True,
            )


if __name__ == "__main__":
    main()
