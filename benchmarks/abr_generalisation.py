"""ABR agents on links and ladders of every kind: rows of what was played, and verdicts on them.

    python benchmarks/abr_generalisation.py play ROWS.csv.gz llm=FOLDER,FOLDER actor=FOLDER [--cases …] [--split valid]
    python benchmarks/abr_generalisation.py play ROWS.csv.gz llm=FOLDER --without fcc-sd --cases fcc-sd
    python benchmarks/abr_generalisation.py tables ROWS.csv.gz …
    python benchmarks/abr_generalisation.py compare ROWS.csv.gz … --of llm mlp

An agent is ``label=NAME`` or ``label=FOLDER,FOLDER,…``, one folder a training. RobustMPC, the lowest level throughout
(the floor) and the optimum play every case. What stands in the file is not played again, so a run that was stopped
goes on. ``--without`` says which family the training left out (option of the recipes ``abr-actor-critic``, ``abr-llm``,
``abr-regret-mlp``). ``tables`` judges all rows of a table together (Holm): trainings and recordings are resampled.
``compare`` sets two labels against each other, paired; its intervals are not corrected for their number. Where the
references' rows are there too, it prints the mean lead over RobustMPC of each.
"""

from __future__ import annotations

import argparse
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from netllm_gym import evaluate, traces
from netllm_gym.errors import DownloadError
from netllm_gym.evaluation.bootstrap import Bootstrap, Part
from netllm_gym.evaluation.formats import interval, number, percent, table
from netllm_gym.evaluation.summary import Roles, assess
from netllm_gym.files import atomic_path
from netllm_gym.reproduce.table import judged_together
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest, synthetic_video
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.video.readers import read_video_json

BASELINE, FLOOR, ORACLE = "abr/robust-mpc", "abr/constant", "abr/oracle"
REFERENCES = (BASELINE, FLOOR, ORACLE)
KEYS = ["case", "split", "agent", "without", "training_seed"]
MARGIN = {"share": 0.02, "of": "span"}
SABRE = Source("UMass-LIDS/sabre", "09b03bb0f4f90660a2504a6b2fb48d2f06333706")
# Name, family of links, video, more arguments of the environment.
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
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
    ("fcc-hd", "abr/fcc-hd", "usual", {}),
    ("fcc-hd, fast ladder", "abr/fcc-hd", "fast ladder", {}),
    ("ghent-4g", "abr/ghent-4g", "usual", {}),
    ("ghent-4g, fast ladder", "abr/ghent-4g", "fast ladder", {}),
    ("irish-5g, fast ladder", "abr/irish-5g", "fast ladder", {}),
    ("synthetic-mahimahi", "abr/synthetic-mahimahi-cellular", "usual", {}),
    ("volatile", "abr/synthetic-volatile", "usual", {}),
    ("another video", "abr/fcc-hsdpa", "video2", {}),
    ("volatile, another video", "abr/synthetic-volatile", "video2", {}),
    ("Big Buck Bunny, 10 levels", "abr/fcc-hsdpa", "bunny", {}),
    ("Big Buck Bunny to 35 Mbit/s, ghent-4g", "abr/ghent-4g", "bunny 4k", {}),
    ("Big Buck Bunny to 35 Mbit/s, fcc-hd", "abr/fcc-hd", "bunny 4k", {}),
    ("oboe", "abr/oboe", "usual", {}),
    ("oboe, another video", "abr/oboe", "video2", {}),
    ("puffer-2021-10", "abr/puffer-2021-10", "usual", {}),
    ("puffer-2022-02", "abr/puffer-2022-02", "usual", {}),
    ("puffer-2022-02, another video", "abr/puffer-2022-02", "video2", {}),
    ("bursty", "abr/synthetic-bursty", "usual", {}),
    ("bursty, 2 s chunks", "abr/synthetic-bursty", "2 s chunks", {}),
    ("bursty, 10 levels", "abr/synthetic-bursty", "10 levels", {}),
    ("bursty, fast ladder", "abr/synthetic-bursty", "fast ladder", {}),
    ("default, shuffled", "shuffled abr/fcc-hsdpa", "usual", {}),
    ("default, shuffled, 10 levels", "shuffled abr/fcc-hsdpa", "10 levels", {}),
    ("oboe, shuffled", "shuffled abr/oboe", "usual", {}),
    ("puffer-2022-02, shuffled", "shuffled abr/puffer-2022-02", "usual", {}),
    ("puffer-2022-02, shuffled, 2 s chunks", "shuffled abr/puffer-2022-02", "2 s chunks", {}),
)
# Ladders of public videos that no training has drawn, and NetLLM's second video, which none has seen either.
LADDERS = ("another video", "Big Buck Bunny, 10 levels", "Big Buck Bunny to 35 Mbit/s, ghent-4g",
           "Big Buck Bunny to 35 Mbit/s, fcc-hd", "volatile, another video")  # fmt: skip
# Public families that no training and no choice of lessons has seen.
UNSEEN = ("oboe", "oboe, another video", "puffer-2021-10", "puffer-2022-02", "puffer-2022-02, another video")
# Links whose past tells nothing of their future.
BURSTY = ("bursty", "bursty, 2 s chunks", "bursty, 10 levels", "bursty, fast ladder")
SHUFFLED = tuple(name for name, family, *_ in CASES if family.startswith("shuffled "))
# Whoever is left out, and the cases on its links.
FAMILIES = {
    "3g": ("default", "classic", "hsdpa", "2 s chunks", "150 chunks"),
    "ghent": ("ghent-4g, fast ladder", "ghent-4g"),
    "fccsd": ("fcc-sd", "fcc-sd, fast ladder"),
    "fcchd": ("fcc-hd", "fcc-hd, fast ladder"),
    # Both are links of one slow minute and two fast ones: with one left out, the other tells.
    "fcc": ("fcc-sd", "fcc-sd, fast ladder", "fcc-hd", "fcc-hd, fast ladder", "Big Buck Bunny to 35 Mbit/s, fcc-hd"),
    "irish": ("irish-5g, fast ladder",),
    "mahi": ("synthetic-mahimahi",),
}


def videos() -> dict[str, VideoManifest]:
    """The usual video, others of its kind, and other ladders, chunk lengths and durations."""
    usual = traces.load_video("envivio-dash3")
    ladder, sizes, three = usual.bitrates_kbps, usual.chunk_bytes, [0, 2, 5]
    folder = "example/mmsys18/"
    bunny = fetch_files(SABRE, [f"{folder}bbb.json", f"{folder}bbb4k.json"])
    return {
        "usual": usual,
        "video2": traces.load_video("netllm-video2"),
        "2 s chunks": VideoManifest("2s", ladder, 2.0, np.repeat(sizes / 2, 2, axis=0)),
        "150 chunks": VideoManifest("long", ladder, 4.0, np.resize(sizes, (150, 6))),
        "3 levels": VideoManifest("three", ladder[three], 4.0, sizes[:, three]),
        "10 levels": synthetic_video(77, np.geomspace(230, 6000, 10), 199, 3.0, 0.25),
        "fast ladder": synthetic_video(78, [1000, 2500, 5000, 8000, 16000, 24000, 35000], 100, 3.0, 0.2),
        "bunny": read_video_json(bunny[f"{folder}bbb.json"], "bbb.json"),
        "bunny 4k": read_video_json(bunny[f"{folder}bbb4k.json"], "bbb4k.json"),
    }


def links(family: str, split: str) -> TraceSet[Any]:
    """The traces of a split; of ``shuffled FAMILY`` each with its pieces in a random order: real rates, no memory."""
    name = family.removeprefix("shuffled ")
    found, made = traces.load(name, split), []
    if name == family:
        return found
    for one in found:
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=tuple(one.name.encode())))
        order = rng.permutation(len(one.duration_s))
        made.append(NetworkTrace(one.name, one.duration_s[order], one.throughput_mbps[order], one.group))
    return replace(found, name=family, traces=tuple(made))


def cases(split: str) -> dict[str, dict[str, Any]]:
    """Name → arguments of the environment; of shuffled links ``traces`` is their name, see :func:`links`."""
    have = videos()
    return {
        name: {"traces": family, "split": split, "video": have[video], **more} for name, family, video, more in CASES
    }


def read(*paths: Path) -> pd.DataFrame:
    """Read rows; each (case, agent, training) once."""
    frames = [pd.read_csv(path, dtype={"without": str}, keep_default_na=False) for path in paths if path.is_file()]
    if not frames:
        return pd.DataFrame(columns=[*KEYS, "episode", "recording", "qoe"])
    return pd.concat(frames).drop_duplicates([*KEYS, "episode"], ignore_index=True)


def play(given: argparse.Namespace) -> None:
    """Play what the file lacks, and add it."""
    rows = read(given.rows)
    wanted = [(label, seed, folder) for label, _, folders in (a.partition("=") for a in given.agents)
              for seed, folder in enumerate(folders.split(","))]  # fmt: skip
    wanted += [(name, 0, name) for name in REFERENCES]
    for name, kwargs in cases(given.split).items():
        if given.cases and name not in given.cases:
            continue
        try:
            there = links(kwargs["traces"], given.split)
        except DownloadError as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        count = min(len(there), given.episodes)
        if name in SHUFFLED:
            kwargs |= {"traces": there}
        for label, seed, folder in wanted:
            key = (name, given.split, label, "" if label in REFERENCES else given.without, seed)
            if (rows[KEYS].apply(tuple, axis=1) == key).any() if len(rows) else False:
                continue
            found = evaluate(agents=[folder], setting=kwargs, episodes=count, baseline=None, progress=False).frame
            new = found[["episode", "group", "qoe"]].rename(columns={"group": "recording"})
            new = new.assign(**dict(zip(KEYS, key, strict=True)), qoe=new["qoe"].round(6))
            rows = pd.concat([rows, new[[*KEYS, "episode", "recording", "qoe"]]], ignore_index=True)
            with atomic_path(given.rows) as path:
                path.write_bytes(gzip.compress(rows.to_csv(index=False).encode(), mtime=0))
            print(f"{name}: {label} {seed} {folder} {new['qoe'].mean():.4f}", flush=True)


def judged(rows: pd.DataFrame, names: list[tuple[str, str]]) -> list[list[str]]:
    """Lines of a table: every agent in every (case, left-out family) of `names`, judged together."""
    found, shown = [], []
    for name, without in names:
        own = rows[(rows["case"] == name) & ((rows["without"] == without) | rows["agent"].isin(REFERENCES))]
        trained = frozenset(own["agent"]) - set(REFERENCES)
        if trained and set(REFERENCES) <= set(own["agent"]):
            frame = own.assign(failed=0, group=own["recording"])
            # References may have played more episodes than a slow agent.
            least = set.intersection(*(set(one["episode"]) for _, one in own.groupby(["agent", "training_seed"])))
            frame = frame[frame["episode"].isin(least)]
            roles = Roles(BASELINE, FLOOR, ORACLE, frozenset({ORACLE, FLOOR}), trained, MARGIN)
            found.append(assess(frame, {"name": "qoe", "better": "higher"}, {}, roles))
            shown.append((name, without, frame))
    lines = []
    for (name, without, frame), one, verdicts in zip(shown, found, judged_together(found, "higher"), strict=True):
        base = float(frame.loc[frame["agent"] == BASELINE, "qoe"].mean())
        by = {agent: own.sort_values("episode")["qoe"].to_numpy() for agent, own in frame.groupby("agent")}
        sample = Bootstrap({"recording": frame[frame["agent"] == BASELINE].sort_values("episode")["recording"]})
        for agent, said in verdicts.items():
            compared, mine = one.comparisons[agent], frame[frame["agent"] == agent]
            x = mine.pivot(index="training_seed", columns="episode", values="qoe").to_numpy()
            closed = sample.ratio(x - by[BASELINE], by[ORACLE] - by[BASELINE])
            lines.append([
                name, without, str(sample.smallest[1]), agent, str(len(x)), number(base),
                f"{number(compared.difference, signed=True)} {interval(*compared.interval, True)}",
                percent(compared.difference / abs(base), True), f"{closed.value:.2f} [{closed.interval()[0]:.2f}, "
                f"{closed.interval()[1]:.2f}]", f"{compared.influence.half}, "
                f"{number(compared.influence.without_three, signed=True)}", str(said),
            ])  # fmt: skip
    return lines


HEAD = ["case", "left out", "recordings", "agent", "trainings", "RobustMPC", "difference", "relative", "gap closed",
        "half from, without three", "verdict"]  # fmt: skip


def mean_over_cases(rows: pd.DataFrame, pairs: list[tuple[str, str]], agent: str) -> str:
    """The mean over cases of the lead in shares of the span floor → optimum, each case the same weight.

    A recording is resampled in all cases on its family together, shuffled or not; trainings count that played every
    case.
    """
    parts, blocks, strata, recordings = [], [], [], []
    family_of = {name: family.removeprefix("shuffled ") for name, family, *_ in CASES}
    own = rows[rows["agent"] == agent]
    there = [set(own[(own["case"] == name) & (own["without"] == without)]["training_seed"]) for name, without in pairs]
    trainings = sorted(set.intersection(*there))
    if not trainings:
        return ""
    for name, without in pairs:
        own = rows[(rows["case"] == name) & ((rows["without"] == without) | rows["agent"].isin(REFERENCES))]
        mine = own[own["agent"] == agent].pivot(index="training_seed", columns="episode", values="qoe")
        mine = mine.loc[trainings].dropna(axis=1)
        played = {who: own[own["agent"] == who].set_index("episode") for who in REFERENCES}
        both = sorted(set(mine.columns).intersection(*(one.index for one in played.values())))
        mine, of = mine[both], {who: one.loc[both] for who, one in played.items()}
        span = float((of[ORACLE]["qoe"] - of[FLOOR]["qoe"]).mean())
        blocks.append((mine.to_numpy() - of[BASELINE]["qoe"].to_numpy()) / span / len(pairs))
        strata += [family_of[name]] * mine.shape[1]
        recordings += [f"{family_of[name]} {one}" for one in of[BASELINE]["recording"]]
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    for block, low, high in zip(blocks, ends[:-1], ends[1:], strict=True):
        x, y = np.zeros((len(block), ends[-1])), np.zeros(ends[-1])
        x[:, low:high], y[low:high] = block, 1.0
        parts.append(Part(x, y, 1.0, agent))
    found = Bootstrap({"recording": recordings}, strata=strata).estimate(parts)
    low, high = found.interval()
    return f"{agent}: {100 * found.value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] ({len(pairs)} cases)"


def tables(given: argparse.Namespace) -> None:
    """Print the tables."""
    rows = read(*given.rows)
    rows = rows[rows["split"] == given.split]
    names = list(dict.fromkeys(rows["case"]))
    out = [(name, without) for without, own in FAMILIES.items() for name in own]
    for title, pairs in (
        (
            "Every training drew from all families",
            [(n, "") for n in names if n not in (*LADDERS, *UNSEEN, *BURSTY, *SHUFFLED)],
        ),
        ("A family left out of training", out),
        ("Ladders that no training has drawn", [(name, "") for name in names if name in LADDERS]),
        ("Families that no training has drawn from", [(name, "") for name in names if name in UNSEEN]),
        ("Links without memory", [(name, "") for name in names if name in BURSTY]),
        ("Recordings with their pieces in a random order", [(name, "") for name in names if name in SHUFFLED]),
    ):
        print(f"\n{title}\n")
        print("\n".join(table(HEAD, judged(rows, pairs))), flush=True)
    first = [(own[0], without) for without, own in FAMILIES.items() if without not in ("irish", "fcc")]
    both = [(name, "fcc") for name in FAMILIES["fcc"]]
    never = [(name, "") for name in UNSEEN]
    usual = [(name, "") for name in UNSEEN if "another" not in name]
    for what, pairs in (
        ("left-out families", first),
        ("the cases of both fcc sets, left out together", both),
        ("the families that no training has drawn from", never),
        ("those families, with the usual video", usual),
        ("the cases of links without memory", [(name, "") for name in BURSTY]),
        ("the cases of shuffled recordings", [(name, "") for name in SHUFFLED]),
    ):
        print(f"\nMean over {what}, lead over RobustMPC in points of the way from the floor to the optimum\n")
        for agent in dict.fromkeys(rows["agent"]):
            if agent not in REFERENCES and (line := mean_over_cases(rows, pairs, agent)):
                print(f"- {line}")


def compare(given: argparse.Namespace) -> None:
    """Print the difference of two agents in every case that both played."""
    rows = read(*given.rows)
    rows = rows[(rows["split"] == given.split) & (rows["without"] == "")]
    lines = []
    for name, own in rows.groupby("case", sort=False):
        first, second = (
            own[own["agent"] == label].pivot(index="training_seed", columns="episode", values="qoe")
            for label in given.of
        )
        both = first.columns.intersection(second.columns)
        if len(both):
            groups = own.drop_duplicates("episode").set_index("episode").loc[both, "recording"]
            sample = Bootstrap({"recording": groups})
            found = sample.difference(first[both].to_numpy(), second[both].to_numpy(), tuple(given.of))
            shown = f"{number(found.value, signed=True)} {interval(*found.interval(), True)}"
            lines.append([str(name), str(sample.smallest[1]), f"{len(first)}, {len(second)}", shown])
    if not lines:
        raise SystemExit(f"these rows hold no case that both {given.of[0]} and {given.of[1]} played in {given.split}")
    print("\n".join(table(["case", "recordings", "trainings", " minus ".join(given.of)], lines)))
    there = rows[rows["agent"].isin(REFERENCES)].groupby("case")["agent"].nunique() == len(REFERENCES)
    whole = [(line[0], "") for line in lines if there.get(line[0], False)]
    if whole:
        print("\nLead over RobustMPC in points of the way from the floor to the optimum, mean over the cases\n")
        print("\n".join(f"- {mean_over_cases(rows, whole, label)}" for label in given.of if label not in REFERENCES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("play", help="play and keep rows")
    one.add_argument("rows", type=Path)
    one.add_argument("agents", nargs="*", help="label=NAME or label=FOLDER,FOLDER,…")
    one.add_argument("--cases", nargs="+", default=[])
    one.add_argument("--without", default="", help="family that the training left out: " + ", ".join(FAMILIES))
    one.add_argument("--episodes", type=int, default=100, help="at most so many a case")
    one.set_defaults(run=play)
    other = commands.add_parser("tables", help="judge rows")
    other.add_argument("rows", type=Path, nargs="+")
    other.set_defaults(run=tables)
    third = commands.add_parser("compare", help="set two agents against each other")
    third.add_argument("rows", type=Path, nargs="+")
    third.add_argument("--of", nargs=2, required=True, metavar=("LABEL", "LABEL"))
    third.set_defaults(run=compare)
    for each in (one, other, third):
        each.add_argument("--split", default="test", choices=("valid", "test"))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
