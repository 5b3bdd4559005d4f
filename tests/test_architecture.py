"""The rooms import one way: at the top of modules, inside functions, for type checkers, and by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "netllm_gym"
# Lower rooms first. A module may import from its own room and from lower ones.
ORDER = (
    ("arrays", "deprecation", "errors", "plugins", "extras", "files", "progress", "randomness", "versions",
     "compiled", "workers", "zoo"),
    ("traces",),
    ("settings",),
    ("envs", "answers"),
    ("agents", "agents.base", "agents.checkpoint", "agents.hub", "agents.registry"),
    ("play",),
    ("datasets",),
    ("agents.abr", "agents.viewport", "agents.cluster", "agents.offline", "agents.llm", "agents.anything",
     "agents.run_state"),
    ("evaluation", "wrappers", "sb3"),
    ("recipes",),
    ("training", "quickstart", "showcase", "ablation", "reproduce", "matrix", "leaderboard"),
    ("testbed",),
    ("cli", "__main__"),
)  # fmt: skip
# Tables that name modules of other rooms as text, so that reading one entry imports nothing of the others: a
# checkpoint's kind and its loader, the modules that register agents. Nothing else may import by a name.
TABLES = {"agents.checkpoint", "agents.registry", "recipes.base", "", "plugins"}
# Modules of networks, which others import on use only: they may have torch at their top.
NETWORKS = {"agents.cluster.expert_llm", "agents.viewport.crowd_network", "agents.viewport.crowd_training"}
# The package's own door offers names of every room; nobody inside goes through it.
FACADE = {"", "__main__", "cli.app", "cli.bench", "agents.llm.gpu_sections"}


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if name]


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def _floor(module: str) -> int:
    """Number of the room of a module, by its longest known prefix."""
    matches = [
        (len(room), number)
        for number, rooms in enumerate(ORDER)
        for room in rooms
        if module == room or module.startswith(f"{room}.")
    ]
    assert matches, f"{module} belongs to no room"
    return max(matches)[1]


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of this package that a module imports anywhere, the type checker's imports included."""
    found = set()
    for node in ast.walk(_tree(module)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name != "netllm_gym" and not name.startswith("netllm_gym."):
                continue
            inner = name.removeprefix("netllm_gym").lstrip(".")
            while inner not in FILES:
                inner = inner.rpartition(".")[0]
            found.add(inner)
    return frozenset(found - {module})


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    for name in imports(module):
        if name:
            assert _floor(name) <= _floor(module), f"{module} imports {name}"
        else:
            assert module in FACADE, f"{module} goes through the package's own door"


@pytest.mark.parametrize("module", MODULES)
def test_modules_take_no_side_ways(module: str) -> None:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{module} calls {node.func.id}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and module not in TABLES:
            inner = node.value.removeprefix("netllm_gym.").partition(":")[0]
            named = re.fullmatch(r"netllm_gym\.[a-z_.]+(:\w+)?", node.value) and inner in FILES
            if named and "." in inner:
                assert _floor(inner) <= _floor(module), f"{module} names {node.value}"
    heavy = {"torch", "transformers", "peft", "d3rlpy"}
    if not module.startswith("agents.llm") and module not in NETWORKS:
        tops = {
            name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for name in [node.names[0].name]
        }
        tops |= {(node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not tops & heavy, f"{module} imports {tops & heavy} at the top"


def _circles() -> list[list[str]]:
    """Return the strongly connected modules (Tarjan, 1972); a package's own door is no part of a circle."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports(module) - {""}):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            members = []
            while not members or members[-1] != module:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(members))

    for module in MODULES:
        if module not in index:
            visit(module)
    return found


def test_there_is_no_circle() -> None:
    assert _circles() == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, netllm_gym; print(sorted({'torch', 'transformers', 'd3rlpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


PRIVATE_WORDS = {"found", "about", "told", "seen", "looks", "course", "courses", "shipped"}


def _declared(tree: ast.Module) -> Iterator[str]:
    """Names of functions, classes and attributes; not those of the last release, which only pass on to the new."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id
                if isinstance(line, ast.Assign) and not (
                    isinstance(line.value, ast.Call) and ast.unparse(line.value.func) == "renamed"
                ):
                    yield from (target.id for target in line.targets if isinstance(target, ast.Name))


def test_names_are_words_of_the_glossary():
    for module in MODULES:
        for name in (*module.split("."), *_declared(_tree(module))):
            words = re.findall(r"[A-Z]?[a-z]+", name)
            assert not PRIVATE_WORDS & {word.lower() for word in words}, f"{module}: {name} does not say what it is"


def test_names_of_the_last_release_still_read():
    from netllm_gym import evaluation
    from netllm_gym.agents import abr
    from netllm_gym.evaluation import timelines
    from netllm_gym.recipes import recipe_of

    with pytest.warns(DeprecationWarning, match="description"):
        assert recipe_of("abr-actor-critic").about == recipe_of("abr-actor-critic").description
    with pytest.warns(DeprecationWarning, match="timelines"):
        assert evaluation.courses is timelines
    with pytest.warns(DeprecationWarning, match="zoo_agents"):
        assert abr.shipped.HomeOrAny
