"""Several trainings of one agent against the five of the headline: `python benchmarks/trainings.py FOLDER FOLDER …`.

A folder holds a training. It plays a test setting beside an agent of the headline, whose trainings are committed rows
and one shipped checkpoint, and prints the paired differences to it. `--task` may be given several times, by default all
three; `--setting` (default: default) too.

    python benchmarks/trainings.py G/0 G/1 --label generalist
    python benchmarks/trainings.py M/0 M/1 M/2 --label mlp --task viewport --against viewport/gru --setting unseen1

Bitrates: `benchmarks/abr_generalisation.py`, `play ROWS.csv.gz generalist=FOLDER,FOLDER --episodes 60`, then `compare`.
"""

from __future__ import annotations

import argparse
import sys

from netllm_gym import evaluate, zoo
from netllm_gym.evaluation import load_setting
from netllm_gym.evaluation.formats import interval, number, table
from netllm_gym.reproduce.rows import with_stored

# Task → episodes (None: every trace once), what is compared with, and who plays beside.
TASKS: dict[str, tuple[int | None, str, tuple[str, ...]]] = {
    "viewport": (None, "viewport/llm", ("viewport/hold-last",)),
    "cluster": (10, "cluster/llm", ("cluster/adaptive", "cluster/fair")),
    "streaming": (24, "streaming/predictive", ("streaming/whole-sphere",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--label", default="these")
    parser.add_argument("--task", action="append", choices=list(TASKS), default=[])
    parser.add_argument("--setting", action="append", default=[])
    parser.add_argument("--against", default="", help="default: the task's language model, or the teacher")
    given = parser.parse_args()
    mine = [{"name": path, "label": given.label, "training_seed": k} for k, path in enumerate(given.folders)]
    for task in given.task or TASKS:
        episodes, rival, beside = TASKS[task]
        rival = given.against or rival
        # The training that ships is one of those whose rows are kept: it must not count twice.
        seed = next((entry.training_seed for entry in zoo.find(rival)), 0)
        agents = [*mine, {"name": rival, "training_seed": seed}, *beside]
        for name in given.setting or ["default"]:
            setting = load_setting(task, name, "paper")
            setting.bring(lambda line: print(line, file=sys.stderr))
            played = evaluate(agents=agents, setting=setting, episodes=episodes, baseline=rival)
            result = with_stored(played, f"{task}-{name}")
            lines = []
            for _, row in result.summary().iterrows():
                low, high = row["difference_low"], row["difference_high"]
                apart = f"{number(row['difference'], signed=True)} {interval(low, high, True)}"
                lines.append([row["agent"], str(row["seeds"]), number(row["mean"]), apart, str(row["verdict"])])
            print(f"\n{task}-{name}, {result.metric['name']}, {result.frame['episode'].nunique()} episodes\n")
            print("\n".join(table(["agent", "trainings", "mean", f"minus {rival}", "verdict"], lines)), flush=True)


if __name__ == "__main__":
    main()
