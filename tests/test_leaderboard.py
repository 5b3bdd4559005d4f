"""Submissions: written from results, read with suspicion, scored again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from netllm_gym import evaluate, leaderboard, zoo
from netllm_gym.cli.app import app
from netllm_gym.errors import ConfigError, DatasetError, NetLLMGymError
from netllm_gym.evaluation.specs import digest_of

COMMITTED = sorted((Path(__file__).resolve().parent.parent / "leaderboard").glob("*.json"))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("results")
    evaluate(agents=["abr/bba", "abr/robust-mpc"], setting="default", episodes=4, out=out, progress=False)
    return out


@pytest.fixture
def submitted(results, tmp_path) -> Path:
    return leaderboard.submit(results, by="me", note="a try", out=tmp_path / "mine.json")


def changed(path: Path, change, sign: bool = True) -> Path:
    content = json.loads(path.read_text())
    content.pop("digest")
    change(content)
    content["digest"] = digest_of(content) if sign else "0" * 64
    path.write_text(json.dumps(content))
    return path


def test_what_is_submitted_comes_out_again(submitted) -> None:
    submission = leaderboard.read_submission(submitted)
    assert (submission.task, submission.episodes, submission.by) == ("abr", 4, "me")
    assert set(submission.scores) == {"abr/bba", "abr/robust-mpc", "abr/constant", "abr/oracle"}
    outcomes = leaderboard.rescore(submission, ["abr/bba"])
    assert outcomes == {"abr/bba": "same"} and not leaderboard.failures_of(outcomes)
    assert submitted.stat().st_size < 8_000


def test_a_better_score_than_earned_is_noticed(submitted) -> None:
    def flatter(content) -> None:
        content["scores"]["abr/bba"]["mean"] = 9.0
        for entry in content["agents"]:
            entry["rows"] = "0" * 64

    done = CliRunner().invoke(app, ["leaderboard", "--rescore", str(changed(submitted, flatter)), "--agent", "abr/bba"])
    assert done.exit_code == 1
    assert "differs" in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=9), "format 9"),
        (lambda c: c.update(by="x" * 500), "by must be printable text"),
        (lambda c: c.update(by="\x1b[2J"), "by must be printable text"),
        (lambda c: c.update(episodes=10**9), "episodes must be a whole number from 1 to 2000"),
        (lambda c: c.update(episodes=True), "episodes must be a whole number"),
        (lambda c: c.update(agents=[]), "agents must be a list of 1 to 64"),
        (lambda c: c["agents"].append(c["agents"][0]), "an agent stands twice"),
        (lambda c: c["agents"][0].update(name="os:system"), r"agents\[0\].name must be text of the form"),
        (lambda c: c["agents"][0].update(name="agents/../../etc"), r"agents\[0\].name must be"),
        (lambda c: c["agents"][0].update(name="/etc/passwd"), r"agents\[0\].name must be"),
        (lambda c: c["agents"][0].update(kwargs={"checkpoint": "/etc"}), "kwargs.checkpoint must be"),
        (lambda c: c["agents"][0].update(kwargs={"a b": 1}), "kwargs.a b must be"),
        (lambda c: c["agents"][0].update(kwargs=[1]), "kwargs. must be a JSON object"),
        (lambda c: c["scores"].pop("abr/bba"), "scores must be those of the agents listed"),
        (lambda c: c["scores"]["abr/bba"].update(mean="9"), "scores.abr/bba.mean must be a number or null"),
        (lambda c: c.update(baseline="abr/none"), "baseline must be one of the agents"),
        (lambda c: c.update(task="../x"), "task must be text of the form"),
    ],
)
def test_hostile_submissions_are_one_line(submitted, change, message) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        leaderboard.read_submission(changed(submitted, change))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_files_that_are_no_submissions_are_one_line(submitted, tmp_path) -> None:
    for text in ("", "[]", "nonsense", "[" * 100_000, '{"format": NaN}', '{"format": 1}'):
        submitted.write_text(text)
        with pytest.raises(DatasetError):
            leaderboard.read_submission(submitted)
    submitted.write_bytes(b"\xff\xfe" + b"{" * 10)
    with pytest.raises(DatasetError):
        leaderboard.read_submission(submitted)
    submitted.write_text(" " * 300_000)
    with pytest.raises(DatasetError, match="at most"):
        leaderboard.read_submission(submitted)
    with pytest.raises(DatasetError, match="no such"):
        leaderboard.read_submission(tmp_path / "none.json")


def test_an_edit_by_hand_is_noticed(submitted) -> None:
    with pytest.raises(NetLLMGymError, match="does not fit its digest"):
        leaderboard.read_submission(changed(submitted, lambda c: c.update(seed=3), sign=False))


def test_agents_that_are_not_here_are_refused(submitted) -> None:
    def elsewhere(content) -> None:
        next(entry for entry in content["agents"] if entry["label"] == "abr/bba")["name"] = "agents/mine"

    submission = leaderboard.read_submission(changed(submitted, elsewhere))
    with pytest.raises(ConfigError, match="nobody knows the agent agents/mine"):
        leaderboard.rescore(submission)


def test_other_weights_are_refused(submitted) -> None:
    def weighty(content) -> None:
        content["agents"][0]["weights"] = "0" * 64

    with pytest.raises(ConfigError, match="has other weights here"):
        leaderboard.rescore(leaderboard.read_submission(changed(submitted, weighty)))


def test_only_settings_of_the_catalog_are_submitted(results, tmp_path) -> None:
    evaluate(agents=["abr/bba"], setting={"traces": "abr/synthetic"}, episodes=2, out=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="setting of the catalog"):
        leaderboard.submit(tmp_path)
    with pytest.raises(ConfigError, match="has no agent 'abr/llm'"):
        leaderboard.submit(results, agents=["abr/llm"])


def test_an_agent_that_always_failed_is_not_submitted(tmp_path) -> None:
    agents = ["abr/robust-mpc", {"name": "abr/constant", "level": 99, "label": "mine"}]
    with pytest.warns(UserWarning, match="failed in every episode"):
        evaluate(agents=agents, setting="default", episodes=2, out=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="mine has no score"):
        leaderboard.submit(tmp_path)
    assert leaderboard.submit(tmp_path, agents=["abr/robust-mpc"]).is_file()


def test_the_table_and_its_page(submitted, tmp_path) -> None:
    changed(submitted, lambda c: c.update(by="<script>|x"))
    shutil.copy(submitted, tmp_path / "again.json")
    done = CliRunner().invoke(app, ["leaderboard", str(tmp_path), "--page", str(tmp_path / "page.md")])
    assert done.exit_code == 0, done.output
    assert "abr default (embedded)" in done.output and "abr/bba" in done.output
    page = (tmp_path / "page.md").read_text()
    assert r"\<script\>\|x" in page and "Test uses" in page


def test_ours_can_be_read_and_the_page_is_theirs() -> None:
    submissions = [leaderboard.read_submission(path) for path in COMMITTED]
    assert {one.task for one in submissions} >= {"abr", "viewport", "streaming", "crowd"}
    assert any("as-published" in label for one in submissions for label in one.scores)
    page = COMMITTED[0].parent.parent / "docs" / "leaderboard.md"
    assert page.read_text(encoding="utf-8") == leaderboard.page_of(submissions)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_our_submissions_are_of_the_weights_that_ship(path: Path) -> None:
    ours = [agent for agent in json.loads(path.read_text())["agents"] if agent["weights"]]
    stale = [agent["label"] for agent in ours if zoo.content(agent["name"]) not in (None, agent["weights"])]
    assert not stale, f"submit {path.name} again: other weights ship of {', '.join(stale)}"


def test_a_folder_without_submissions_says_so(tmp_path):
    done = CliRunner().invoke(app, ["leaderboard", str(tmp_path)])
    assert done.exit_code == 0 and "holds no submission" in " ".join(done.output.split())
