"""The charts of a report as PNG and SVG files, for papers and READMEs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.report.analysis import Analysis
from benchmark.report.charts import confusion as chart_confusion
from benchmark.report.charts import curves as chart_curves
from benchmark.report.charts import pareto as chart_pareto
from benchmark.report.charts import seeds as chart_seeds
from benchmark.report.charts import shared as charts
from benchmark.report.charts.style import LIGHT
from clothclf.data.atomic import output_file

WIDTH = 720
"""Of the plot itself, in pixels of the SVG; a PNG has SCALE as many."""
SCALE = 2.0
KEY_COLUMNS = 2
"""Of the learning curves: names of the greatest width fit side by side."""
MOST_MATRICES = 12
"""Confusion matrices that are drawn, of the most accurate architectures."""

Named = tuple[str, dict[str, Any]]


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every chart into `folder`, which is made, as PNG and SVG; returns the files.

    A chart that there are no figures for is left out: no latency without measurements, no
    confusion matrix without saved answers.
    """
    import vl_convert

    version = charts.vega_lite_version()
    written = []
    for name, spec in plots(analysis):
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        drawn = vl_convert.vegalite_to_svg(spec, vl_version=version)
        for path, content in (
            (svg, drawn.encode("utf-8")),
            (png, vl_convert.svg_to_png(drawn, scale=SCALE)),
        ):
            with output_file(path) as unfinished:
                unfinished.write_bytes(content)
        written += [svg, png]
    return written


def plots(analysis: Analysis) -> Iterator[Named]:
    """Each chart's name for a file and its Vega-Lite, with a title, on white paper."""
    if not analysis.rows:
        return
    sure = any(figures is not None for figures in analysis.statistics)
    bars = "bars are 95 % intervals of the test set; " if sure else ""
    sizes = "; grey lines join sizes" if analysis.rows[0].sizes_differ else ""
    for column in chart_pareto.cost_columns(analysis):
        title = f"Accuracy against {column.title}"
        told = f"{bars}no architecture beats one on the front in both{sizes}"
        yield _named(
            f"accuracy-{column.key}", chart_pareto.pareto(analysis, column, LIGHT), title, told
        )
    told = "circles are seeds, a tick is their mean" + ("; " + bars.rstrip("; ") if sure else "")
    yield _named("seed-spread", chart_seeds.seed_spread(analysis, LIGHT), "Spread over seeds", told)
    for figure, (title, _) in chart_curves.FIGURES.items():
        chart = chart_curves.curves(analysis, figure, LIGHT, KEY_COLUMNS)
        told = "a line for each run; a point marks the epoch that was kept"
        yield _named(f"curves-{figure}", chart, f"Learning: {title}", told)
    names = charts.names_of(analysis.rows)
    for place, figures in enumerate(analysis.statistics[:MOST_MATRICES]):
        if figures is not None:
            chart = chart_confusion.confusion(analysis, place, LIGHT)
            told = "per cent of the true class; mistakes in the other colour"
            yield _named(
                f"confusion-{_slug(names[place])}", chart, f"Confusion: {names[place]}", told
            )


def _named(name: str, chart: Any, title: str, told: str) -> Named:
    spec = charts.to_spec(chart, LIGHT, f"{title}: {told}")
    spec["width"] = WIDTH
    spec["background"] = LIGHT.paper
    spec["padding"] = 16
    spec["title"] = {"text": title, "subtitle": told[:1].upper() + told[1:]}
    return name, spec


def _slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:120]
