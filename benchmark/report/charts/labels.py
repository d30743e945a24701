"""Place labels of points in a scatter plot without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PLOT = (720.0, 330.0)
"""Default width and height in pixels for which labels are placed; more width is more room."""
MAX_TRIED = 60
"""Maximum number of points to label, in the order of their priority."""
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
    points: Sequence[Point],
    order: Sequence[int],
    priority: int = 1,
    steps: Sequence[Step] = (),
    plot: tuple[float, float] = PLOT,
) -> list[dict[str, Any] | None]:
    """Text, alignment and offset in pixels of each point's label; None if there is no room.

    Points are labelled in `order`: beside, below and above the point, then farther away. Labels
    avoid other labels, points, intervals and `steps`, and stay within a plot of width and height
    `plot`. The first `priority` of `order` may cross intervals and steps, and the first one always
    gets a label, if need be a shorter one.
    """
    view = _View(points, plot)
    spots = [(view.across(point.x), view.fall(point.y)) for point in points]
    occupied: list[Box] = []
    lines: list[Box] = []
    for x0, y0, x1, y1 in steps:
        left, right = view.across(x0), view.across(x1)
        below, above = view.fall(y0), view.fall(y1)
        lines.append((left, below - 1, right, below + 1))
        lines.append((right - 1, above, right + 1, below))
    for (x, y), point in zip(spots, points, strict=True):
        occupied.append((x - 6, y - 6, x + 6, y + 6))
        low, high = (view.fall(value) for value in (point.low, point.high))
        lines.append((x - 1, high, x + 1, low))
    labels: list[dict[str, Any] | None] = [None] * len(points)
    for rank, number in enumerate(order[:MAX_TRIED]):
        text = _cut(points[number].name, MAX_LENGTH)
        best = _free(spots[number], CHARACTER * len(text), [*occupied, *lines], plot)
        if best is None and rank < priority:
            best = _free(spots[number], CHARACTER * len(text), occupied, plot)
        if best is None and rank == 0:
            text, best = _forced(text, spots[number], plot)
        if best is None:
            continue
        align, dx, dy = best
        occupied.append(_box(spots[number], CHARACTER * len(text), best))
        labels[number] = {"label": text, "align": align, "dx": dx, "dy": dy}
    return labels


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: max(1, length - 1)]}…"


def _forced(
    text: str, spot: tuple[float, float], plot: tuple[float, float]
) -> tuple[str, tuple[str, float, float]]:
    """Label on the side with more room, shortened to it."""
    left, right = spot[0] - GAP, plot[0] - spot[0] - GAP
    align, dx = ("left", GAP) if right >= left else ("right", -GAP)
    return _cut(text, int(max(left, right) / CHARACTER)), (align, dx, 0.0)


def _free(
    spot: tuple[float, float],
    width: float,
    occupied: Sequence[Box],
    plot: tuple[float, float],
) -> tuple[str, float, float] | None:
    taken = np.array(occupied)
    for dy in (0.0, 14.0, -14.0, 24.0, -24.0):
        for align, dx in (("left", GAP), ("right", -GAP)):
            box = _box(spot, width, (align, dx, dy))
            inside = box[0] >= 0 and box[2] <= plot[0] and box[1] >= 0 and box[3] <= plot[1]
            if inside and not _overlaps(box, taken):
                return align, dx, dy
    return None


def _box(spot: tuple[float, float], width: float, place: tuple[str, float, float]) -> Box:
    align, dx, dy = place
    left = spot[0] + dx - (width if align == "right" else 0)
    return left, spot[1] + dy - LINE / 2, left + width, spot[1] + dy + LINE / 2


def _overlaps(box: Box, taken: npt.NDArray[np.float64]) -> bool:
    """Whether a box overlaps any of those taken [n, 4]."""
    across = (box[0] < taken[:, 2]) & (taken[:, 0] < box[2])
    return bool((across & (box[1] < taken[:, 3]) & (taken[:, 1] < box[3])).any())


class _View:
    """Scales of a plot of width and height `plot` pixels."""

    def __init__(self, points: Sequence[Point], plot: tuple[float, float]) -> None:
        self.plot = plot
        self.left = min(point.x for point in points) / MARGIN
        self.right = max(point.x for point in points) * MARGIN
        self.bottom = min(point.low for point in points)
        self.top = max(point.high for point in points)

    def across(self, value: float) -> float:
        """X position in pixels from the left."""
        return self.plot[0] * math.log(value / self.left) / math.log(self.right / self.left)

    def fall(self, value: float) -> float:
        """Y position in pixels from the top."""
        low, high = self.bottom, self.top
        margin = max(0.06 * (high - low), 0.2)
        return self.plot[1] * (high + margin - value) / (high - low + 2 * margin)
