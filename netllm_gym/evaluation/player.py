"""What the page's episode player shows: lines and bars over time, as data."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from netllm_gym.evaluation import examples
from netllm_gym.evaluation.canvas import COLOURS, style_of
from netllm_gym.evaluation.formats import pretty
from netllm_gym.evaluation.timelines import ABR, rows_of
from netllm_gym.files import finite

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

# Dashes as SVG writes them, in the order of canvas.DASHES.
_DASHES = ("", "6 4", "6 3 2 3", "2 3", "5 2 1 2 1 2", "9 4", "4 2", "1 2")
STALL_S = 0.05
Panel = dict[str, Any]


def _points(steps: pd.DataFrame, x: str, y: str) -> list[list[float]]:
    return [
        [round(float(a), 3), float(f"{b:.5g}")] for a, b in zip(steps[x], steps[y], strict=True) if math.isfinite(b)
    ]


def _abr(result: EvaluationRecord, episode: int, agents: list[str]) -> tuple[list[Panel], float]:
    rate: Panel = {"title": "Mbit/s", "lines": []}
    buffer: Panel = {"title": "buffer (s)", "lines": []}
    end = 0.0
    for agent in agents:
        steps = rows_of(result.steps, agent, episode)
        if steps.empty:
            continue
        number = result.agents.index(agent)
        if not rate["lines"]:  # what this agent's downloads measured; the link is the same for all
            rate["lines"].append({"points": _points(steps, "wall_time_s", "throughput_mbps"), "stepped": True})
        rate["lines"].append(
            {"agent": number, "points": _points(steps, "wall_time_s", "bitrate_mbps"), "stepped": True}
        )
        stalls = steps[steps["stall_s"] > STALL_S]
        buffer["lines"].append(
            {
                "agent": number,
                "points": _points(steps, "wall_time_s", "buffer_s"),
                "stalls": _points(stalls, "wall_time_s", "stall_s"),
            }
        )
        end = max(end, float(steps["wall_time_s"].max()))
    return [rate, buffer], end


def _gantt(result: EvaluationRecord, episode: int, agents: list[str]) -> tuple[list[Panel], float]:
    panels: list[Panel] = []
    end = 0.0
    for agent in agents:
        stays = rows_of(result.timelines, agent, episode)
        bars = [
            [int(row.executor), round(float(row.start_s), 2), round(float(row.end_s), 2), int(row.job)]
            for row in stays.itertuples()
        ]
        count = max((bar[0] for bar in bars), default=0) + 1
        number = result.agents.index(agent)
        panels.append({"title": f"executors of {agent}", "agent": number, "lines": [], "bars": bars, "rows": count})
        end = max([end, *(bar[2] for bar in bars)])
    return panels, end


def _metric(result: EvaluationRecord, episode: int, agents: list[str]) -> tuple[list[Panel], float]:
    name = result.metric["name"]
    column = name if name in result.steps else "reward"
    lines = []
    end = 1.0
    for agent in agents:
        steps = rows_of(result.steps, agent, episode)
        if len(steps):
            lines.append({"agent": result.agents.index(agent), "points": _points(steps, "step", column)})
            end = max(end, float(steps["step"].max()))
    return [{"title": pretty(column), "lines": lines}], end


def episodes(result: EvaluationRecord) -> dict[str, Any] | None:
    """Return the recorded episodes as the player wants them; ``None`` where no step was recorded."""
    rows = result.timelines if len(result.timelines) else result.steps
    if rows.empty:
        return None
    kinds = {number: kind for kind, number in result.manifest.get("examples", {}).items()}
    recorded = sorted(set(rows["episode"]), key=lambda n: (examples.KINDS.index(kinds[n]) if n in kinds else 9, n))
    agents = [agent for agent in result.agents if agent in set(rows["agent"])]
    if len(result.timelines):
        draw, axis = _gantt, "time (s); colours are jobs"
    elif all(name in result.steps for name in ABR):
        draw, axis = _abr, "time since the first request (s); × marks a stall, grey is the throughput"
    else:
        draw, axis = _metric, "decision"
    shown = []
    for number in recorded:
        panels, end = draw(result, number, agents)
        trace = result.frame.loc[result.frame["episode"] == number, "trace"].iloc[0]
        shown.append(
            {
                "label": f"{kinds.get(number, 'episode')}: {trace} (episode {number})",
                "panels": panels,
                "end": end or 1.0,
                "worth": {result.agents.index(agent): examples.worth(result, agent, number) for agent in agents},
            }
        )
    described = {}
    for agent in agents:
        place = result.agents.index(agent)
        colour, _, _ = style_of(result, agent)
        dash = _DASHES[(place + place // len(COLOURS)) % len(_DASHES)]
        described[place] = {"name": agent, "colour": colour, "dash": dash}
    return {"axis": axis, "agents": described, "colours": list(COLOURS), "examples": shown}


def as_script(data: dict[str, Any]) -> str:
    """Return the data as JSON that cannot end the script element it stands in."""
    text = json.dumps(finite(data), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")
