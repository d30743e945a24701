"""Plot of the confusion matrix of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clothclf.results import Evaluation

CELL = 36
"""Side of a cell in pixels, before scaling."""
MAX_SIDE = 2000
"""Maximum side of the matrix in pixels; a plot of a thousand classes would else take gigabytes."""
MAX_NUMBERED = 30
"""Maximum number of classes for which cells show their share as text."""
MIN_SHOWN = 0.5
"""Minimum share, in percent, that is shown as text."""
SCALE = 2.0


def draw_confusion(evaluation: Evaluation, path: Path, title: str) -> None:
    """Draw the confusion matrix as a PNG; rows are true classes, cells are percent of the row."""
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(_specification(evaluation, title), scale=SCALE))


def _specification(evaluation: Evaluation, title: str) -> dict[str, Any]:
    """Vega-Lite specification of the plot."""
    labels = [result.label for result in evaluation.per_class]
    # Numbers identify classes, so that equal labels stay apart, and text is drawn as it is.
    cells = [
        {"actual": row, "predicted": column, "share": 100 * count / sum(counts)}
        for row, counts in enumerate(evaluation.confusion)
        for column, count in enumerate(counts)
        if count
    ]
    side = min(CELL * max(len(labels), 1), MAX_SIDE)
    share = {"field": "share", "type": "quantitative"}
    colors = {"domain": [0, 100], "scheme": "blues"}
    legend = {"title": "% of the true class"}
    layers: list[dict[str, Any]] = [
        {
            "mark": "rect",
            "encoding": {"color": {**share, "scale": colors, "legend": legend}},
        }
    ]
    if len(labels) <= MAX_NUMBERED:
        dark = {"test": "datum.share > 60", "value": "white"}
        layers.append(
            {
                "transform": [{"filter": f"datum.share >= {MIN_SHOWN}"}],
                "mark": "text",
                "encoding": {
                    "text": {**share, "format": ".0f"},
                    "color": {"condition": dark, "value": "black"},
                },
            }
        )
    accuracy = f"{100 * evaluation.accuracy:.1f} % of {evaluation.images} test images"
    return {
        "data": {"values": cells},
        "params": [{"name": "labels", "value": labels}],
        "width": side,
        "height": side,
        "title": f"{title}: {accuracy}",
        "encoding": {
            "x": _axis("predicted", "predicted class", len(labels), -45),
            "y": _axis("actual", "true class", len(labels), 0),
        },
        "layer": layers,
        "config": {"view": {"fill": "white"}, "background": "white"},
    }


def _axis(field: str, title: str, count: int, angle: int) -> dict[str, Any]:
    return {
        "field": field,
        "type": "ordinal",
        "title": title,
        "scale": {"domain": list(range(count))},
        "axis": {
            "labelExpr": "labels[datum.value]",
            "labelAngle": angle,
            "labelOverlap": count > MAX_NUMBERED,
        },
    }
