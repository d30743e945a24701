"""Write a report as one self-contained HTML page with charts, images and scripts."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
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
from benchmark.report.page import card
from benchmark.report.page import mistakes as page_images
from benchmark.report.page import tables as html_tables
from benchmark.report.page.ask import LIMITS, cost_keys
from benchmark.report.page.charts import first_shown, page_data
from benchmark.report.page.figures import breakable, decimals, typeset
from benchmark.report.pick import WORDS
from benchmark.report.sections import (
    SECTIONS,
    TITLES,
    Section,
    SectionEntry,
    sections,
)
from benchmark.runs.user_cache import cached_bytes

PAGE = Path(__file__).parent
SCRIPTS = ("rule.js", "charts.js", "tables.js", "gallery.js", "ask.js", "report.js")
"""Scripts of the page, in the order in which they build on each other."""
COMMAND = "bench report"

# The page has no network access and runs only its own scripts, so that even unescaped text
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
    command: str = COMMAND,
) -> str:
    """Render the whole report; `analyses` are of the collection's comparisons, in order.

    The page works offline. `images` embeds thumbnails of test images on which architectures fail
    or differ; these are the user's data. `command` writes this report, without its criteria; the
    page adds the options that were chosen on it.
    """
    own = "".join((PAGE / name).read_text("utf-8") for name in SCRIPTS)
    scripts = [_as_script(_vega()), _as_script(own)]
    comparisons = [
        _comparison(analysis, collection.not_begun if number == 0 else [], number, images)
        for number, analysis in enumerate(analyses)
    ]
    data = [
        page_data(analysis)
        | {"card": it["scatter"].data if it["scatter"] else None}
        | {"behind": it["images"].behind if it["images"] else [], "tiles": it["all_tiles"]}
        for analysis, it in zip(analyses, comparisons, strict=True)
    ]
    values = {
        "study": study.study,
        "policy": POLICY.format(scripts=" ".join(f"'{_digest(text)}'" for text in scripts)),
        "style": (PAGE / "report.css").read_text("utf-8"),
        "light": LIGHT.variables(),
        "dark": DARK.variables(),
        "scripts": scripts,
        "data": _as_json({"light": LIGHT.variables(), "command": command, "comparisons": data}),
        "comparisons": comparisons,
        "elsewhere": collection.elsewhere,
        "titles": TITLES,
        "costs_weighed": [
            (key, WORDS[key][0] if key in WORDS else key)
            for key in cost_keys()
            if key != "price" or any(row.price for it in analyses for row in it.rows)
        ],
        "limits": _limit_fields(),
        "box": {"left": card.LEFT, "right": card.WIDTH - card.RIGHT, "top": card.TOP,
                "bottom": card.HEIGHT - card.BOTTOM, "width": card.WIDTH, "height": card.HEIGHT},
    }  # fmt: skip
    return _template(values)


def _limit_fields() -> list[tuple[str, str, str]]:
    """Field of the criteria, label and column of each limit on a cost."""
    units = {"macs": "maximum MACs (G)", "params": "maximum parameters (M)"}
    units["latency"] = "maximum latency (ms)"
    return [(field, units[key], key) for field, key in LIMITS.items()]


def _template(values: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["breakable"] = breakable
    return environment.get_template("report.html").render(values)


@functools.cache
def _vega() -> str:
    """Bundle Vega, Vega-Lite and Vega-Embed in the version of the charts as one script."""
    version = vega_lite_version()

    def bundle() -> bytes:
        import vl_convert

        snippet = "window.vegaEmbed = vegaEmbed;"
        return vl_convert.javascript_bundle(snippet, vl_version=version).encode("utf-8")

    made_by = importlib.metadata.version("vl-convert-python")
    return cached_bytes(f"vega-{version}-{made_by}.js", bundle).decode("utf-8")


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
    optional = list(sections(analysis))
    records = analysis.comparison.records
    digits = decimals(analysis)
    tiles = [card.tiles(analysis, row, digits) for row in rows]
    chosen = analysis.pick.chosen if analysis.pick else None
    values = {
        "number": number,
        "pick": analysis.pick,
        "tiles": tiles[rows.index(chosen)] if chosen else [],
        "all_tiles": tiles,
        "scatter": card.scatter(analysis),
        "costs_drawn": [(column.key, column.title) for column in cost_columns(analysis)],
        "figures_drawn": [(key, title) for key, (title, _) in FIGURES.items()],
        "caveats": caveats(analysis),
        "main": html_tables.main_table(analysis, not_begun, digits),
        "ranked": bool(analysis.ranks),
        "sureness": html_tables.sureness_table(analysis, digits),
        "pairs": html_tables.pair_table(analysis, digits),
        "optional": {
            group: _optional(optional, group, number) for group in ("Answer", "Evidence", "Costs")
        },
        "costs": html_tables.cost_table(analysis),
        "reasons": [(row.name, row.cost.reason) for row in rows if row.cost and row.cost.reason],
        "measured": html_tables.measured_tables(analysis),
        "not_measured": [(row.name, row.measured_error) for row in rows if row.measured_error],
        "fairness": html_tables.fairness_table(analysis),
        "images": page_images.image_groups(analysis, first_shown(analysis)) if images else None,
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
    return values | {"contents": _contents(values)}


def _optional(
    found: Sequence[tuple[SectionEntry, Section]], group: str, number: int
) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of the optional sections of one group; `number` is of the comparison."""
    return [
        (
            entry.name,
            {
                "lead": item.lead,
                "charts": item.charts,
                "tables": [
                    (
                        html_tables.plain(
                            table.title,
                            table.columns,
                            table.rows,
                            [f"{name}-{number}" for name in table.links],
                        ),
                        table.notes,
                    )
                    for table in item.tables
                ],
            },
        )
        for entry, item in found
        if entry.group == group
    ]


def _contents(values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Sections that a comparison has, by group."""
    present = {
        "pick": True,
        "table": True,
        "cost": values["pick"],
        "mistakes": values["sureness"].lines,
        "classes": values["sureness"].lines,
        "pairs": values["pairs"].lines,
        "seeds": values["pick"],
        "curves": values["pick"],
        "counters": values["costs"].lines,
        "measured": values["measured"] or values["not_measured"],
        "data": True,
        "fairness": values["costs"].lines,
        "environment": values["costs"].lines,
        **{name: True for found in values["optional"].values() for name, _ in found},
    }
    return {
        group: {name: title for name, title in titles.items() if present.get(name)}
        for group, titles in SECTIONS.items()
    }


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
