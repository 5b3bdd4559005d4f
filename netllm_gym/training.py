"""The old address of :func:`netllm_gym.train`: import it from ``netllm_gym``. It goes with the next release."""

from __future__ import annotations

import sys
import warnings

from netllm_gym.recipes import run

warnings.warn("netllm_gym.training has moved: import train from netllm_gym", DeprecationWarning, stacklevel=2)
# The same module under both names, so that what is patched here counts there too.
sys.modules[__name__] = run
