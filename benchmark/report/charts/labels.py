"""Place labels of points in a scatter plot without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PLOT = (720.0, 330.0)
"""Width and height in pixels for which labels are placed; a wider plot has more room."""
MARGIN = 1.25
"""Factor of a logarithmic x axis beyond the outermost points."""
CHARACTER = 6.7
LINE = 15.0
GAP = 14.0
MAX_LENGTH = 36
"""Maximum characters of a label; longer names are cut and shown in full in the tooltip."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

Step = tuple[float, float, float, float]
"""A step line from a point (x, y) across, then up to another (x, y)."""


@dataclass(frozen=True)
class Point:
    """A named point on a logarithmic x axis, with the interval of its y."""

    name: str
    x: float
    y: float
    low: float
    high: float


def place_labels(
    points: Sequence[Point], order: Sequence[int], priority: int = 1, steps: Sequence[Step] = ()
) -> list[dict[str, Any] | None]:
    """Text, alignment and offset in pixels of each point's label; None if there is no room.

    Points are labelled in `order`: beside, below and above the point, then farther away. Labels
    avoid other labels, points, intervals and `steps`. The first `priority` of `order` may cross
    intervals and steps, and the first one always gets a label.
    """
    spots = [(_across(points, point.x), _fall(points, point.y)) for point in points]
    occupied: list[Box] = []
    lines: list[Box] = []
    for x0, y0, x1, y1 in steps:
        left, right = _across(points, x0), _across(points, x1)
        below, above = _fall(points, y0), _fall(points, y1)
        lines.append((left, below - 1, right, below + 1))
        lines.append((right - 1, above, right + 1, below))
    for (x, y), point in zip(spots, points, strict=True):
        occupied.append((x - 6, y - 6, x + 6, y + 6))
        low, high = (_fall(points, value) for value in (point.low, point.high))
        lines.append((x - 1, high, x + 1, low))
    labels: list[dict[str, Any] | None] = [None] * len(points)
    for rank, number in enumerate(order):
        text = points[number].name
        text = text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
        best = _free(spots[number], CHARACTER * len(text), [*occupied, *lines])
        if best is None and rank < priority:
            best = _free(spots[number], CHARACTER * len(text), occupied)
        if best is None and rank == 0:
            best = ("left", GAP, 0.0)
        if best is None:
            continue
        align, dx, dy = best
        occupied.append(_box(spots[number], CHARACTER * len(text), best))
        labels[number] = {"label": text, "align": align, "dx": dx, "dy": dy}
    return labels


def _free(
    spot: tuple[float, float], width: float, occupied: Sequence[Box]
) -> tuple[str, float, float] | None:
    for dy in (0.0, 14.0, -14.0, 24.0, -24.0):
        for align, dx in (("left", GAP), ("right", -GAP)):
            box = _box(spot, width, (align, dx, dy))
            inside = box[0] >= 0 and box[2] <= PLOT[0] and box[1] >= 0 and box[3] <= PLOT[1]
            if inside and not any(_overlap(box, other) for other in occupied):
                return align, dx, dy
    return None


def _box(spot: tuple[float, float], width: float, place: tuple[str, float, float]) -> Box:
    align, dx, dy = place
    left = spot[0] + dx - (width if align == "right" else 0)
    return left, spot[1] + dy - LINE / 2, left + width, spot[1] + dy + LINE / 2


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _across(points: Sequence[Point], value: float) -> float:
    """X position in pixels from the left."""
    low, high = min(p.x for p in points) / MARGIN, max(p.x for p in points) * MARGIN
    return PLOT[0] * math.log(value / low) / math.log(high / low)


def _fall(points: Sequence[Point], value: float) -> float:
    """Y position in pixels from the top."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    margin = max(0.06 * (high - low), 0.2)
    return PLOT[1] * (high + margin - value) / (high - low + 2 * margin)
