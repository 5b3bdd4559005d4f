"""Heatmaps of standings: agents against settings, or against families of traces."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from netllm_gym.evaluation.canvas import short, styled


@styled
def heatmap(standings: pd.DataFrame, caption: str, per_cent: bool = True) -> Figure:
    """Draw `standings` (rows: agents, columns: where they played; 1 is the oracle or a lead of 100 %).

    Args:
        standings: shares; missing cells stay empty.
        caption: what the numbers are.
        per_cent: write them as per cent.
    """
    values = standings.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    figure = Figure(figsize=(2.6 + 0.95 * columns, 1.3 + 0.32 * rows), layout="constrained")
    axes = figure.add_subplot()
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    low = max(low, -0.5) if high > 0 else low  # one hopeless agent must not take all the colour
    # Perceptually even, and as well ordered in grey as in colour.
    colours = matplotlib.colormaps["cividis"]
    axes.imshow(values, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    for i in range(rows):
        for j in range(columns):
            if np.isnan(values[i, j]):
                continue
            shade = (values[i, j] - low) / max(high - low, 1e-9)
            # Rounded first: "-0" is no number that a reader expects.
            text = f"{round(100 * float(values[i, j]))}" if per_cent else f"{round(float(values[i, j]), 2) + 0.0:.2f}"
            axes.text(
                j, i, text.replace("-", "−"), ha="center", va="center", fontsize=8,
                color="black" if shade > 0.55 else "white",
            )  # fmt: skip
    axes.set_xticks(range(columns), [str(name) for name in standings.columns], fontsize=8)
    axes.tick_params(axis="x", labelrotation=20 if max(map(len, map(str, standings.columns))) > 12 else 0)
    axes.set_yticks(range(rows), [short(str(name)) for name in standings.index], fontsize=8)
    axes.set_xlabel(f"{caption}{', %' if per_cent else ''}", fontsize=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure
