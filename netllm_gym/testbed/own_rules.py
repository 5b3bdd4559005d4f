"""The browser player's own rules as names of agents.

``dash.js/bola`` plays with dash.js's own buffer target; ``dash.js/bola-60s`` fills 60 s, as much as the simulator lets
an agent fill, so that rules and agents can be compared with equal buffers.
"""

from __future__ import annotations

import re

from netllm_gym.errors import ConfigError

PREFIX = "dash.js/"
RULES = ("throughput", "bola", "dynamic", "l2a", "lolp")
_NAME = re.compile(r"(?P<rule>[a-z0-9]+)(?:-(?P<buffer>[0-9]{1,4})s)?", re.ASCII)


def is_own(name: str) -> bool:
    """Whether an agent's name means one of the browser player's own rules."""
    return name.startswith(PREFIX)


def parse(name: str) -> tuple[str, int | None]:
    """Return the rule and the buffer target (seconds; ``None``: dash.js's own) that a name such as
    ``dash.js/bola-60s`` means.

    Raises:
        ConfigError: no such rule, or a target below 4 s.
    """
    given = name.removeprefix(PREFIX)
    match = _NAME.fullmatch(given)
    if match is None or match["rule"] not in RULES:
        raise ConfigError(
            f"dash.js has no rule {given!r}; it has {', '.join(RULES)}, and each with another buffer target: bola-60s"
        )
    if match["buffer"] is None:
        return match["rule"], None
    if (target := int(match["buffer"])) < 4:
        raise ConfigError(f"{name}: a buffer target of at least 4 s is needed")
    return match["rule"], target
