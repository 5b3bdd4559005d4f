"""Numba where it is there, plain Python where it is not, so that nothing but speed depends on it.

Everything compiled in the package is decorated with this module's :func:`njit`. Without numba, or with
``NUMBA_DISABLE_JIT=1``, the same functions run as Python: right, and slow. Where that would be too slow there is a
NumPy way beside the compiled one, and :data:`COMPILED` says which to take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import numba as _numba

    numba: Any = _numba
except ImportError:
    numba = None

COMPILED: bool = numba is not None and not numba.config.DISABLE_JIT


def _as_it_is(*function: Callable[..., Any], **options: Any) -> Any:
    """Stand in for ``numba.njit``, bare or with options."""
    return function[0] if function else lambda decorated: decorated


njit: Any = numba.njit if COMPILED else _as_it_is
