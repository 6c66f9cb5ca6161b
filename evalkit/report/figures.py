"""Figures for papers and pages, drawn with matplotlib."""

from __future__ import annotations

import csv
from pathlib import Path

WINDOW_SHARE = 50  # a smoothed point is the mean of this part of the curve


def loss_curve(table: Path) -> Path:
    """Draw the loss curve of a training from its CSV, as PNG beside it: each step, and a running mean."""
    from matplotlib.figure import Figure

    with table.open(encoding="utf-8") as file:
        points = [(int(row["tokens"]) / 1e6, float(row["loss"])) for row in csv.DictReader(file)]
    tokens, losses = [point[0] for point in points], [point[1] for point in points]
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(tokens, losses, color="0.75", linewidth=0.6, label="each step")
    axes.plot(tokens, running_mean(losses, width=max(1, len(losses) // WINDOW_SHARE)), color="C0", label="running mean")
    axes.set(xlabel="million tokens", ylabel="loss (nats per weighted token)", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path = table.with_suffix(".png")
    figure.savefig(path, dpi=150)
    return path


def running_mean(values: list[float], *, width: int) -> list[float]:
    """Give the mean of each value and the `width` - 1 before it, fewer at the start."""
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - width] if place >= width else 0.0)
        means.append(total / min(place + 1, width))
    return means
