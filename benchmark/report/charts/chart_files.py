"""Write the charts of a report as PNG and SVG files."""

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
from benchmark.report.sections import sections
from clothclf.data.atomic import output_file

WIDTH = 720
"""Plot width in SVG pixels; a PNG is SCALE times as large."""
SCALE = 2.0
KEY_COLUMNS = 2
"""Columns of the legend of learning curves; the longest names fit side by side."""
MAX_MATRICES = 12
"""Maximum number of confusion matrices, most accurate architectures first."""

Named = tuple[str, dict[str, Any]]


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every chart to `folder` as PNG and SVG, and return the files.

    Creates the folder. Charts without data are skipped: no latency without measurements, no
    confusion matrix without saved predictions.
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
    """File name and Vega-Lite specification of each chart, with title and white background."""
    if not analysis.rows:
        return
    sure = any(figures is not None for figures in analysis.statistics)
    bars = "bars are 95 % confidence intervals from test-set sampling; " if sure else ""
    sizes = "; grey lines connect image sizes" if analysis.rows[0].sizes_differ else ""
    for column in chart_pareto.cost_columns(analysis):
        title = f"Accuracy vs. {column.title}"
        subtitle = f"{bars}no architecture dominates one on the Pareto front{sizes}"
        yield _named(
            f"accuracy-{column.key}", chart_pareto.pareto(analysis, column, LIGHT), title, subtitle
        )
    subtitle = "circles are seeds, ticks are means" + ("; " + bars.rstrip("; ") if sure else "")
    spread = chart_seeds.seed_spread(analysis, LIGHT)
    yield _named("seed-spread", spread, "Variation between seeds", subtitle)
    for figure, (title, _) in chart_curves.FIGURES.items():
        chart = chart_curves.curves(analysis, figure, LIGHT, KEY_COLUMNS)
        subtitle = "one line per run; the point marks the best epoch"
        yield _named(f"curves-{figure}", chart, f"Learning curves: {title}", subtitle)
    for _, section in sections(analysis):
        for extra in section.charts:
            drawn = extra.draw(analysis, LIGHT, KEY_COLUMNS)
            yield _named(extra.name, drawn, extra.title, extra.caption)
    names = charts.names_of(analysis.rows)
    for index, figures in enumerate(analysis.statistics[:MAX_MATRICES]):
        if figures is not None:
            chart = chart_confusion.confusion(analysis, index, LIGHT)
            subtitle = "percent of the true class; errors in the second colour"
            yield _named(
                f"confusion-{_slug(names[index])}",
                chart,
                f"Confusion matrix: {names[index]}",
                subtitle,
            )


def _named(name: str, chart: Any, title: str, subtitle: str) -> Named:
    spec = charts.to_spec(chart, LIGHT, f"{title}: {subtitle}")
    spec["width"] = WIDTH
    spec["background"] = LIGHT.paper
    spec["padding"] = 16
    spec["title"] = {"text": title, "subtitle": subtitle[:1].upper() + subtitle[1:]}
    return name, spec


def _slug(name: str) -> str:
    """Make a name safe for use in a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:120]
