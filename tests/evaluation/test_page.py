"""The report's page: six columns, everything else one click away, interactive offline, and a snippet that runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from netllm_gym.cli import main
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import EvaluationResult, evaluate, examples
from netllm_gym.evaluation.page import filled, html_report
from netllm_gym.evaluation.report import main_columns, sentences, snippet


@pytest.fixture(scope="module")
def abr(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, Path]:
    folder = tmp_path_factory.mktemp("abr")
    result = evaluate(
        agents=["abr/bba", "abr/dynamic"], setting="default", episodes=9, out=folder, trace_steps="examples",
        progress=False,
    )  # fmt: skip
    return result, result.report(folder)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["netllm-gym", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_examples_are_the_best_the_middle_and_the_worst(abr) -> None:
    result, _ = abr
    table = result.frame.pivot(index="episode", columns="agent", values="qoe")
    gain = table[examples.hero(result)] - table["abr/robust-mpc"]
    chosen = result.manifest["examples"]
    assert chosen == {"best": gain.idxmax(), "median": gain.sort_values().index[4], "worst": gain.idxmin()}
    assert set(result.steps["episode"]) == set(chosen.values())
    for episode in chosen.values():  # the steps shown are those of the episodes scored
        for agent, steps in result.steps[result.steps["episode"] == episode].groupby("agent"):
            assert steps["reward"].mean() == pytest.approx(table.loc[episode, agent])
    plain = evaluate(agents=["abr/bba", "abr/dynamic"], setting="default", episodes=9, progress=False)
    assert plain.digest == result.digest
    with pytest.raises(ConfigError, match="examples"):
        evaluate(agents=["abr/bba"], episodes=2, trace_steps="all", progress=False)  # type: ignore[arg-type]


def test_the_page_shows_six_columns_and_hides_nothing(abr) -> None:
    result, page = abr
    text = page.read_text(encoding="utf-8")
    assert len(main_columns(result)) == 6
    main_table, rest = re.findall(r"<table.*?</table>", text, flags=re.S)[:2]
    assert main_table.count('scope="col"') == 6 and 'data-value="abr/oracle"' in main_table
    for heading in ("win rate", "P(improvement)", "IQM", "worst 5 %", "stall (s)", "trainings"):
        assert heading in rest
    assert "<details>" in text and not re.search(r'(src|href)="(?!#|data:)', text), "nothing is loaded from outside"
    assert (page.parent / "figures" / "metric-cdf.png").is_file()
    oracle = result.agents.index("abr/oracle")
    cdf = re.search(r"<figure><svg.*?</figure>", text, flags=re.S)
    assert cdf and f'data-agent="{result.agents.index("abr/bba")}"' in cdf[0]
    assert f'data-agent="{oracle}"' not in cdf[0], "a bound is not drawn as an agent"
    data = json.loads(re.search(r'id="episodes">(.*?)</script>', text, flags=re.S)[1])  # type: ignore[index]
    assert [example["label"].split(":")[0] for example in data["examples"]] == ["best", "median", "worst"]
    assert "undecided: " not in text or "is undecided" not in text


def test_words_for_counts_and_undecided(abr) -> None:
    result, page = abr
    assert "times on this machine" not in page.read_text() or "scored 1 times" not in page.read_text()
    for kind, told in sentences(result):
        assert kind != "undecided" or "undecided" not in told


def test_how_to_reproduce_runs_as_printed(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--task", "viewport", "--agent", "viewport/hold-last", "--episodes", "2", "--env-arg", "future=20")
    assert _run(monkeypatch, "evaluate", *arguments, "--out", "result") == 0
    code = snippet(EvaluationResult.load("result"))
    assert (
        "ViewportPrediction" in code and "'future': 20" in code and code in (tmp_path / "result/report.md").read_text()
    )
    capsys.readouterr()
    exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.rstrip().endswith("True")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert _run(monkeypatch, "report", "result", "--open") == 0
    assert opened == [(tmp_path / "result" / "report.html").as_uri()]


def test_names_from_outside_stay_text(abr) -> None:
    result, _ = abr
    frame, steps = result.frame.copy(), result.steps.copy()
    evil = "</script><script>alert(1)</script>"
    for table in (frame, steps):
        table["agent"] = table["agent"].replace("abr/bba", evil)
        if "trace" in table:
            table["trace"] = "<!--" + evil
    text = html_report(EvaluationResult(frame, result.manifest, steps, pd.DataFrame()), {})
    assert "alert(1)</script>" not in text and "<!--<" not in text
    assert filled("a@@x@@b", {"x": "@@x@@"}) == "a@@x@@b", "what a value contains is not filled in again"


def test_a_browser_sorts_hides_plays_and_fits_a_phone(abr, tmp_path) -> None:
    browsers = pytest.importorskip("playwright.sync_api")
    chromium = next(
        (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome")) if path.exists()), None
    )
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    result, page = abr
    paths = tmp_path / "paths.html"
    paths.write_text(
        page.read_text(encoding="utf-8").replace("abr/bba", f"/home/{'long/' * 14}agent"), encoding="utf-8"
    )
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True)
        tab = context.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        for one in (paths, page):
            tab.goto(one.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "nothing scrolls sideways"
        assert tab.evaluate("document.querySelectorAll('#player .stage path').length") > 3
        before = tab.evaluate("document.querySelector('#player .stage').innerHTML")
        tab.select_option("#player select", "2")
        assert tab.evaluate("document.querySelector('#player .stage').innerHTML") != before
        number = result.agents.index("abr/bba")
        tab.uncheck(f"#agents input[value='{number}']")
        shown = (
            f"[...document.querySelectorAll(\"[data-agent='{number}']\")].some(node => node.getClientRects().length)"
        )
        assert not tab.evaluate(shown)
        tab.set_viewport_size({"width": 1280, "height": 900})
        first = "document.querySelector('table.sortable tbody tr:first-child td').textContent"
        tab.click("table.sortable th:nth-child(2) button")
        rising = tab.evaluate(first)
        tab.click("table.sortable th:nth-child(2) button")
        assert tab.evaluate(first) != rising and tab.evaluate(first) == "abr/oracle"
        tab.pdf(path=str(tmp_path / "page.pdf"), format="A4")
        assert (tmp_path / "page.pdf").stat().st_size > 10_000
        assert not errors
        browser.close()
