"""The audit's contact sheet: groups of near-duplicates, then suspected labels, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from clothclf.data.checked import Images

SIDE = 112
"""Pixels of an image on the sheet."""
GAP = 12
LINE = 15
"""Pixels from one line of text to the next."""
HEADING = 34
WIDTH = 10
"""Images beside each other."""
INK, FAINT, WARNING, FRAME = "#1a1a1a", "#6b6b6b", "#b3261e", "#c9c9c9"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Tile:
    """One image and what stands below it, a line each."""

    row: int
    """In the array of images."""
    lines: tuple[str, ...]
    warned: int = -1
    """Which of the lines is set off; none below 0."""


@dataclass(frozen=True)
class Section:
    """Images under one heading; those of a group stand in one frame."""

    heading: str
    groups: Sequence[Sequence[Tile]]


def draw_sheet(pixels: Images, sections: Sequence[Section]) -> Image.Image:
    """Draw the sections below each other, from images uint8 [images, size, size, 3]."""
    drawn = [_Layout(section) for section in sections]
    width = GAP + WIDTH * (SIDE + GAP)
    sheet = Image.new("RGB", (width, GAP + sum(layout.height for layout in drawn)), "white")
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(size=11), ImageFont.load_default(size=17)
    top = GAP
    for layout in drawn:
        draw.text((GAP, top + 4), layout.section.heading, INK, large)
        for left, down, count in layout.frames:
            box = (left, top + down, left + count * (SIDE + GAP) - 2, top + down + layout.tall - 2)
            draw.rectangle(box, outline=FRAME)
        for tile, left, down in layout.tiles:
            image = Image.fromarray(pixels[tile.row]).resize((SIDE, SIDE))
            place = (left + GAP // 2, top + down + GAP // 2)
            sheet.paste(image, place)
            for number, text in enumerate(tile.lines):
                at = (place[0], place[1] + SIDE + 2 + number * LINE)
                ink = WARNING if number == tile.warned else INK if number == 0 else FAINT
                draw.text(at, _fitted(draw, text, small), ink, small)
        top += layout.height
    return sheet


class _Layout:
    """Where the tiles and frames of a section stand, from its top left."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.tiles: list[tuple[Tile, int, int]] = []
        self.frames: list[tuple[int, int, int]] = []
        lines = max((len(tile.lines) for group in section.groups for tile in group), default=0)
        self.tall = SIDE + GAP + lines * LINE + 4
        place, down = 0, HEADING
        for group in section.groups:
            # A group that does not fit into what is left of the line begins a new one.
            if place and place + len(group) > WIDTH:
                place, down = 0, down + self.tall + 4
            shown = group[:WIDTH]
            left = GAP // 2 + place * (SIDE + GAP)
            self.frames.append((left, down, len(shown)))
            for number, tile in enumerate(shown):
                self.tiles.append((tile, left + number * (SIDE + GAP), down))
            place += len(shown)
            if place == WIDTH:
                place, down = 0, down + self.tall + 4
        self.height = down + (self.tall if place else 0) + GAP


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Font) -> str:
    """As much of a text as stands below an image; what cannot be printed is left out."""
    whole = "".join(character for character in text if character.isprintable())
    text = whole
    while text and draw.textlength(text + "…" * (text != whole), font) > SIDE:
        text = text[:-1]
    return text + "…" * (text != whole)
