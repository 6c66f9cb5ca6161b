"""The loss of a training against the tokens it has seen."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from evalkit import atomic
from evalkit.records import Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import style
from evalkit.report.figures.drawing import drawing, finish

NAME = "loss"
WINDOW_SHARE = 200  # a smoothed point is the mean of this part of the curve
FEW = 20  # steps that are shown as points


def draw(table: Path) -> Path:
    """Draw the loss curve of a training from its CSV, as PNG beside it; StorageError where the disk refuses."""
    path = table.with_suffix(".png")
    atomic.write_bytes(path, loss_curve(table).saved("png"))
    return path


def loss_curve(table: Path) -> Figure:
    """Draw the loss of each step in a training's CSV, and its running mean; losses that are no number are left out."""
    with table.open(encoding="utf-8") as file:
        rows = [(int(row["step"]), int(row["tokens"]), float(row["loss"])) for row in csv.DictReader(file)]
    kept = [row for row in rows if math.isfinite(row[2])]
    losses = [loss for _, _, loss in kept]
    scale, unit = (1e6, "tokens (million)") if kept and kept[-1][1] >= 1e6 else (1.0, "tokens")
    tokens = [seen / scale for _, seen, _ in kept]
    width = max(1, len(losses) // WINDOW_SHARE)
    means = running_mean(losses, width=width)
    with drawing(style.PAGE, 2.8) as drawn:
        axes = drawn.add_subplot()
        if width > 1:
            axes.plot(tokens, losses, color=style.INK, alpha=0.3, linewidth=0.4, label="each step")
        name = f"mean of {width:,} steps" if width > 1 else "each step"
        axes.plot(tokens, means, color=style.colour(0), marker="." if len(losses) < FEW else None, label=name)
        axes.set(xlabel=unit, ylabel="loss (nats per weighted token)", xlim=(0, None))
        axes.set_ylim(0, 1.04 * max(losses, default=1.0))
        drawn.legend(loc="outside upper right", ncols=2)
        caption = f"Training loss of each of {tables.count(len(losses), 'step')}"
        caption += f", and the mean of the {width:,} up to each." if width > 1 else "."
        if len(kept) < len(rows):
            caption += f" Left out: {tables.count(len(rows) - len(kept), 'step')} whose loss was not finite."
        body = tuple((step, seen, loss, mean) for (step, seen, loss), mean in zip(kept, means, strict=True))
        data = Table(("step", "tokens", "loss", "running mean"), body, "Loss of a training")
        return finish(drawn, name=NAME, title="Loss of a training", caption=caption, data=data)


def running_mean(values: list[float], *, width: int) -> list[float]:
    """Give the mean of each value and the `width` - 1 before it, fewer at the start."""
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - width] if place >= width else 0.0)
        means.append(total / min(place + 1, width))
    return means
