"""Write a report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.config.study import StudySettings
from benchmark.report import deployed, fairness, measured, render, slice_text, suspects, tuning
from benchmark.report.analysis import Analysis
from benchmark.report.caveats import caveats
from benchmark.report.collect import Collection
from benchmark.report.rows import Row
from benchmark.text.numbers import inline, markdown_table


def render_md(study: StudySettings, collection: Collection, analyses: Sequence[Analysis]) -> str:
    """Render the whole report; `analyses` are of the collection's comparisons, in order."""
    parts = [f"# {study.study}"]
    for number, analysis in enumerate(analyses):
        if number:
            data = analysis.comparison.specs[0].data_summary
            parts.append(f"## Other data, fingerprint {data.fingerprint}")
        parts += _comparison(analysis, collection.not_begun if number == 0 else [])
    if collection.elsewhere:
        parts.append(
            "Not in these tables because of different protocol or data settings: "
            f"{inline('; '.join(collection.elsewhere))}."
        )
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparison(analysis: Analysis, not_begun: Sequence[str]) -> list[str]:
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
    parts.append(markdown_table(render.table_cells(analysis, not_begun), render.columns(analysis)))
    if analysis.rows:
        parts += _tuning(analysis.rows)
        parts += _sureness(analysis)
        parts += _costs(analysis.rows)
        parts += _deployed(analysis)
        parts.append("### Fairness")
        cards = [card.cells() for card in fairness.fairness(analysis.comparison)]
        parts.append(markdown_table(cards, fairness.COLUMNS))
    return parts


def _tuning(rows: Sequence[Row]) -> list[str]:
    cells = tuning.cells(rows)
    if not cells:
        return []
    table = markdown_table(cells, tuning.COLUMNS)
    return ["### Tuning", inline(tuning.sentence(rows)), table]


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
    parts += _slices(analysis)
    if analysis.without is not None:
        parts += ["### Without suspected label errors", inline(analysis.without.sentence)]
        cells = suspects.cells(analysis.without, [row.name for row in analysis.rows])
        parts.append(markdown_table(cells, suspects.COLUMNS))
    return parts


def _slices(analysis: Analysis) -> list[str]:
    slices = analysis.slices
    if slices is None:
        return []
    parts = ["### Results by slice", inline(slice_text.weak_sentence(slices))]
    if slices.weakest:
        cells = slice_text.weak_cells(analysis, slices)
        parts.append(markdown_table(cells, slice_text.WEAK_COLUMNS))
    for column in slices.columns:
        cells = slice_text.accuracy_cells(analysis, slices, column)
        parts.append(f"#### By {inline(column)}: accuracy (95 % CI)")
        parts.append(markdown_table(cells, slice_text.accuracy_columns(analysis, slices)))
        if title := slice_text.side_title(analysis, slices):
            cells = slice_text.side_cells(analysis, slices, column)
            parts += [f"{inline(title)}:", markdown_table(cells, slice_text.SIDE_COLUMNS)]
        parts.append(inline(slice_text.pair_sentence(analysis, slices, column)))
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


def _deployed(analysis: Analysis) -> list[str]:
    parts = []
    for heading, cells, verdicts in deployed.device_tables(analysis.deployed):
        parts += [f"### {inline(heading)}", markdown_table(cells, deployed.TABLE_COLUMNS)]
        parts.append(_bullets(verdicts))
    return parts


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {inline(line)}" for line in lines)
