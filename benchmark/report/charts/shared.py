"""What all charts share: the names of rows, and the step from a chart to Vega-Lite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.report.charts.style import Colours, config
from benchmark.report.table import Row

if TYPE_CHECKING:
    import altair as alt

Data = list[dict[str, Any]]


def names_of(rows: Sequence[Row]) -> list[str]:
    """A name for each row that no other has: with its weights, then its precision, if need be."""
    found = [row.name for row in rows]
    for more in ("weights", "precision"):
        counts = Counter(found)
        found = [
            f"{name}, {getattr(row, more)}" if counts[name] > 1 else name
            for name, row in zip(found, rows, strict=True)
        ]
    counts = Counter(found)
    return [
        f"{name} ({place})" if counts[name] > 1 else name for place, name in enumerate(found, 1)
    ]


def layered(layers: Sequence[alt.Chart], height: int) -> alt.LayerChart:
    """Layers as one chart, as wide as there is room and `height` pixels high."""
    import altair as alt

    chart: alt.LayerChart = alt.layer(*layers).properties(height=height, width="container")
    return chart


def vega_lite_version() -> str:
    """The Vega-Lite that Altair writes for, as vl-convert names it: `v6_4`."""
    import altair as alt

    return "_".join(alt.SCHEMA_VERSION.split(".")[:2])


def to_spec(chart: alt.TopLevelMixin, colours: Colours, describes: str) -> dict[str, Any]:
    """The chart as Vega-Lite, in the look of all charts; `describes` is read out to the blind."""
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = config(colours)
    spec["description"] = describes
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
