"""Drawings of eleven article types for the demo: shapes, colours, patterns and camera defects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_WIDTH, _HEIGHT = 60, 80
_SUPERSAMPLING = 3

_Colour = tuple[int, int, int]
_Point = tuple[float, float]
_Outline = Sequence[_Point]
_Range = tuple[float, float]

_BLACK: _Colour = (0, 0, 0)
_WHITE: _Colour = (255, 255, 255)
_SILVER: _Colour = (196, 196, 200)
_GOLD: _Colour = (205, 165, 90)
_PALETTE: dict[str, _Colour] = {
    "Black": (38, 38, 42),
    "White": (236, 236, 234),
    "Navy Blue": (36, 46, 92),
    "Blue": (60, 108, 180),
    "Red": (190, 40, 48),
    "Green": (58, 128, 76),
    "Grey": (140, 142, 146),
    "Brown": (112, 74, 48),
    "Pink": (226, 134, 168),
    "Purple": (112, 70, 140),
    "Beige": (210, 188, 150),
    "Yellow": (226, 192, 70),
}


def _mix(first: _Colour, second: _Colour, share: float) -> _Colour:
    """Blend two colours; `share`, from 0 to 1, is the weight of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _arc(centre: _Point, radii: _Point, start: float, stop: float, steps: int) -> list[_Point]:
    """Sample an elliptic arc at `steps` + 1 points; degrees run clockwise from three o'clock."""
    angles = [math.radians(start + (stop - start) * step / steps) for step in range(steps + 1)]
    (x, y), (across, down) = centre, radii
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def _box(left: float, top: float, right: float, bottom: float) -> list[_Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _mirrored(outline: _Outline) -> list[_Point]:
    return [(-x, y) for x, y in outline]


def _rounded(corners: _Outline, radius: float) -> list[_Point]:
    """Round every corner of a closed outline with a quadratic Bezier arc."""
    outline: list[_Point] = []
    for index, (x, y) in enumerate(corners):
        ends: list[_Point] = []
        for near_x, near_y in (corners[index - 1], corners[(index + 1) % len(corners)]):
            distance = math.hypot(near_x - x, near_y - y)
            fraction = min(0.5, radius / distance) if distance else 0.0
            ends.append((x + (near_x - x) * fraction, y + (near_y - y) * fraction))
        middle = ((ends[0][0] + 2 * x + ends[1][0]) / 4, (ends[0][1] + 2 * y + ends[1][1]) / 4)
        outline += [ends[0], middle, ends[1]]
    return outline


class _Sketch:
    """Supersampled image of one product while it is drawn: random generator, colours and pose.

    Painters use image pixels relative to the product's centre, x to the right and y down.
    """

    def __init__(self, rng: np.random.Generator, patterns: str) -> None:
        self.rng = rng
        names = list(_PALETTE)
        first, second = rng.choice(len(names), 2, replace=False)
        self.colour_name = names[first]
        self.base = _mix(_PALETTE[names[first]], _PALETTE[names[second]], self.pick(0, 0.12))
        self.accent = _PALETTE[names[second]]
        # Seams are lighter than black cloth, and darker than cloth of any other colour.
        dark = sum(self.base) < 180
        self.edge = _mix(self.base, _WHITE, 0.3) if dark else _mix(self.base, _BLACK, 0.35)
        self.metal = _mix(_SILVER, _GOLD, self.pick(0, 1))
        self.pattern = str(rng.choice(patterns.split()))
        self._pose()
        self.image = Image.new("RGB", (_WIDTH * _SUPERSAMPLING, _HEIGHT * _SUPERSAMPLING), _WHITE)
        self._draw = ImageDraw.Draw(self.image)
        self._fabric = self._weave()

    def pick(self, low: float, high: float) -> float:
        """Draw a number from the uniform range `low` to `high`."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Whether an event with this probability occurs."""
        return bool(self.rng.random() < probability)

    def _pose(self) -> None:
        angle, zoom = math.radians(self.rng.normal(0, 4)), self.pick(0.82, 1.05) * _SUPERSAMPLING
        across = zoom * self.pick(0.93, 1.05) * (-1 if self.chance(0.5) else 1)
        down = zoom * self.pick(0.95, 1.05)
        self._xx, self._xy = math.cos(angle) * across, -math.sin(angle) * down
        self._yx, self._yy = math.sin(angle) * across, math.cos(angle) * down
        self._left = (_WIDTH / 2 + self.pick(-2.5, 2.5)) * _SUPERSAMPLING
        self._top = (_HEIGHT / 2 + self.pick(-3, 3)) * _SUPERSAMPLING

    def _place(self, points: _Outline) -> list[_Point]:
        return [
            (self._xx * x + self._xy * y + self._left, self._yx * x + self._yy * y + self._top)
            for x, y in points
        ]

    def _weave(self) -> Image.Image | None:
        """Draw the pattern over a whole image, to be masked later; None for plain fabric."""
        if self.pattern == "plain":
            return None
        fabric = Image.new("RGB", self.image.size, self.base)
        draw, step = ImageDraw.Draw(fabric), self.pick(4, 8)
        thread = _mix(self.base, self.accent, self.pick(0.3, 1))
        width = max(2, round(self.pick(0.2, 0.5) * step * _SUPERSAMPLING))
        ticks = np.arange(-45, 45, step).tolist()
        if self.pattern == "dots":
            for x, y in self._place([(x, y) for x in ticks for y in ticks]):
                draw.ellipse((x, y, x + width, y + width), thread)
        if self.pattern in ("stripes", "checks"):
            for tick in ticks:
                draw.line(self._place([(-45, tick), (45, tick)]), thread, width)
        if self.pattern in ("pinstripes", "checks"):
            for tick in ticks:
                draw.line(self._place([(tick, -45), (tick, 45)]), thread, width // 2)
        return fabric

    def cloth(self, outline: _Outline) -> None:
        """Fill an outline with the product's fabric and draw its seam."""
        if self._fabric is None:
            self.fill(outline, self.base)
        else:
            mask = Image.new("1", self.image.size)
            ImageDraw.Draw(mask).polygon(self._place(outline), 1)
            self.image.paste(self._fabric, mask=mask)
        self.line([*outline, outline[0]], self.edge, 0.7)

    def fill(self, outline: _Outline, colour: _Colour) -> None:
        """Fill an outline, in image pixels, with a colour."""
        self._draw.polygon(self._place(outline), colour)

    def line(self, points: _Outline, colour: _Colour, width: float) -> None:
        """Draw an open line `width` image pixels wide."""
        self._draw.line(self._place(points), colour, round(width * _SUPERSAMPLING), joint="curve")


# Each pair is a uniform range in image pixels (flare and taper are ratios). A part with a negative
# size is left out. Ranges of similar classes overlap on purpose, or the task would be trivial.
_GARMENTS: dict[str, tuple[_Range, ...]] = {
    # length, chest, flare, sleeve, neck, depth, collar, placket, motif
    "Tshirts": ((42, 59), (13, 18), (0.9, 1), (8, 20), (4, 7), (3, 8), (-9, 3), (-30, 12), (-6, 8)),
    "Shirts": ((44, 61), (13, 18), (0.9, 1.2), (8, 38), (4, 7), (3, 7), (-1, 4), (-3, 52), (-9, 1)),
    "Kurtas": ((54, 71), (12, 17), (0.9, 1.4), (4, 38), (4, 7), (3, 9), (-4, 3), (-9, 30), (-9, 8)),
    "Tops": ((40, 56), (12, 17), (0.8, 1.3), (-8, 17), (4, 9), (3, 12), (-9, 1), (-60, 9), (-9, 8)),
}
_FOOTWEAR: dict[str, tuple[_Range, ...]] = {
    # heel, sole, ankle, mouth, toe, lace, stripe
    "Casual Shoes": ((-1, 4), (1.5, 4.2), (9, 19), (-4, 8), (7, 12), (-0.7, 1.2), (-4, 2)),
    "Sports Shoes": ((-2, 3), (2.5, 6), (13, 21), (-5, 4), (8, 13), (-0.2, 1.2), (-0.4, 2.2)),
    "Heels": ((2, 22), (0.8, 3), (6, 13), (2, 15), (4, 8), (-20, 1), (-20, 2)),
}
_BAGS: dict[str, tuple[_Range, ...]] = {
    # half width, height, taper, handle, crease
    "Handbags": ((19, 26), (24, 40), (0.72, 1.02), (-1, 24), (-6, 1)),
    "Wallets": ((17, 26), (20, 35), (0.9, 1.02), (-10, 8), (-0.7, 1)),
}


def _paint_garment(sketch: _Sketch, label: str) -> None:
    ranges = (sketch.pick(*span) for span in _GARMENTS[label])
    length, chest, flare, sleeve, neck, depth, collar, placket, motif = ranges
    top = -length / 2
    # Garments without sleeves have narrower shoulders.
    width = chest * (sketch.pick(0.8, 0.95) if sleeve > 0 else 0.7)
    shoulder = (max(width, neck + 2), top + sketch.pick(1.5, 4))
    armpit = (chest, top + sketch.pick(12, 16))
    waist = (chest * sketch.pick(0.85, 1), top + length * 0.55)
    side = [(neck, top), shoulder, armpit, waist, (chest * flare, -top)]
    sketch.fill(_arc((0, top + 1), (neck, 2.5), 0, 360, 12), sketch.edge)
    if sleeve > 0:
        # Long sleeves must hang steeply to stay inside the image.
        angle = math.radians(sketch.pick(12, 22) if sleeve > 20 else sketch.pick(28, 58))
        across, down, opening = math.sin(angle), math.cos(angle), sketch.pick(6, 9)
        cuff = (shoulder[0] + across * sleeve, shoulder[1] + down * sleeve)
        under = (cuff[0] - down * opening, cuff[1] + across * opening)
        outline = _rounded([shoulder, cuff, under, (chest - 3, armpit[1])], 1)
        sketch.cloth(outline)
        sketch.cloth(_mirrored(outline))
    pointed = sketch.chance(0.4)
    neckline = _arc((0, top), (neck, depth), 180, 0, 2 if pointed else 6)
    sketch.cloth(_rounded([*neckline[1:-1], *side, *reversed(_mirrored(side))], 1.5))
    _paint_front(sketch, neckline, collar, placket, motif)


def _paint_front(
    sketch: _Sketch, neckline: _Outline, collar: float, placket: float, motif: float
) -> None:
    """Draw the details that distinguish garments: collar, placket and motif, in image pixels."""
    (neck, top), throat = neckline[-1], neckline[len(neckline) // 2][1]
    seam = _mix(sketch.base, sketch.edge, sketch.pick(0.2, 1))
    if collar > 0:
        wing = [(0.5, throat), (neck, top - 1), (neck + 2, top + 2), (neck * 0.6, throat + collar)]
        for flap in (wing, _mirrored(wing)):
            sketch.fill(flap, _mix(sketch.base, seam, 0.4))
            sketch.line([*flap, flap[0]], seam, 0.7)
    if placket > 0:
        bottom = min(throat + placket, -top)
        sketch.line([(0, throat), (0, bottom)], seam, sketch.pick(0.5, 1.4))
        button = _mix(seam, sketch.accent, sketch.pick(0, 1))
        for y in np.arange(throat + 3, bottom, 6.0).tolist():
            sketch.fill(_arc((0, y), (0.8, 0.8), 0, 360, 6), button)
    if motif > 0:
        corners = int(sketch.rng.integers(3, 9))
        middle = (sketch.pick(-2, 2), top * sketch.pick(0.1, 0.4))
        sketch.fill(_arc(middle, (motif, sketch.pick(2, 7)), 0, 360, corners), sketch.accent)


def _paint_shoe(sketch: _Sketch, label: str) -> None:
    ranges = (sketch.pick(*span) for span in _FOOTWEAR[label])
    heel, sole, ankle, mouth, toe, lace, stripe = ranges
    heel = max(heel, 0)
    context = 10 + heel / 2
    seat, ball = context - sole - heel, context - sole
    vamp, collar = ball - toe, seat - ankle
    rubber = sketch.accent if sketch.chance(0.3) else _mix(_WHITE, sketch.edge, sketch.pick(0, 1))
    arch = [(-24, seat), (-8, seat + heel * 0.4), (6, ball)]
    welt = [(x, y + sole) for x, y in reversed(arch)]
    sketch.fill([*arch, (27, ball - 1), (26, context), *welt], rubber)
    # A low heel stays within the sole, as in a flat shoe.
    stem = -22 + sketch.pick(0, 9)
    sketch.fill(
        [(-24, seat), (-23, context), (stem, context), (stem + 3, seat + heel * 0.3)], rubber
    )
    bridge = (mouth, vamp - ankle * 0.25)
    dip = (-10, (collar + bridge[1]) / 2 + 2.5)
    lining = [(-22, collar + 1), (mouth - 4, bridge[1] - 1), bridge, dip]
    sketch.fill(lining, _mix(sketch.edge, _BLACK, 0.3))
    heel_cup = [(-24, seat), (-23.5, collar), (-20, collar)]
    toe_cap = [(17, vamp), (25, ball - toe * 0.7), (27.5, ball)]
    sketch.cloth(_rounded([*heel_cup, dip, bridge, *toe_cap, *reversed(arch[1:])], 4))
    if stripe > 0:
        for x in (-8.0, -4.0, 0.0)[: int(sketch.rng.integers(1, 4))]:
            sketch.line([(x - 4, arch[1][1] - 2), (x + 4, bridge[1] + 3)], sketch.accent, stripe)
    if lace > 0:
        for share in (0.1, 0.35, 0.6):
            x, y = mouth + (17 - mouth) * share, bridge[1] + (vamp - bridge[1]) * share
            sketch.line([(x - 2.5, y + 4), (x + 1.5, y - 0.5)], sketch.metal, lace)
    if sketch.chance(0.5):
        sketch.line([(14, vamp + 0.5), (12, ball)], sketch.edge, 0.8)


def _paint_watch(sketch: _Sketch, _label: str) -> None:
    strap, radius, length = sketch.pick(4.5, 9), sketch.pick(9, 15), sketch.pick(27, 37)
    end, link = strap * sketch.pick(0.7, 1), 3.0 if sketch.chance(0.5) else 30.0
    for sign in (1, -1):
        half = [(-strap, 0), (-end, length * sign), (end, length * sign), (strap, 0)]
        sketch.cloth(_rounded(half, 2))
        for y in np.arange(radius + 3, length - 1, link).tolist():
            sketch.line([(1 - end, y * sign), (end - 1, y * sign)], sketch.edge, 0.7)
    sketch.fill(_box(0, -1.5, radius + 2, 1.5), sketch.metal)
    face, square = _mix(_WHITE, sketch.accent, sketch.pick(0, 1)), sketch.chance(0.25)
    rim = _mix(sketch.metal, _BLACK, 0.5)
    for size, colour in ((radius, rim), (radius * 0.94, sketch.metal), (radius * 0.75, face)):
        disc = _box(-size, -size, size, size) if square else _arc((0, 0), (size, size), 0, 360, 20)
        sketch.fill(disc, colour)
    for length in (radius * 0.4, radius * 0.6):
        angle = sketch.pick(0, 2 * math.pi)
        tip = (length * math.cos(angle), length * math.sin(angle))
        sketch.line([(0, 0), tip], _BLACK if sum(face) > 380 else _WHITE, 1)


def _paint_sunglasses(sketch: _Sketch, _label: str) -> None:
    gap, wide, tall = sketch.pick(1.5, 4), sketch.pick(8, 11.5), sketch.pick(5.5, 9.5)
    outer, rim, turn = gap + 2 * wide, sketch.pick(0.7, 2), sketch.pick(0.7, 1)
    glass = _mix(sketch.accent, _BLACK, sketch.pick(0.4, 0.9))
    cheek = [(outer, tall * 0.5), (gap + wide, tall), (gap + 1, tall * sketch.pick(0.2, 0.8))]
    temple = [(outer, -tall * 0.7), (outer + 3, -tall - 4), (outer - 4, -tall - 7)]
    glint = [(gap + wide * 0.6, -tall * 0.5), (gap + wide, -tall * 0.1)]
    # In perspective, the far half is narrower.
    for side in (1.0, -turn):
        sketch.line([(x * side, y) for x, y in temple], sketch.base, rim + 0.4)
        lens = [(x * side, y) for x, y in ((gap, -tall), (outer, -tall - 1), *cheek)]
        sketch.fill(_rounded(lens, 5.5), glass)
        sketch.line(_rounded([*lens, lens[0]], 5.5), sketch.base, rim)
        sketch.line([(x * side, y) for x, y in glint], _mix(glass, _WHITE, 0.4), 1)
    sketch.line([(-gap, -tall * 0.5), (0, -tall * 0.7), (gap, -tall * 0.5)], sketch.base, rim)


def _paint_bag(sketch: _Sketch, label: str) -> None:
    wide, height, taper, handle, crease = (sketch.pick(*span) for span in _BAGS[label])
    bottom, rim = (height + max(handle, 0)) / 2, wide * taper
    top = bottom - height
    if handle > 0:
        grip = _arc((0, top + 1), (rim * sketch.pick(0.4, 0.85), handle), 180, 360, 12)
        sketch.line(grip, sketch.edge, 2.4)
        sketch.line(grip, sketch.base, 1.5)
    backbone = [(-rim, top), (rim, top), (wide, bottom), (-wide, bottom)]
    sketch.cloth(_rounded(backbone, sketch.pick(1, 6)))
    if sketch.chance(0.4):
        lip = top + height * sketch.pick(0.3, 0.6)
        flap = [(-rim, top), (rim, top), (rim * 0.97, lip), (0, lip + 3), (-rim * 0.97, lip)]
        sketch.cloth(_rounded(flap, 4))
        sketch.fill(_arc((0, lip), (1.8, 1.8), 0, 360, 8), sketch.metal)
    elif sketch.chance(0.6):
        sketch.line([(1 - rim, top + 3), (rim - 1, top + 3)], sketch.metal, 0.8)
    if crease > 0:
        x = -0.9 * rim if sketch.chance(0.5) else 0.0
        sketch.line([(x, top), (x, bottom)], sketch.edge, crease)


def _photograph(drawing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Downscale a drawing and add camera defects, while the background stays nearly white."""
    small = drawing.reduce(_SUPERSAMPLING)
    if rng.random() < 0.6:
        small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    # Scaling the distance from white varies the lighting without greying the background.
    ink = 255 - np.asarray(small, dtype=np.float32)
    sideways = np.linspace(-1, 1, _WIDTH, dtype=np.float32)[None, :, None]
    ink *= rng.uniform(0.8, 1.15) + rng.uniform(-0.15, 0.15) * sideways
    ink += rng.standard_normal(ink.shape, dtype=np.float32) * rng.uniform(0.5, 5)
    return Image.fromarray((255 - ink.clip(0, 255)).astype(np.uint8))


class Category(NamedTuple):
    """Categories of an article type in Kaggle's catalogue, and its painter and patterns."""

    master: str
    sub: str
    usage: str
    paint: Callable[[_Sketch, str], None]
    patterns: str = "plain plain plain checks dots"


_TOPWEAR = ("Apparel", "Topwear")
_SHOES = ("Footwear", "Shoes")
CATALOGUE = {
    "Tshirts": Category(*_TOPWEAR, "Casual", _paint_garment, "plain plain stripes"),
    "Shirts": Category(*_TOPWEAR, "Formal", _paint_garment, "plain checks pinstripes"),
    "Casual Shoes": Category(*_SHOES, "Casual", _paint_shoe),
    "Watches": Category("Accessories", "Watches", "Casual", _paint_watch),
    "Sports Shoes": Category(*_SHOES, "Sports", _paint_shoe),
    "Kurtas": Category(*_TOPWEAR, "Ethnic", _paint_garment, "plain dots pinstripes"),
    "Tops": Category(*_TOPWEAR, "Casual", _paint_garment),
    "Handbags": Category("Accessories", "Bags", "Casual", _paint_bag),
    "Heels": Category(*_SHOES, "Casual", _paint_shoe),
    "Sunglasses": Category("Accessories", "Eyewear", "Casual", _paint_sunglasses),
    "Wallets": Category("Accessories", "Wallets", "Casual", _paint_bag),
}

LABELS: tuple[str, ...] = tuple(CATALOGUE)


def draw_product(label: str, rng: np.random.Generator) -> tuple[Image.Image, str]:
    """Draw one product of an article type in `LABELS`; return the image and its colour's name.

    The image is RGB, 60 x 80 pixels (width x height), on a white background.
    """
    category = CATALOGUE[label]
    sketch = _Sketch(rng, category.patterns)
    category.paint(sketch, label)
    return _photograph(sketch.image, rng), sketch.colour_name
