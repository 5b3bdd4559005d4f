"""Keep the rows of several trainings as data: `python benchmarks/keep_rows.py FOLDER CELL [--agent NAME]`.

The evaluation must be that of a cell of the headline table (same setting, profile paper, seed and episodes), with every
training under the agent's label and a `training_seed` of its own. `netllm-gym reproduce` takes the rows up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from netllm_gym.evaluation import EvaluationResult
from netllm_gym.reproduce.rows import write_rows

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what netllm_gym.evaluate wrote")
    parser.add_argument("cell", help="cell of the headline table: abr-default, viewport-unseen1 …")
    parser.add_argument("--agent", action="append", default=[], help="default: every trained agent")
    given = parser.parse_args()
    print(write_rows(EvaluationResult.load(given.folder), given.cell, given.agent))
