"""Labelled contact sheet with training images of every class."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clothclf.data.dataset import DataSet

GAP = 4
LABEL_WIDTH = 130


def draw_contact_sheet(data: DataSet, columns: int) -> Image.Image:
    """Draw one row per class: its label, its number of images and its first `columns` images."""
    split = data.split("train")
    size = split.pixels.shape[1]
    font = ImageFont.load_default(size=13)
    step = size + GAP
    classes = data.summary.classes
    sheet = Image.new(
        "RGB", (LABEL_WIDTH + columns * step + GAP, len(classes) * step + GAP), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(classes):
        top = GAP + row * step
        count = data.summary.images_per_class[label]
        draw.text((GAP, top + size // 2 - 14), f"{label}\n{count:,} images", "black", font)
        positions = np.flatnonzero(split.targets == row)[:columns]
        for column, pixels in enumerate(split.images(positions)):
            sheet.paste(Image.fromarray(pixels), (LABEL_WIDTH + column * step, top))
    return sheet
