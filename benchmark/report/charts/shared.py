"""Shared helpers of all charts: row names and conversion to Vega-Lite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.report.charts.style import Colours, config
from benchmark.report.rows import Row

if TYPE_CHECKING:
    import altair as alt

Data = list[dict[str, Any]]


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


def layered(layers: Sequence[alt.Chart], height: int) -> alt.LayerChart:
    """Combine layers into one chart of full container width and `height` pixels."""
    import altair as alt

    chart: alt.LayerChart = alt.layer(*layers).properties(height=height, width="container")
    return chart


def vega_lite_version() -> str:
    """Vega-Lite version of Altair in vl-convert's notation, such as `v6_4`."""
    import altair as alt

    return "_".join(alt.SCHEMA_VERSION.split(".")[:2])


def to_spec(chart: alt.TopLevelMixin, colours: Colours, describes: str) -> dict[str, Any]:
    """Convert a chart to Vega-Lite with the shared style; `describes` is for screen readers."""
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = config(colours)
    spec["description"] = describes
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
