"""One model against the specialists: `python benchmarks/generalist.py FOLDER FOLDER …`, a folder for each training.

It plays the default test setting of head motion, schedules and tiles beside each task's specialist, whose other
trainings are committed rows, and prints the paired differences to the specialist (to their teacher, for tiles).
Bitrates: `benchmarks/abr_generalisation.py`, `play ROWS.csv.gz generalist=FOLDER,FOLDER --episodes 60`, then `compare`.
"""

from __future__ import annotations

import argparse
import sys

from netllm_gym import evaluate, zoo
from netllm_gym.evaluation import load_setting
from netllm_gym.evaluation.formats import interval, number, table
from netllm_gym.reproduce.rows import with_stored

# Task → episodes, what it is compared with, and who plays beside.
TASKS = {
    "viewport": (126, "viewport/llm", ("viewport/hold-last",)),
    "cluster": (10, "cluster/llm", ("cluster/adaptive", "cluster/fair")),
    "streaming": (24, "streaming/predictive", ("streaming/whole-sphere",)),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--task", action="append", choices=list(TASKS), default=[])
    given = parser.parse_args()
    one = [{"name": path, "label": "generalist", "training_seed": k} for k, path in enumerate(given.folders)]
    for task in given.task or TASKS:
        episodes, specialist, beside = TASKS[task]
        setting = load_setting(task, "default", "paper")
        setting.bring(lambda line: print(line, file=sys.stderr))
        # The training that ships is one of those whose rows are kept: it must not count twice.
        seed = next((entry.training_seed for entry in zoo.find(specialist)), 0)
        agents = [*one, {"name": specialist, "training_seed": seed}, *beside]
        played = evaluate(agents=agents, setting=setting, episodes=episodes, baseline=specialist)
        result = with_stored(played, f"{task}-default")
        lines = []
        for _, row in result.summary().iterrows():
            low, high = row["difference_low"], row["difference_high"]
            apart = f"{number(row['difference'], signed=True)} {interval(low, high, True)}"
            lines.append([row["agent"], str(row["seeds"]), number(row["mean"]), apart, str(row["verdict"])])
        print(f"\n{task}, {result.metric['name']}, {episodes} episodes\n")
        print("\n".join(table(["agent", "trainings", "mean", f"minus {specialist}", "verdict"], lines)), flush=True)
