"""ABR agents on links and ladders of every kind: `python benchmarks/abr_generalisation.py llm=A,B actor=C --cases all`.

Prints, per case, the paired difference to RobustMPC with its 95 % interval over recordings and trainings, relative to
RobustMPC's mean, and the share of the gap to the offline optimum that is closed. An agent is `label=NAME` or
`label=FOLDER,FOLDER,…`, one folder a training. For leave-one-out tables give agents trained `without` a family (option
of the recipes `abr-actor-critic`, `abr-llm`, `abr-regret-mlp`) and the cases of that family.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from netllm_gym import evaluate, traces
from netllm_gym.evaluation.bootstrap import Bootstrap
from netllm_gym.traces import VideoManifest, synthetic_video

BASELINE, ORACLE = "abr/robust-mpc", "abr/oracle"


def videos() -> dict[str, VideoManifest]:
    """The usual video, others of its kind, and other ladders, chunk lengths and durations."""
    usual = traces.load_video("envivio-dash3")
    ladder, sizes, three = usual.bitrates_kbps, usual.chunk_bytes, [0, 2, 5]
    return {
        "usual": usual,
        "2 s chunks": VideoManifest("2s", ladder, 2.0, np.repeat(sizes / 2, 2, axis=0)),
        "150 chunks": VideoManifest("long", ladder, 4.0, np.resize(sizes, (150, 6))),
        "3 levels": VideoManifest("three", ladder[three], 4.0, sizes[:, three]),
        "10 levels": synthetic_video(77, np.geomspace(230, 6000, 10), 199, 3.0, 0.25),
        "fast ladder": synthetic_video(78, [1000, 2500, 5000, 8000, 16000, 24000, 35000], 100, 3.0, 0.2),
    }


def cases(split: str) -> dict[str, dict[str, Any]]:
    """Name → arguments of the environment."""
    have, found = videos(), {}
    for name, family, video, more in (
        ("default", "abr/fcc-hsdpa", "usual", {}),
        ("2 s chunks", "abr/fcc-hsdpa", "2 s chunks", {}),
        ("150 chunks", "abr/fcc-hsdpa", "150 chunks", {}),
        ("3 levels", "abr/fcc-hsdpa", "3 levels", {}),
        ("10 levels", "abr/fcc-hsdpa", "10 levels", {}),
        ("buffer cap 15 s", "abr/fcc-hsdpa", "usual", {"buffer_cap_s": 15.0}),
        ("QoE log", "abr/fcc-hsdpa", "usual", {"qoe": "log"}),
        ("classic", "abr/pensieve-classic", "usual", {"first_quality": 1}),
        ("hsdpa", "abr/hsdpa", "usual", {}),
        ("fcc-sd", "abr/fcc-sd", "usual", {}),
        ("fcc-sd, fast ladder", "abr/fcc-sd", "fast ladder", {}),
        ("fcc-hd, fast ladder", "abr/fcc-hd", "fast ladder", {}),
        ("ghent-4g, fast ladder", "abr/ghent-4g", "fast ladder", {}),
        ("irish-5g, fast ladder", "abr/irish-5g", "fast ladder", {}),
        ("synthetic-mahimahi", "abr/synthetic-mahimahi-cellular", "usual", {}),
        ("synthetic-volatile", "abr/synthetic-volatile", "usual", {}),
    ):
        found[name] = {"traces": family, "split": split, "video": have[video], **more}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", nargs="+", help="label=NAME or label=FOLDER,FOLDER,…")
    parser.add_argument("--cases", nargs="+", default=["all"])
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--optimum", action="store_true", help="also the share of the gap to the optimum")
    given = parser.parse_args()
    labels = {label: folders.split(",") for label, _, folders in (a.partition("=") for a in given.agents)}
    print("| case | recordings | agent | trainings | mean | RobustMPC | difference | relative | gap closed |")
    print("|---" * 9 + "|")
    for name, kwargs in cases(given.split).items():
        if given.cases != ["all"] and name not in given.cases:
            continue
        traces.load(kwargs["traces"], given.split)
        played = [one for folders in labels.values() for one in folders]
        bounds = [BASELINE, *([ORACLE] if given.optimum else [])]
        frame = evaluate(agents=[*played, *bounds], setting=kwargs, baseline=BASELINE, progress=False).frame
        by = {agent: rows.sort_values("episode") for agent, rows in frame.groupby("agent", sort=False)}
        labelled = list(by)[: len(played)]
        base = by[BASELINE]["qoe"].to_numpy()
        sample = Bootstrap({"recording": by[BASELINE]["group"].to_numpy()})
        for label, folders in labels.items():
            mine, labelled = labelled[: len(folders)], labelled[len(folders) :]
            x = np.stack([by[agent]["qoe"].to_numpy() for agent in mine])
            found = sample.difference(x, base[None])
            low, high = found.interval()
            closed = ""
            if given.optimum:
                share = sample.ratio(x - base, by[ORACLE]["qoe"].to_numpy() - base)
                closed = "{:.2f} ({:.2f} to {:.2f})".format(share.value, *share.interval())
            print(
                f"| {name} | {sample.smallest[1]} | {label} | {len(x)} | {x.mean():.4f} | {base.mean():.4f} | "
                f"{found.value:+.4f} ({low:+.4f} to {high:+.4f}) | "
                f"{100 * found.value / abs(base.mean()):+.1f} % | {closed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
