"""Tables of `bench cost --all-timm` whose figures are drawn instead of counted."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clothclf.cost.catalogue import COLUMNS, CatalogueRow

ALL_OF_TIMM = 1371
FAMILIES = ("resnet", "vision_transformer", "efficientnet", "convnext", "swin_transformer", "vgg")
FIELDS = (
    "427 px",
    "unknown",
    "global (attention in blocks.0.attn (Attention); 16 px without)",
    "global (squeeze-excitation in blocks.0.0.se (SqueezeExcite); 851 px without)",
)
REASON = "flopth -97.3%: tokens in Linear -83.0%, fused attention -14.3%"


def cost_row(name: str, **cells: Any) -> CatalogueRow:
    """Row of a network that all counters agree on, but for `cells`."""
    macs = str(cells.get("macs", 4_089_184_256))
    usual = {
        "image_size": "224",
        "params": "25557032",
        "macs": macs,
        "flops": str(2 * int(macs)) if macs else "",
        **dict.fromkeys(("macs_flopth", "macs_fvcore", "macs_torch"), macs),
        "verdict": "agreed",
        "activations": "11114024",
        "receptive_field": "427 px",
        "family": "resnet",
        "tags": "a1_in1k tv_in1k",
    }
    return CatalogueRow.from_cells(
        {"architecture": name, **usual, **{key: str(value) for key, value in cells.items()}}
    )


def draw_rows(count: int = ALL_OF_TIMM) -> list[CatalogueRow]:
    """Rows with as long texts as those of timm; every tenth is of a resnet."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)] if number % 10 else "resnet"
        macs = round(10 ** draw.uniform(7, 12))
        rows.append(
            cost_row(
                f"{family}{number}_base_patch{number % 32}_224",
                macs=macs,
                macs_flopth=round(macs * draw.uniform(0.03, 1.03)),
                params=round(10 ** draw.uniform(5.5, 9)),
                image_size=draw.choice(("224", "256", "384", "1024x768")),
                verdict="explained" if number % 3 else "agreed",
                reason=REASON if number % 3 else "",
                receptive_field=FIELDS[number % len(FIELDS)],
                family=family,
                tags=" ".join(f"tag{tag}_ft_in22k_in1k" for tag in range(number % 5)),
            )
        )
    return rows


def write_costs(file: Path, rows: Iterable[CatalogueRow]) -> Path:
    """Write a table as `bench cost --all-timm` does."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)
    return file
