"""Write a report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.config.study import StudySettings
from benchmark.report import fairness, measured, render
from benchmark.report.analysis import Analysis
from benchmark.report.caveats import caveats
from benchmark.report.collect import Collection
from benchmark.report.rows import Row
from benchmark.report.sections import TITLES, Group, sections
from benchmark.text.numbers import inline, markdown_table


def render_md(study: StudySettings, collection: Collection, analyses: Sequence[Analysis]) -> str:
    """Render the whole report; `analyses` are of the collection's comparisons, in order."""
    parts = [f"# {study.study}"]
    for number, analysis in enumerate(analyses):
        if number:
            data = analysis.comparison.specs[0].data_summary
            parts.append(f"## Other data, fingerprint {data.fingerprint}")
        parts += _comparison(analysis, collection.not_started if number == 0 else [])
    if collection.elsewhere:
        parts.append(
            "Not in these tables because of different protocol or data settings: "
            f"{inline('; '.join(collection.elsewhere))}."
        )
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparison(analysis: Analysis, not_started: Sequence[str]) -> list[str]:
    spec = analysis.comparison.specs[0]
    protocol = render.describe_protocol(
        render.sizes(analysis.comparison), spec.model, spec.train, spec.tuning
    )
    parts = [
        f"**Data**: {inline(render.describe_data(spec.data_summary))}",
        f"**Protocol**: {protocol}",
    ]
    pick = analysis.pick
    if pick is not None:
        parts.append(f"**{inline(pick.sentence)}** {inline(pick.beside)}".rstrip())
        parts.append(inline(pick.reasons))
        parts.append(_front(analysis))
    parts.append(_bullets(caveats(analysis)))
    parts.append(
        markdown_table(render.table_cells(analysis, not_started), render.columns(analysis))
    )
    if analysis.rows:
        parts += _optional(analysis, "Result")
        parts += _sureness(analysis)
        parts += _optional(analysis, "Evidence")
        parts += _costs(analysis.rows)
        parts += _optional(analysis, "Costs")
        parts.append("### Fairness")
        cards = [card.cells() for card in fairness.fairness(analysis.comparison)]
        parts.append(markdown_table(cards, fairness.COLUMNS))
    return parts


def _optional(analysis: Analysis, group: Group) -> list[str]:
    parts = []
    for entry, section in sections(analysis, group):
        parts += [f"### {entry.title}", inline(section.lead)]
        for table in section.tables:
            if table.title != entry.title:
                parts.append(f"#### {inline(table.title)}")
            links = [_link(analysis, name) for name in table.links]
            parts += [markdown_table(table.rows, table.columns, links), _bullets(table.notes)]
    return parts


def _link(analysis: Analysis, name: str) -> str:
    """Fragment of a section's heading, as GitHub and GitLab derive it; empty without one."""
    if name not in analysis.sections and name != "pairs":
        return ""  # on the HTML page only
    return "#" + re.sub("[^a-z0-9 -]", "", TITLES[name].lower()).replace(" ", "-")


def _front(analysis: Analysis) -> str:
    pick = analysis.pick
    if pick is None or len(pick.front) < 2:
        return ""
    gain, cost = pick.criteria.front
    names = ", ".join(row.name for row in pick.front)
    return f"**Pareto front** of {gain} and {cost}: {inline(names)}"


def _sureness(analysis: Analysis) -> list[str]:
    parts = []
    if analysis.pairs:
        parts += ["### Pairwise comparisons", inline(render.confidence_set_text(analysis))]
        parts.append(render.pair_note(analysis))
        parts.append(markdown_table(render.pair_cells(analysis), render.PAIR_COLUMNS))
    cells = render.sureness_cells(analysis)
    if cells:
        parts.append("### Uncertainty and errors")
        parts.append(markdown_table(cells, render.sureness_columns(analysis)))
    return parts


def _costs(rows: Sequence[Row]) -> list[str]:
    parts = ["### Costs by counter"]
    parts.append(markdown_table([render.cost_cells(row) for row in rows], render.COST_COLUMNS))
    reasons = [(row.name, row.cost.reason) for row in rows if row.cost]
    parts.append(_bullets([f"{name}: {reason}" for name, reason in reasons if reason]))
    known = [(row.name, row.measured, row.macs) for row in rows if row.measured is not None]
    parts += measured.sections(known)
    missing = [f"{row.name}: {row.measured_error}" for row in rows if row.measured_error]
    return [*parts, *(["### Not measured", _bullets(missing)] if missing else [])]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {inline(line)}" for line in lines)
