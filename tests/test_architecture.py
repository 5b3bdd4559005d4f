"""The rooms import one way; this test reads the imports at the top of every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "netllm_gym"
# Lower rooms first. A module may import from its own room and from lower ones.
ORDER = (
    ("arrays", "errors", "plugins", "extras", "files", "progress", "randomness", "versions", "compiled", "zoo"),
    ("traces",),
    ("settings",),
    ("envs",),
    ("agents", "agents.base", "agents.registry"),
    ("play",),
    ("datasets",),
    (
        "agents.abr",
        "agents.viewport",
        "agents.cluster",
        "agents.offline",
        "agents.llm",
        "agents.anything",
        "agents.checkpoint",
        "agents.run_state",
    ),
    ("evaluation", "wrappers"),
    ("recipes",),
    ("training", "quickstart", "ablation", "reproduce", "matrix"),
    ("testbed",),
    ("cli", "__main__"),
)
# Modules of networks, which others import on use only: they may have torch at their top.
NETWORKS = {"agents.viewport.crowd_network", "agents.viewport.crowd_training"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _floor(module: str) -> int:
    """Number of the room of a module, by its longest known prefix."""
    name = module.removeprefix("netllm_gym").lstrip(".")
    matches = [
        (len(room), number)
        for number, rooms in enumerate(ORDER)
        for room in rooms
        if name == room or name.startswith(f"{room}.")
    ]
    assert matches, f"{module} belongs to no room"
    return max(matches)[1]


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.startswith("netllm_gym.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in _imports(tree):
        assert _floor(name) <= _floor(module), f"{module} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{module} calls {node.func.id}"
    heavy = {"torch", "transformers", "peft", "d3rlpy"}
    if not module.startswith("agents.llm") and module not in NETWORKS:
        tops = {
            name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for name in [node.names[0].name]
        }
        tops |= {(node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not tops & heavy, f"{module} imports {tops & heavy} at the top"
