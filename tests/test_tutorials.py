"""The tutorials run as they stand: Python blocks in order, files where a block names one, and their commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
# Those that train a network need torch.
NEED_TORCH = {"environment", "dataset", "third_party"}
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", flags=re.S)


def script(page: str, folder: Path) -> str:
    """Return the page's blocks as one program; blocks that begin with a file's name become that file."""
    parts = ["import subprocess, sys"]
    for language, code in BLOCK.findall(page):
        named = re.match(r"# (\w+\.py)\n", code)
        if named:
            (folder / named[1]).write_text(code, encoding="utf-8")
        elif language == "python":
            parts.append(code)
        else:
            for line in code.splitlines():
                assert line.startswith("netllm-gym "), line
                parts.append(
                    f"subprocess.run([sys.executable, '-m', 'netllm_gym.cli', *{line.split()[1:]!r}], check=True)"
                )
    return "\n".join(parts)


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.md")), ids=lambda path: path.stem)
def test_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem in NEED_TORCH:
        pytest.importorskip("torch")
    if path.stem == "third_party":
        pytest.importorskip("mobile_env")
        pytest.importorskip("highway_env")
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "tutorial.py").write_text(script(path.read_text(encoding="utf-8"), tmp_path), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "tutorial.py"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


def test_there_are_the_five_that_the_documentation_promises() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.md")} >= {"agent", "traces", "environment", "dataset", "evaluation"}
