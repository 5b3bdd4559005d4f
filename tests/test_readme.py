"""The README's five lines and its ten-line agent run as they stand (with fewer episodes)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.llm


def test_python_blocks_run(tmp_path) -> None:
    folder = tmp_path / "path" / "to" / "folder"
    folder.mkdir(parents=True)
    (folder / "mine").write_text("0 1\n60 1.5\n120 2.5\n")
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.S)).replace("episodes=200", "episodes=8")
    assert "collect" in code and "register_agent" in code
    # Worker processes import the main module, so the script must guard itself as any script does.
    guarded = "if __name__ == '__main__':\n" + "\n".join(f"    {line}" for line in code.splitlines())
    (tmp_path / "readme.py").write_text(guarded, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
    assert "robust-mpc" in result.stdout
