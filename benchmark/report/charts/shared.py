"""Shared helpers of all charts: row names, and parts of Vega-Lite specifications."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmark.report.charts.style import Colours, config
from benchmark.report.rows import Row

Data = list[dict[str, Any]]
Spec = dict[str, Any]
"""A chart in Vega-Lite, or a part of one, as JSON values."""


def names_of(rows: Sequence[Row]) -> list[str]:
    """Unique names of rows, extended by weights and precision where needed."""
    names = [row.name for row in rows]
    for more in ("weights", "precision"):
        counts = Counter(names)
        names = [
            f"{name}, {getattr(row, more)}" if counts[name] > 1 else name
            for name, row in zip(names, rows, strict=True)
        ]
    counts = Counter(names)
    return [
        f"{name} ({index})" if counts[name] > 1 else name for index, name in enumerate(names, 1)
    ]


def field(shorthand: str, **options: Any) -> Spec:
    """Encode a field by its name and type: `cost:Q` is quantitative, `name:N` nominal."""
    name, _, kind = shorthand.partition(":")
    return {"field": name, "type": {"Q": "quantitative", "N": "nominal"}[kind], **options}


def layer(mark: str, encoding: Spec, where: str = "", **style: Any) -> Spec:
    """Draw one kind of mark, for the data that meet the expression `where`, by default all."""
    transform = {"transform": [{"filter": where}]} if where else {}
    return {"mark": {"type": mark, **style}, "encoding": encoding, **transform}


def layered(layers: Sequence[Spec], height: int, data: Data, name: str = "") -> Spec:
    """Combine layers into one chart of full container width and `height` pixels.

    `data` is that of all layers, and `name` that of the data set, for scripts that replace it.
    """
    return {
        "layer": list(layers),
        "data": {"values": data, **({"name": name} if name else {})},
        "height": height,
        "width": "container",
    }


@functools.cache
def vega_lite_version() -> str:
    """Newest Vega-Lite version of vl-convert, such as `6.4`."""
    import vl_convert

    versions: list[str] = vl_convert.get_vegalite_versions()
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def to_spec(chart: Spec, colours: Colours, describes: str) -> Spec:
    """Add the shared style to a chart; `describes` is for screen readers."""
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{vega_lite_version()}.json",
        **chart,
        "config": config(colours),
        "description": describes,
        "autosize": {"type": "fit-x", "contains": "padding"},
    }
