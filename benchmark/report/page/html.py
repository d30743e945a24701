"""Write a report as one self-contained HTML page with charts, images and scripts."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.config.study import StudySettings
from benchmark.report import render
from benchmark.report.analysis import Analysis
from benchmark.report.caveats import caveats
from benchmark.report.charts.curves import FIGURES
from benchmark.report.charts.pareto import cost_columns
from benchmark.report.charts.shared import vega_lite_version
from benchmark.report.charts.style import DARK, LIGHT
from benchmark.report.collect import Collection
from benchmark.report.page import misclassified as page_images
from benchmark.report.page import tables as html_tables
from benchmark.report.page.charts import page_data
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline

PAGE = Path(__file__).parent

# The page has no network access and runs only its own two scripts, so that even unescaped text
# could do no harm. Vega's tooltips insert inline style sheets.
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render_html(
    study: StudySettings,
    collection: Collection,
    analyses: Sequence[Analysis],
    images: bool = True,
) -> str:
    """Render the whole report; `analyses` are of the collection's comparisons, in order.

    The page works offline. `images` embeds thumbnails of test images on which architectures fail
    or differ; these are the user's data.
    """
    scripts = [_as_script(_vega()), _as_script((PAGE / "report.js").read_text("utf-8"))]
    data = [page_data(analysis) for analysis in analyses]
    values = {
        "study": study.study,
        "policy": POLICY.format(scripts=" ".join(f"'{_digest(text)}'" for text in scripts)),
        "style": (PAGE / "report.css").read_text("utf-8"),
        "light": LIGHT.variables(),
        "dark": DARK.variables(),
        "scripts": scripts,
        "data": _as_json({"light": LIGHT.variables(), "comparisons": data}),
        "comparisons": [
            _comparison(analysis, collection.not_begun if number == 0 else [], number, images)
            for number, analysis in enumerate(analyses)
        ],
        "elsewhere": collection.elsewhere,
    }
    return _template(values)


def _template(values: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(values)


@functools.cache
def _vega() -> str:
    """Bundle Vega, Vega-Lite and Vega-Embed in the version of the charts as one script."""
    import vl_convert

    snippet = "window.vegaEmbed = vegaEmbed;"
    return vl_convert.javascript_bundle(snippet, vl_version=vega_lite_version())


def _as_script(text: str) -> str:
    """Escape text that would end the script element; it only occurs inside strings."""
    return re.sub("<(?=/?script)", r"\\x3c", text.replace("\r\n", "\n"), flags=re.IGNORECASE)


def _as_json(value: object) -> str:
    """JSON without `<`, which could end the enclosing element."""
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    # Short lines make reports diffable; inside a string the quote would be escaped.
    return text.replace('},{"', '},\n{"')


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _comparison(
    analysis: Analysis, not_begun: Sequence[str], number: int, images: bool
) -> dict[str, Any]:
    spec, rows = analysis.comparison.specs[0], analysis.rows
    records = analysis.comparison.records
    return {
        "number": number,
        "pick": analysis.pick,
        "tiles": _tiles(analysis),
        "costs_drawn": [(column.key, column.title) for column in cost_columns(analysis)],
        "figures_drawn": [(key, title) for key, (title, _) in FIGURES.items()],
        "caveats": caveats(analysis),
        "main": html_tables.main_table(analysis, not_begun),
        "sureness": html_tables.sureness_table(analysis),
        "pairs": html_tables.pair_table(analysis),
        "without": html_tables.without_suspects(analysis),
        "tuning": html_tables.tuning_table(analysis),
        "costs": html_tables.cost_table(analysis),
        "reasons": [(row.name, row.cost.reason) for row in rows if row.cost and row.cost.reason],
        "measured": html_tables.measured_tables(analysis),
        "not_measured": [(row.name, row.measured_error) for row in rows if row.measured_error],
        "deployed": html_tables.deployed_tables(analysis),
        "fairness": html_tables.fairness_table(analysis),
        "images": page_images.image_groups(analysis) if images else None,
        "summary": spec.data_summary,
        "data_text": render.describe_data(spec.data_summary),
        "protocol_text": render.describe_protocol(
            render.sizes(analysis.comparison), spec.model, spec.train, spec.tuning
        ),
        "protocol_id": spec.protocol_id,
        "environments": _environments(analysis),
        "last": max((record.finished_at for record in records), default=""),
        "runs": len(records),
        "architectures": len(rows),
        "pair_note": render.pair_note(analysis) if analysis.pairs else "",
        "confidence_set": render.confidence_set_text(analysis),
        "sizes_differ": any(row.sizes_differ for row in rows),
    }


def _tiles(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Tiles of the pick: title, value, and comparison with the most accurate architecture."""
    pick = analysis.pick
    if pick is None or pick.chosen is None:
        return []
    row, best = pick.chosen, pick.reference
    figures = analysis.statistics[analysis.rows.index(row)]
    sure = figures.accuracy if figures else None
    interval = f"{100 * sure.low:.2f} to {100 * sure.high:.2f}" if sure else "no interval"
    tiles = [("test accuracy", f"{100 * row.accuracy:.2f} %", interval)]
    if row.cost:
        theirs = best.cost.params if best.cost else None
        comparison = _beside(row, best, row.macs, best.macs)
        headline = Headline.of(row.cost)
        tiles.append(("MACs", headline.macs, comparison or "one image, forward"))
        comparison = _beside(row, best, row.cost.params, theirs)
        tiles.append(("parameters", headline.params, comparison))
    if row.measured and not row.measured.busy:
        shown = f"{row.measured.latency_ms_median:.1f} ms"
        tiles.append(("latency", shown, f"one image, {row.measured.device}"))
    return tiles


def _beside(row: Row, best: Row, ours: int | None, theirs: int | None) -> str:
    if row is best or not ours or not theirs:
        return ""
    times = theirs / ours
    return f"1/{times:.3g} of {best.name}" if times >= 1 else f"{1 / times:.3g} x {best.name}"


def _environments(analysis: Analysis) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Environment shared by all runs, and differing values with their runs."""
    values_by_name: dict[str, dict[str, list[str]]] = {}
    for record in analysis.comparison.records:
        facts = record.environment.model_dump(mode="json")
        versions = facts.pop("versions")
        facts["libraries"] = ", ".join(f"{name} {text}" for name, text in versions.items())
        for name, value in facts.items():
            runs = values_by_name.setdefault(name.replace("_", " "), {}).setdefault(
                str(value) or "-", []
            )
            runs.append(record.spec.name)
    common = {
        name: next(iter(values)) for name, values in values_by_name.items() if len(values) == 1
    }
    differing = [
        (f"{name} {value}", ", ".join(sorted(runs)))
        for name, values in values_by_name.items()
        if len(values) > 1
        for value, runs in sorted(values.items())
    ]
    return common, differing
