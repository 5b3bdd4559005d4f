"""Tables that other packages extend: by a call, or by an entry point."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import EntryPoint

import pytest

from netllm_gym import plugins, settings, traces
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.reproduce import plan
from netllm_gym.traces import catalog


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Make a package with these files, and entry points {group: value} to them; forget everything afterwards."""
    caches = (plugins.toml_tables, settings._catalog, catalog.entries, catalog.build, plan.tasks)

    def install(files: dict[str, str], points: dict[str, str]) -> None:
        folder = tmp_path / "outside_package"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for name, text in files.items():
            (folder / name).write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "outside_package", raising=False)

        def found(group: str):
            return [EntryPoint("outside", value, group) for key, value in points.items() if key == group]

        monkeypatch.setattr(plugins, "entry_points", found)
        for cache in caches:
            cache.cache_clear()

    yield install
    monkeypatch.undo()
    sys.modules.pop("outside_package", None)
    for cache in caches:
        cache.cache_clear()


SETTINGS = """
[outside]
env = "outside/Env-v0"
baseline = "outside/rule"

[outside.settings.default]
note = "theirs"
embedded = { traces = "outside/links", split = "test" }

[abr]
env = "outside/Env-v0"
"""

CATALOG = """
["outside/links"]
kind = "synthetic-network"
licence = "MIT"
length_s = 60
seed = 3
counts = { train = 2, valid = 1, test = 3 }
families.steady = { means_mbps = [1.0, 2.0], stay_s = 10.0, sigma = 0.1 }
"""


def test_settings_of_other_packages_stand_beside_our_own(offer) -> None:
    offer({"settings.toml": SETTINGS}, {"netllm_gym.settings": "outside_package:settings.toml"})
    assert ("outside", "default", "embedded") in settings.list_settings()
    setting = settings.load_setting("outside")
    assert setting.env == "outside/Env-v0" and setting.baseline == "outside/rule" and setting.note == "theirs"
    assert settings.task_of("outside:outside/Env-v0") == "outside"
    assert settings.load_setting("abr").env == "netllm_gym/ABR-v0"  # nobody replaces ours


def test_catalogs_and_kinds_of_other_packages(offer) -> None:
    entry = '["outside/mine"]\nkind = "outside-kind"\nlicence = "MIT"\ncount = 4\n'
    offer({"catalog.toml": entry}, {"netllm_gym.catalog": "outside_package:catalog.toml"})
    assert "outside/mine" in traces.names()
    with pytest.raises(UnknownNameError, match="kind of traces 'outside-kind'"):
        traces.load("outside/mine")
    brought: list[str] = []

    @catalog.register_trace_kind("outside-kind", fetch=lambda name, progress: brought.append(name))
    def build(name, entry, as_published):
        link = traces.load("abr/synthetic", "test")[0]
        return {"test": (link,) * entry["count"]}

    assert len(traces.load("outside/mine", "test")) == 4
    traces.fetch("outside/mine")
    assert brought == ["outside/mine"]
    del catalog._KINDS._entries["outside-kind"]


def test_a_package_that_fails_is_named_and_everything_else_listed(offer) -> None:
    offer({"settings.toml": "not toml ["}, {"netllm_gym.settings": "outside_package:settings.toml"})
    with pytest.warns(UserWarning, match="outside_package:settings.toml of netllm_gym.settings failed"):
        assert settings.load_setting("abr").task == "abr"
    offered = plugins.Table[int]("thing", "netllm_gym.settings")
    for _ in range(2):
        with pytest.warns(UserWarning, match="is left out"):
            assert offered.names() == []


BAD_TABLES = [
    ("settings", "[outside]\nbaseline = 'a'\n", "task 'outside' has no env"),
    ("settings", "outside = 3\n", "task 'outside' is not a table"),
    ("settings", "[outside]\nenv = 'x'\nmatrix = { embedded = { families = 'a' } }\n", "families is not a list of str"),
    ("settings", "[outside]\nenv = 'x'\nmargin = { share = true, of = 'span' }\n", "share is not int or float"),
    ("catalog", "['outside/a']\nlicence = 'MIT'\n", "'outside/a' has no kind"),
    ("catalog", "['../a']\nkind = 'network'\n", "is not called kind/name"),
    ("catalog", "['outside/a']\nkind = 'network'\nsha256 = '../../x'\n", "sha256 is not 64 hexadecimal digits"),
    ("headline", "[outside]\ntitle = 'x'\nagents = ['a']\n", "has no settings"),
    ("headline", "[outside]\ntitle = 'x'\nagents = 'a'\nsettings = []\n", "agents is not a list of str"),
    ("headline", "[outside]\ntitel = 'x'\ntitle = 'x'\nagents = []\nsettings = []\n", "unknown key 'titel'"),
    ("headline", "[outside]\ntitle = 'x'\nagents = []\nsettings = []\npublished = [{ name = 'x' }]\n", "has no values"),
]


@pytest.mark.parametrize("group, text, message", BAD_TABLES)
def test_a_table_that_does_not_fit_is_left_out_by_name(offer, group, text, message) -> None:
    offer({"t.toml": text}, {f"netllm_gym.{group}": "outside_package:t.toml"})
    use = {"settings": settings.list_settings, "catalog": traces.names, "headline": plan.tasks}[group]
    with pytest.warns(UserWarning, match=message):
        listed = str(use())
    assert "outside" not in listed and "abr" in listed


@pytest.mark.parametrize(
    "change, message",
    [
        ("counts = { train = 2, valid = 1, test = 1000000000 }", "would hold 1,000,000,000 traces"),
        ("counts = { train = 2 }", r"cannot be had from its catalog entry \(KeyError: 'valid'\)"),
        ("counts = { train = 2, valid = 'x', test = 3 }", "cannot be had from its catalog entry"),
    ],
)
def test_an_entry_that_cannot_be_built_is_one_line(offer, change, message) -> None:
    text = CATALOG.replace("counts = { train = 2, valid = 1, test = 3 }", change)
    text = text.replace("{ means_mbps = [1.0, 2.0], stay_s = 10.0, sigma = 0.1 }", MODEL)
    offer({"t.toml": text}, {"netllm_gym.catalog": "outside_package:t.toml"})
    with pytest.raises(ConfigError, match=message):
        traces.load("outside/links")


MODEL = """{ mean_mbps = 1.0, spread = 0.1, cv = 0.2, cv_spread = 0.1, weight = 0.5, dwell_steps = 5, rho = 0.1 }"""


def test_tables_warn_of_doubles_and_offer_near_names() -> None:
    table = plugins.Table[object]("thing")

    def mine() -> None: ...

    def ours() -> None: ...

    ours.__module__ = "netllm_gym.somewhere"
    table.register("name", mine)
    with pytest.warns(UserWarning, match="registered before"):
        table.register("name", test_tables_warn_of_doubles_and_offer_near_names)
    with pytest.warns(UserWarning, match="your own"):
        table.register("name", ours)
    assert table["name"] is test_tables_warn_of_doubles_and_offer_near_names
    with pytest.raises(UnknownNameError, match="did you mean name"):
        table["nam"]
    with pytest.raises(ConfigError, match="is a text"):
        table.register("", mine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table.adder("other")(mine) is mine and list(table) == ["name", "other"] and "other" in table


def test_a_setting_without_traces_brings_nothing() -> None:
    settings.Setting("t", "n", "p", "e").bring(print)
    settings.Setting("t", "n", "p", "e", {"traces": traces.load("abr/synthetic", "test")}).bring(print)


def test_an_environment_with_two_tasks_is_tested_in_the_plain_one() -> None:
    assert (
        settings.task_of("netllm_gym/ViewportPrediction-v0") == "viewport"
    )  # and not in the crowd's, which shows more
