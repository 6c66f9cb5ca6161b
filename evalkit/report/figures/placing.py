"""Names beside points, so that none covers a point, an interval, the edge or another name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from evalkit.report.figures import style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

RADII = (4.0, 8.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 100.0, 125.0)  # points, from the nearest on
ANGLES = tuple(range(0, 360, 15))  # degrees, tried from the right on
NEAR = 2  # of the radii, from which on a text has a line to its point
ROOM = 1.5  # pixels around a text

Spot: TypeAlias = tuple[float, float]  # in pixels
Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


@dataclass(frozen=True, slots=True)
class Taken:
    """What is in the way: it grows as texts find their places."""

    boxes: list[Box]  # that no text may cover
    texts: list[Box]  # that no line may cross


def place(
    axes: Axes,
    texts: Sequence[str],
    points: Sequence[tuple[float, float, float, float]],
    *,
    colours: Sequence[str],
    avoid: Sequence[tuple[float, float]],
    farthest: float,
) -> tuple[str, ...]:
    """Write a text beside each point of a frozen drawing; a point is x, y and its interval, in the units of the axes.

    Texts go to the nearest free place, at most `farthest` points away, those of crowded points first; they neither
    cover what is at `avoid` nor the lines of other texts. Returns those that have no place, and are left out.
    """
    scale = axes.figure.dpi / 72
    radii = [radius for radius in RADII if radius <= farthest]
    to_pixels, to_units = axes.transData.transform, axes.transData.inverted().transform
    spots = [_pair(to_pixels((x, y))) for x, y, _, _ in points]
    edge = _box(axes.get_window_extent())
    taken = Taken([_around(*_pair(to_pixels(spot)), 1.5 * scale, 0.5 * scale) for spot in avoid], [])
    for (across, up), (x, _, low, high) in zip(spots, points, strict=True):
        taken.boxes.append(_around(across, up, 3.2 * scale, 3.2 * scale))
        bottom, top = (float(to_pixels((x, bound))[1]) for bound in (low, high))
        taken.boxes.append((across - scale, max(bottom, edge[1]), across + scale, min(top, edge[3])))
    left_out: list[str] = []
    for at in sorted(range(len(spots)), key=lambda at: (-_crowd(spots, at, reach=60 * scale), at)):
        text = axes.text(0, 0, texts[at], fontsize=style.SMALL, va="center", ha="center", linespacing=1.0)
        extent = text.get_window_extent()
        found = _free(
            spots[at], (extent.width, extent.height), radii=[each * scale for each in radii], edge=edge, taken=taken
        )
        if found is None:
            text.remove()
            left_out.append(texts[at])
            continue
        box, line = found
        taken.boxes.append(box)
        taken.texts.append(box)
        text.set_position(tuple(to_units(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))))
        if line:
            taken.boxes.extend(_around(*each, 0.5 * scale, 0.5 * scale) for each in line)
            ends = to_units([line[0], line[-1]])
            axes.plot(ends[:, 0], ends[:, 1], color=colours[at], alpha=0.8, linewidth=0.5)
    return tuple(left_out)


def _free(
    spot: Spot, size: tuple[float, float], *, radii: Sequence[float], edge: Box, taken: Taken
) -> tuple[Box, list[Spot]] | None:
    """Find the nearest place for a text of this size in pixels, and its line to the point, empty where it is near."""
    width, height = size[0] + 2 * ROOM, size[1] + 2 * ROOM
    for at, radius in enumerate(radii):
        for angle in ANGLES:
            towards = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            across = spot[0] + radius * towards[0] + _sign(towards[0]) * width / 2
            up = spot[1] + radius * towards[1] + _sign(towards[1]) * height / 2
            box = _around(across, up, width / 2, height / 2)
            inside = box[0] >= edge[0] and box[1] >= edge[1] and box[2] <= edge[2] and box[3] <= edge[3]
            if not inside or any(_overlap(box, other) for other in taken.boxes):
                continue
            line = _line(spot, box) if at >= NEAR else []
            if not any(_inside(each, other) for each in line for other in taken.texts):
                return box, line
    return None


def _sign(part: float) -> int:
    """Tell the side of the point that a text is on, in one direction."""
    return 0 if abs(part) < 0.3 else 1 if part > 0 else -1


def _line(spot: Spot, box: Box) -> list[Spot]:
    """List places on the straight line from a point to the nearest of a box."""
    end = (min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3]))
    steps = max(2, round(math.dist(spot, end) / 2))
    shares = [step / steps for step in range(steps + 1)]
    return [(spot[0] + share * (end[0] - spot[0]), spot[1] + share * (end[1] - spot[1])) for share in shares]


def _crowd(spots: Sequence[Spot], at: int, *, reach: float) -> int:
    return sum(math.dist(spots[at], other) < reach for other in spots)


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(spot: Spot, box: Box) -> bool:
    return box[0] <= spot[0] <= box[2] and box[1] <= spot[1] <= box[3]


def _pair(found: NDArray[np.float64]) -> Spot:
    return float(found[0]), float(found[1])


def _box(extent: object) -> Box:
    left, bottom, right, top = extent.extents  # type: ignore[attr-defined] # matplotlib's Bbox
    return float(left), float(bottom), float(right), float(top)
