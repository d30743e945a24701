"""Contact sheet of an audit: groups of near-duplicates, then suspected label errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from clothclf.data.checked import Images

SIDE = 112
"""Side of an image on the sheet, in pixels."""
GAP = 12
LINE = 15
"""Line height of text, in pixels."""
HEADING = 34
WIDTH = 10
"""Maximum number of images per row."""
INK, FAINT, WARNING, FRAME = "#1a1a1a", "#6b6b6b", "#b3261e", "#c9c9c9"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Tile:
    """One image with its caption lines."""

    row: int
    """Row in the array of images."""
    lines: tuple[str, ...]
    warned: int = -1
    """Index of the highlighted line; none if negative."""


@dataclass(frozen=True)
class Section:
    """Images under one heading, with a frame around each group."""

    heading: str
    groups: Sequence[Sequence[Tile]]


def draw_sheet(pixels: Images, sections: Sequence[Section]) -> Image.Image:
    """Draw the sections one below the other, from images uint8 [images, size, size, 3]."""
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
            corner = (left + GAP // 2, top + down + GAP // 2)
            sheet.paste(image, corner)
            for number, text in enumerate(tile.lines):
                at = (corner[0], corner[1] + SIDE + 2 + number * LINE)
                ink = WARNING if number == tile.warned else INK if number == 0 else FAINT
                draw.text(at, _fitted(draw, text, small), ink, small)
        top += layout.height
    return sheet


class _Layout:
    """Positions of a section's tiles and frames, relative to its top left corner."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.tiles: list[tuple[Tile, int, int]] = []
        self.frames: list[tuple[int, int, int]] = []
        lines = max((len(tile.lines) for group in section.groups for tile in group), default=0)
        self.tall = SIDE + GAP + lines * LINE + 4
        column, down = 0, HEADING
        for group in section.groups:
            # A group that does not fit the rest of the row starts a new row.
            if column and column + len(group) > WIDTH:
                column, down = 0, down + self.tall + 4
            shown = group[:WIDTH]
            left = GAP // 2 + column * (SIDE + GAP)
            self.frames.append((left, down, len(shown)))
            for number, tile in enumerate(shown):
                self.tiles.append((tile, left + number * (SIDE + GAP), down))
            column += len(shown)
            if column == WIDTH:
                column, down = 0, down + self.tall + 4
        self.height = down + (self.tall if column else 0) + GAP


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Font) -> str:
    """Truncate text to the width of an image; remove unprintable characters."""
    whole = "".join(character for character in text if character.isprintable())
    text = whole
    while text and draw.textlength(text + "…" * (text != whole), font) > SIDE:
        text = text[:-1]
    return text + "…" * (text != whole)
