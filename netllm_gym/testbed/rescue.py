"""What a client still knows of an episode when a server is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.testbed.policy import record
from netllm_gym.testbed.session import Measured, Session


def rescued(plan: SessionPlan, measured: Sequence[Measured], reason: str) -> dict[str, Any]:
    """Return the record of an episode whose policy server cannot be asked for it any more: failed, with the reason."""
    env: Any = plan.condition.recipe().make().unwrapped
    session = Session(plan, env, None)
    session.begin()
    for segment in measured:
        session.arrived(segment)
    session.fail(reason)
    return record(session)


async def sent(http: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """Return the content server's log of the session at `url`; empty when it cannot be asked."""
    try:
        answer: list[dict[str, Any]] = (await http.get(f"{url}/log")).json()
        return answer
    except (httpx.HTTPError, ValueError):
        return []
