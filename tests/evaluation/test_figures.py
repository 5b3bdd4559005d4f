"""Samples and comparisons as figures: what they show is what was played."""

import numpy as np
import pandas as pd
import pytest

from netllm_gym import Agent
from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult, canvas, evaluate, plots, radar, timelines
from netllm_gym.evaluation.formats import compact, interval, number, percent, percent_interval
from netllm_gym.evaluation.heatmap import heatmap


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    return evaluate(
        "netllm_gym/ClusterScheduling-v0",
        ["cluster/fair", "cluster/fifo"],
        {"traces": "cluster/synthetic", "jobs": 8, "executors": 6},
        episodes=3,
        trace_steps=[1],
        progress=False,
        out=tmp_path_factory.mktemp("cluster"),
    )


def test_an_interval_that_leaves_zero_out_says_so() -> None:
    assert interval(0.0137, 0.411, signed=True) == "[>0, +0.4]"
    assert interval(-0.411, -0.0137) == "[−0.4, <0]"
    assert interval(-0.0137, 0.411, signed=True) == "[+0.0, +0.4]"
    assert interval(0.0, 0.0) == "[0.00000, 0.00000]"
    assert interval(0.05, 0.09, signed=True) == "[+0.05, +0.09]"
    assert interval(-np.inf, 1.41155, signed=True) == "[−∞, +1.4]"
    assert interval(-np.inf, np.inf) == "[−∞, ∞]"
    assert interval(1e-9, 2e-9) == "[0.00000, 0.00000]"  # as the value itself is shown
    assert percent_interval(0.0001, 0.9) == "[>0 %, 90 %]"


def test_gantt_shows_each_executor_at_one_job_at_a_time(cluster):
    stays = cluster.timelines
    assert set(stays["agent"]) == {"cluster/fair", "cluster/fifo"} and set(stays["episode"]) == {1}
    assert set(stays["job"]) == set(range(8)) and stays["executor"].between(0, 5).all()
    for _, own in stays.groupby(["agent", "executor"]):
        own = own.sort_values("start_s")
        assert (own["start_s"].to_numpy()[1:] >= own["end_s"].to_numpy()[:-1] - 1e-9).all()
        assert (own["end_s"] > own["start_s"]).all()
    figure = timelines.gantt(cluster)
    assert len(figure.axes) == 2 and "gantt-1" in plots.all_figures(cluster)
    with pytest.raises(ConfigError, match="recorded: 1"):
        timelines.gantt(cluster, 0)
    with pytest.raises(UnknownNameError, match="cluster/fifo"):
        timelines.gantt(cluster, 1, ["cluster/fifi"])


def test_timelines_are_saved_and_come_back(cluster, tmp_path):
    loaded = EvaluationResult.load(cluster.save(tmp_path))
    pd.testing.assert_frame_equal(loaded.timelines, cluster.timelines, check_dtype=False)


def test_recording_changes_nothing(cluster):
    plain = evaluate(
        "netllm_gym/ClusterScheduling-v0", ["cluster/fair", "cluster/fifo"], cluster.manifest["env_kwargs"], episodes=3,
        progress=False,
    )  # fmt: skip
    assert plain.digest == cluster.digest and plain.timelines.empty
    with pytest.raises(DatasetError, match="trace_steps"):
        timelines.gantt(plain)


def test_other_tasks_show_the_timeline_of_their_metric():
    result = evaluate(
        "netllm_gym/ViewportPrediction-v0", ["viewport/hold-last", "viewport/velocity"],
        {"traces": "viewport/synthetic"}, episodes=2, trace_steps=[0], progress=False,
    )  # fmt: skip
    (axes,) = timelines.metric_timeline(result).axes
    mine = result.steps[result.steps["agent"] == "viewport/velocity"][result.metric["name"]]
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert np.array_equal(drawn["viewport/velocity"], mine)
    assert "timeline-0" in plots.all_figures(result)


@pytest.fixture(scope="module")
def abr():
    return evaluate(agents=["abr/bba", "abr/dynamic"], setting="default", episodes=8, progress=False)


def test_profile_and_regret_agree_with_the_table(abr):
    lines = {line.get_label(): line for line in plots.performance_profile(abr).axes[0].get_lines()}
    summary = abr.summary().set_index("agent")
    assert "abr/oracle" not in lines
    share = np.asarray(lines["abr/bba"].get_ydata())
    assert share[0] <= 1 and share[-1] == 0 and (np.diff(share) <= 0).all(), "nobody beats the oracle"
    bars = plots.regret(abr).axes[0].patches
    assert sorted(bar.get_width() for bar in bars) == pytest.approx(
        sorted(summary.loc[[a for a in summary.index if a != "abr/oracle"], "regret"])
    )
    regret = summary.loc["abr/oracle", "mean"] - summary.loc["abr/bba", "mean"]
    assert summary.loc["abr/bba", "regret"] == pytest.approx(regret)
    assert summary.loc["abr/bba", "regret_low"] <= regret <= summary.loc["abr/bba", "regret_high"]


def test_radar_points_outwards_to_the_better_side(abr):
    (axes,) = radar.term_radar(abr).axes
    summary = abr.summary().set_index("agent")
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}
    assert set(drawn) == set(radar.drawn(abr)) and "abr/oracle" not in drawn
    stall = list(abr.terms).index("stall_s")
    best = summary.loc[list(drawn), "stall_s"].idxmin()
    assert drawn[best][stall] == 1.0 and min(line[stall] for line in drawn.values()) == 0.0


def test_heatmap_leaves_out_what_was_not_played():
    frame = pd.DataFrame({"default": [0.9, 0.5], "unseen1": [np.nan, -3.0]}, index=["a", "b"])
    texts = [text.get_text() for text in heatmap(frame, "score").axes[0].texts]
    assert texts == ["90", "50", "−300"]


def test_numbers_in_tables():
    assert [number(x) for x in (1.23456, -0.5, 0.00123, 2e-7, float("nan"), None)] == [
        "1.235", "−0.500", "0.0012", "0.000", "–", "–",
    ]  # fmt: skip
    assert number(0.5, signed=True) == "+0.500" and percent(-0.123, True) == "−12.3 %"
    assert [compact(x) for x in (50_866_493.5, 12_345, 0.4751, -3)] == ["50.9 M", "12.3 k", "0.475", "−3"]


def test_agents_of_long_paths_leave_room_for_what_is_drawn(recwarn) -> None:
    folders = [f"/home/someone/experiments/{part}/{'long/' * 12}agent" for part in ("first", "second")]
    agents = [{"name": "abr/constant", "label": label} for label in folders]
    result = evaluate("netllm_gym/ABR-v0", [*agents, "abr/bba"], episodes=3, trace_steps=[1], progress=False)
    called = canvas.names(result)
    assert called["abr/bba"] == "abr/bba" and len(set(called.values())) == len(result.agents)
    assert all(len(name) <= canvas.LONGEST_NAME + 4 for name in called.values())
    for figure in plots.all_figures(result).values():
        canvas.svg(figure, "x")
    assert not [one for one in recwarn if "layout" in str(one.message)]


@pytest.mark.filterwarnings("error:.*constrained_layout")
def test_where_all_have_failed_the_figures_are_empty_without_a_warning(tmp_path) -> None:
    with pytest.warns(UserWarning, match="failed in every episode"):
        result = evaluate("netllm_gym/ClusterScheduling-v0", [Broken()], {"jobs": 5}, episodes=1, progress=False)
    assert result.report(tmp_path).is_file()


class Broken(Agent):
    def act(self, observation, info):
        raise ValueError("broken")
