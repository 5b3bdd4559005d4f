"""Tests compare numbers to 1e-4 and mix tensors of their own with a model's: they run on the CPU, CUDA or not."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def on_the_cpu():
    torch = pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
