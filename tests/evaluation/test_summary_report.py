"""The summary's judgement, the figures and the report, and the catalog of settings."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.evaluation import canvas, evaluate, list_settings, load_setting, timelines
from netllm_gym.evaluation.summary import summarise
from tests.evaluation.toy import TOY

METRIC = {"name": "cost", "aggregate": "mean", "better": "lower"}


def rows(agent, values, seed=0):
    return pd.DataFrame(
        {
            "agent": agent, "training_seed": seed, "episode": range(len(values)), "cost": values,
            "failed": False, "group": [f"g{i}" for i in range(len(values))],
        }
    )  # fmt: skip


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    base = rng.normal(10, 2, 40)
    noise = rng.normal(0, 0.2, 40)
    return pd.concat(
        [
            rows("base", base), rows("good", base - 1 + noise), rows("bad", base + 1 + noise),
            rows("same", base + 0.05 * (noise - noise.mean())), rows("floor", base + 5),
            rows("best", base - 5),
        ],
        ignore_index=True,
    )  # fmt: skip


def test_lower_is_better(frame):
    summary = summarise(frame, METRIC, {}, "base", "floor", "best", frozenset({"best"})).set_index("agent")
    assert list(summary.index) == ["good", "same", "base", "bad", "floor", "best"] or summary.index[0] == "good"
    assert summary.index[-1] == "best", "bounds stand last"
    assert dict(summary["verdict"]) == {
        "good": "better", "base": "baseline", "same": "equivalent", "bad": "worse", "floor": "worse",
        "best": "bound",
    }  # fmt: skip
    assert summary.loc["good", "score"] == pytest.approx(0.6, abs=0.02)
    assert summary.loc["good", "win_rate"] > 0.95 and summary.loc["good", "difference"] < 0
    assert summary.loc["base", "tail"] > summary.loc["base", "mean"], "the tail is the costly side"


def test_training_seeds_widen_the_interval(frame):
    base = frame[frame["agent"] == "base"]["cost"].to_numpy()
    one = pd.concat([rows("base", base), rows("new", base - 0.3)])
    many = pd.concat(
        [rows("base", base), *(rows("new", base - 0.3 + shift, s) for s, shift in enumerate((-1.2, 0, 1.2)))]
    )
    narrow, wide = (summarise(f, METRIC, {}, "base").set_index("agent").loc["new"] for f in (one, many))
    assert narrow["verdict"] == "better" and wide["verdict"] == "undecided"
    assert wide["difference"] == pytest.approx(-0.3)


def test_unfair_rows_are_refused(frame):
    with pytest.raises(DatasetError, match="stands twice"):
        summarise(pd.concat([frame, frame.iloc[:1]]), METRIC, {})
    with pytest.raises(DatasetError, match=r"good.*lacks 1 of 40"):
        summarise(frame.drop(index=frame.index[(frame.agent == "good") & (frame.episode == 7)]), METRIC, {})
    with pytest.raises(DatasetError, match="column 'cost'"):
        summarise(frame.drop(columns="cost"), METRIC, {})
    mixed = frame.copy()
    mixed.loc[3, "group"] = "elsewhere"
    with pytest.raises(DatasetError, match="episode 3 has a different recording"):
        summarise(mixed, METRIC, {})
    with pytest.raises(UnknownNameError, match="base"):
        summarise(frame, METRIC, {}, "bsae")
    with pytest.raises(DatasetError, match="column 'group'"):
        summarise(frame.drop(columns="group"), METRIC, {})
    crossed = frame.assign(**{"group:video": "v1", "group:viewer": frame["group"]})
    crossed.loc[7, "group:viewer"] = None
    with pytest.raises(DatasetError, match="episode 7 of base names no viewer"):
        summarise(crossed, METRIC, {})
    crossed.loc[7, "group:viewer"] = "g8"
    with pytest.raises(DatasetError, match="episode 7 has a different viewer"):
        summarise(crossed, METRIC, {})
    for odd in ({"share": 2, "of": "span"}, {"share": 0.1, "of": "spam"}, {"of": "span"}):
        with pytest.raises(ConfigError, match="a margin needs a share"):
            summarise(frame, METRIC, {}, margin=odd)


def test_one_level_of_a_factor_decides_nothing_and_says_so(frame):
    crossed = frame.assign(**{"group:video": "only one", "group:viewer": frame["group"]})
    row = summarise(crossed, METRIC, {}, "base").set_index("agent").loc["good"]
    assert row["verdict"] == "undecided" and row["why"] == "1 video: fewer than 6 say nothing about others"
    assert row["difference_high"] < 0, "the interval is that of other viewers of this one video"


def test_a_verdict_speaks_of_what_was_sampled(frame):
    """One training is a checkpoint; five are a method; a rule is itself."""
    base = frame[frame["agent"] == "base"]["cost"].to_numpy()
    for seeds, said in ((1, "checkpoint better"), (4, "checkpoint better"), (5, "method better")):
        shift = 0.01 * np.arange(seeds)
        many = pd.concat([rows("base", base), *(rows("new", base - 1 + shift[s], s) for s in range(seeds))])
        found = summarise(many, METRIC, {}, "base", trained=frozenset({"new"})).set_index("agent")
        assert found.loc["new", "verdict"] == said
        assert summarise(many, METRIC, {}, "base").set_index("agent").loc["new", "verdict"] == "better"
        both = summarise(many, METRIC, {}, "base", trained=frozenset({"new", "base"})).set_index("agent")
        assert both.loc["new", "verdict"] == "checkpoint better", "the baseline is one training"


def test_influence_finds_the_recordings_that_carry_a_lead():
    base = np.zeros(40)
    lead = np.full(40, -0.1)
    lead[[4, 9, 30]] = -10.0, -8.0, -6.0
    found = summarise(pd.concat([rows("base", base), rows("new", lead)]), METRIC, {}, "base").set_index("agent")
    assert found.loc["new", "half_of_lead"] == 2 and found.loc["new", "recordings"] == 40
    assert found.loc["new", "without_three"] == pytest.approx(-0.1)


def test_a_margin_of_the_baseline_where_there_is_no_oracle(frame):
    some = frame[frame["agent"].isin(["base", "same", "good"])]
    margin = {"share": 0.02, "of": "baseline", "reason": "because"}
    found = summarise(some, METRIC, {}, "base", margin=margin)
    mean = some[some["agent"] == "base"]["cost"].mean()
    assert found.attrs["margin"] == pytest.approx(0.02 * mean) and found.attrs["margin_reason"] == "because"
    assert found.set_index("agent").loc["same", "verdict"] == "equivalent"
    assert found.attrs["family"] == 2 and found.attrs["groups"] == "40 recordings"


class Strict(HTMLParser):
    """Checks that elements close in order, and collects the tags."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def hostile():
    label = {"name": "toy/hint", "label": "<script>alert(1)</script>|x", "bias": 0.2}
    return evaluate(
        TOY,
        [label, "toy/faulty"],
        baseline="toy/random",
        floor="toy/random",
        oracle="toy/oracle",
        progress=False,
    )


def test_report_is_self_contained_and_escaped(hostile, tmp_path):
    page = hostile.report(tmp_path).read_text()
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    assert parser.tags.count("script") == 1 and parser.tags.count("svg") == 7, "one script, the page's own"
    assert not re.search(r'(?:src|href)="(?!#)', page), "nothing is loaded from elsewhere"
    assert "&lt;script&gt;alert(1)" in page and "no &lt;b&gt;idea" in page
    assert "prefers-color-scheme: dark" in page and "currentColor" in page and canvas.INK not in page
    for told in (
        "is better than toy/random",
        "undecided",
        "failed in 2 episodes",
        hostile.digest,
        "netllm_gym.evaluate(",
    ):
        assert told in page
    text = (tmp_path / "report.md").read_text()
    assert "<script>" not in text.split("```python")[0] and "\\|x" in text
    for name in re.findall(r"\((figures/[^)]+)\)", text):
        assert (tmp_path / name).stat().st_size > 5000
    assert hostile.report(tmp_path / "again").read_text() == page, "the same result gives the same page"


def test_figures_as_pdf(hostile, tmp_path):
    names = hostile.plot(tmp_path, formats=["pdf"])
    assert {f"{name}.pdf" for name in names} == {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "metric-cdf.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ConfigError, match="png, svg or pdf"):
        hostile.plot(tmp_path, formats=["exe"])


def test_a_pdf_holds_the_font_itself(hostile, tmp_path, monkeypatch):
    monkeypatch.setitem(canvas._STYLE, "pdf.fonttype", 42)  # as it is outside these tests
    hostile.plot(tmp_path, formats=["pdf"])
    for path in tmp_path.iterdir():
        assert b"/FontFile2" in path.read_bytes(), "journals refuse drawn letters (type 3)"


def test_power_of_a_result(hostile):
    agent = hostile.agents[0]
    assert hostile.power(agent, 0.5).needed > hostile.power(agent, 1.0).needed >= 1
    with pytest.raises(UnknownNameError):
        hostile.power("toy/hnt", 0.1)
    with pytest.raises(ConfigError, match="baseline itself"):
        hostile.power("toy/random", 0.1)


def test_settings():
    setting = load_setting("abr")
    assert setting.env == "netllm_gym/ABR-v0" and setting.baseline == "abr/robust-mpc"
    assert ("abr", "unseen2", "paper") in list_settings("abr")
    with pytest.raises(UnknownNameError, match="unseen1"):
        load_setting("abr", "unsen1")
    with pytest.raises(UnknownNameError, match="abr"):
        load_setting("arb")
    with pytest.raises(UnknownNameError, match="paper"):
        load_setting("abr", "unseen2", "papper")


def test_abr_on_the_embedded_setting():
    result = evaluate(agents=["abr/bba"], setting="default", episodes=12, trace_steps=[2], progress=False)
    table = result.frame.pivot(index="episode", columns="agent", values="qoe")
    assert (table.sub(table["abr/oracle"], axis=0).to_numpy() < 1e-6).all(), "nobody beats the oracle"
    scores = result.summary().set_index("agent")["score"]
    assert scores["abr/constant"] == 0 and scores["abr/oracle"] == 1
    assert 0 < scores["abr/bba"] < scores["abr/robust-mpc"] < 1
    figure = timelines.abr_timeline(result, 2, ["abr/bba", "abr/oracle"])
    assert len(figure.axes) == 2
    with pytest.raises(ConfigError, match="recorded: 2"):
        timelines.abr_timeline(result, 3)


def test_report_when_everything_failed(tmp_path):
    result = evaluate(agents=[{"name": "abr/constant", "level": 99}], episodes=3, progress=False)
    assert result.frame["failed"].all()
    assert "3 × ConfigError: level 99" in result.report(tmp_path).read_text()


def test_an_agent_without_spread_is_drawn(tmp_path):
    """A constant score of 0.3 on many episodes: its mean and the ends of its interval agree to the last bit."""
    result = evaluate(agents=["abr/constant", "abr/bba"], setting="default", episodes=11, progress=False)
    result.frame.loc[result.frame["agent"] == "abr/constant", "qoe"] = 0.1 + 0.2
    row = result.summary().set_index("agent").loc["abr/constant"]
    assert row["ci_low"] <= row["mean"] <= row["ci_high"]
    assert "metric-latency" in result.plot(tmp_path)
