"""Contact sheet of an audit: images to show, with their captions."""

from __future__ import annotations

import pandas as pd
from PIL import Image

from benchmark.audit.data_audit import DataAudit
from benchmark.runs.audits import Suspect
from clothclf.data.audit.sheet import WIDTH, Section, Tile, draw_sheet
from clothclf.data.dataset import open_pixels


def draw_audit(result: DataAudit, limit: int) -> Image.Image:
    """Draw up to `limit` groups of near-duplicates, label conflicts and suspected label errors."""
    groups, conflicts = result.near_duplicates(), result.conflicts()
    suspects = result.audit.suspects
    indices = result.images.set_index("id")["pixel_row"].to_dict()
    lines = [
        [_suspect(item, int(indices[item.id])) for item in suspects[start : start + WIDTH]]
        for start in range(0, min(limit, len(suspects)), WIDTH)
    ]
    sections = (
        Section(_heading("Near-duplicates", len(groups), limit, "group"), _tiles(groups[:limit])),
        Section(
            _heading(
                "Exact and near-duplicates with several labels", len(conflicts), limit, "group"
            ),
            _tiles(conflicts[:limit]),
        ),
        Section(
            _heading("Suspected label errors", len(suspects), limit, "image"),
            [line[: limit - number * WIDTH] for number, line in enumerate(lines)],
        ),
    )
    filled = [section for section in sections if section.groups]
    return draw_sheet(open_pixels(result.data.pixels), filled or sections)


def _heading(title: str, count: int, limit: int, unit: str) -> str:
    shown = f", the first {limit:,}" if count > limit else ""
    return f"{title}: {count:,} {unit}{'' if count == 1 else 's'}{shown}"


def _tiles(groups: list[pd.DataFrame]) -> list[list[Tile]]:
    """Tiles with id, label and split; values that differ within a group are highlighted."""
    rows = []
    for group in groups:
        warned = 1 if group["label"].nunique() > 1 else 2 if group["split"].nunique() > 1 else -1
        rows.append(
            [
                Tile(int(row), (str(name), str(label), str(split)), warned)
                for row, name, label, split in zip(
                    *(group[column].tolist() for column in ("pixel_row", "id", "label", "split")),
                    strict=True,
                )
            ]
        )
    return rows


def _suspect(item: Suspect, row: int) -> Tile:
    lines = (
        item.id,
        f"{item.label} {item.p_label:.2f}",
        f"{item.suggested} {item.p_suggested:.2f} ?",
        item.split,
    )
    return Tile(row, lines, 2)
