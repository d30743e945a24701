"""Place labels of points in a scatter plot without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PLOT = (720.0, 330.0)
"""Default width and height in pixels for which labels are placed; more width is more room."""
MAX_TRIED = 60
"""Maximum number of points to label, in the order of their priority."""
MARGIN = 1.25
"""Factor of a logarithmic x axis beyond the outermost points."""

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


@dataclass(frozen=True)
class Font:
    """Size of labels in pixels."""

    character: float
    """Width of a character, on average."""
    line: float
    """Height of a line."""
    gap: float
    """Distance of a label from its point."""
    max_length: int
    """Maximum characters of a label; longer names are cut."""
    falls: tuple[float, ...] = (0.0, 14.0, -14.0, 24.0, -24.0)
    """Distances of a label below its point, in the order in which they are tried."""
    narrow: str = ""
    """Characters of about half the width."""

    def width(self, text: str) -> float:
        """Width of a text in pixels."""
        return self.character * (len(text) - 0.45 * sum(one in self.narrow for one in text))


FONT = Font(character=6.7, line=15, gap=14, max_length=36)
"""Labels of the large charts; their tooltips have the full names."""


@dataclass(frozen=True)
class Label:
    """A text beside its point: alignment, and offset in pixels."""

    text: str
    align: str
    dx: float
    dy: float


def place_labels(
    points: Sequence[Point],
    order: Sequence[int],
    priority: int = 1,
    steps: Sequence[Step] = (),
    plot: tuple[float, float] = PLOT,
) -> list[Label | None]:
    """Each point's label in a plot of width and height `plot`; None if there is no room.

    Labels avoid intervals and `steps` as far as `priority` allows, see `place_names`.
    """
    view = _View(points, plot)
    spots = [(view.across(point.x), view.fall(point.y)) for point in points]
    lines: list[Box] = []
    for x0, y0, x1, y1 in steps:
        left, right = view.across(x0), view.across(x1)
        below, above = view.fall(y0), view.fall(y1)
        lines.append((left, below - 1, right, below + 1))
        lines.append((right - 1, above, right + 1, below))
    for (x, _), point in zip(spots, points, strict=True):
        low, high = (view.fall(value) for value in (point.low, point.high))
        lines.append((x - 1, high, x + 1, low))
    dots = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    names = [point.name for point in points]
    return place_names(names, spots, order, priority, dots, lines, (0, 0, *plot), FONT)


def place_names(
    names: Sequence[str],
    spots: Sequence[tuple[float, float]],
    order: Sequence[int],
    priority: int,
    dots: Sequence[Box],
    lines: Sequence[Box],
    bounds: Box,
    font: Font,
    always: int = 0,
) -> list[Label | None]:
    """Each spot's label; None if there is no room or the spot is not in `order`.

    Spots are labelled in `order`: beside, below and above the spot, then farther away. Labels avoid
    other labels, `dots` and `lines`, and stay within `bounds`. The first `priority` of `order` may
    cross `lines`; the first `always` may cross `dots` of others, too, and the first one of all
    always gets a label, if need be a shorter one. `criteria.js` does the same for the card's chart.
    """
    occupied = list(dots)
    labels: list[Label | None] = [None] * len(names)
    for rank, number in enumerate(order[:MAX_TRIED]):
        text, spot = _cut(names[number], font.max_length), spots[number]
        best = _free(text, spot, [*occupied, *lines], bounds, font)
        if best is None and rank < priority:
            best = _free(text, spot, occupied, bounds, font)
        if best is None and rank < always:
            own = [dots[other] for other in order[:always]]
            best = _free(text, spot, [*own, *occupied[len(dots) :]], bounds, font)
        if best is None and rank == 0:
            best = _forced(text, spot, bounds, font)
        if best is None:
            continue
        occupied.append(_box(spot, best, font))
        labels[number] = best
    return labels


def _cut(text: str, length: int) -> str:
    """Cut in the middle: architectures of a family often differ only in the ends of their names."""
    if len(text) <= length:
        return text
    tail = max(length - 1, 1) // 2
    return f"{text[: max(length - 1 - tail, 1)]}…{text[len(text) - tail :]}"


def _forced(text: str, spot: tuple[float, float], bounds: Box, font: Font) -> Label:
    """Label on the side with more room, shortened to it."""
    left, right = spot[0] - bounds[0] - font.gap, bounds[2] - spot[0] - font.gap
    align, dx = ("left", font.gap) if right >= left else ("right", -font.gap)
    return Label(_cut(text, int(max(left, right) / font.character)), align, dx, 0.0)


def _free(
    text: str, spot: tuple[float, float], occupied: Sequence[Box], bounds: Box, font: Font
) -> Label | None:
    taken = np.array(occupied)
    for dy in font.falls:
        for align, dx in (("left", font.gap), ("right", -font.gap)):
            label = Label(text, align, dx, dy)
            left, top, right, bottom = _box(spot, label, font)
            inside = left >= bounds[0] and right <= bounds[2]
            inside = inside and top >= bounds[1] and bottom <= bounds[3]
            if inside and not _overlaps((left, top, right, bottom), taken):
                return label
    return None


def _box(spot: tuple[float, float], label: Label, font: Font) -> Box:
    wide = font.width(label.text)
    left = spot[0] + label.dx - (wide if label.align == "right" else 0)
    middle = spot[1] + label.dy
    return left, middle - font.line / 2, left + wide, middle + font.line / 2


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
