"""Write a report's main table as LaTeX for papers; requires the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.config.study import StudySettings
from benchmark.report import render
from benchmark.report.analysis import Analysis
from benchmark.report.collect import Collection
from benchmark.report.sections import SectionTable, sections
from benchmark.text.numbers import Headline, deployed_note

COLUMNS = (
    "Architecture",
    "Accuracy (\\%)",
    "95\\,\\% interval",
    "$p$ vs.\\ best",
    "Macro-F1",
    "MACs",
    "Parameters",
)
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def render_latex(study: StudySettings, collection: Collection, analyses: Sequence[Analysis]) -> str:
    """Return one table per comparison, captioned with data and protocol.

    Runs without results are listed in comments below the table.
    """
    return "\n\n".join(_table(study, collection, analyses, n) for n in range(len(analyses))) + "\n"


def _table(
    study: StudySettings, collection: Collection, analyses: Sequence[Analysis], number: int
) -> str:
    analysis = analyses[number]
    spec = analysis.comparison.specs[0]
    not_started = collection.not_started if number == 0 else []
    without = render.runs_without_figures(analysis.comparison, not_started)
    protocol = render.describe_protocol(
        render.sizes(analysis.comparison), spec.model, spec.train, spec.tuning
    )
    caption = f"{study.study}: {render.describe_data(spec.data_summary)}. {protocol}."
    pick = analysis.pick
    note = deployed_note([
        (row.name, row.cost.training_macs, row.cost.training_params)
        for row in analysis.rows
        if row.cost
    ])  # fmt: skip
    caption += f" {note}" if note else ""
    caption += f" {pick.sentence}" if pick else ""
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(COLUMNS) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(COLUMNS)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(cells)} \\\\" for cells in _rows(analysis)),
        r"    \bottomrule",
        r"  \end{tabular}",
        # Join lines, because a line break would end the comment.
        *(f"  % {' '.join(f'{run.name}: {run.text}'.split())}" for run in without),
        r"\end{table}",
    ]
    more = [
        line
        for _, section in sections(analysis)
        if section.for_papers
        for table in section.tables
        for line in _more(table, section.lead)
    ]
    return "\n".join([*lines, *more])


def _more(table: SectionTable, lead: str) -> list[str]:
    """Table of an optional section, after an empty line."""
    caption = " ".join([f"{table.title}.", lead, *table.notes])
    rows = [[escape(cell) for cell in line] for line in (table.columns, *table.rows)]
    head, *lines = (f"    {' & '.join(line)} \\\\" for line in rows)
    return [
        "",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        head,
        r"    \midrule",
        *lines,
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


def _rows(analysis: Analysis) -> list[list[str]]:
    lines = []
    for index, row in enumerate(analysis.rows):
        pair, headline = analysis.pairs.get((0, index)), Headline.of(row.cost)
        spread = row.accuracy_deviation
        accuracy = f"{100 * row.accuracy:.2f}"
        lines.append(
            [
                escape(row.name),
                accuracy if spread is None else rf"{accuracy} $\pm$ {100 * spread:.2f}",
                render.interval_text(analysis, index).replace(" to ", "--"),
                "--" if pair is None else _p(pair.p),
                f"{row.macro_f1:.4f}",
                headline.macs,
                headline.params,
            ]
        )
    return lines


def _p(p: float) -> str:
    return "$<0.001$" if p < 0.001 else f"{p:.3f}"


def escape(text: str) -> str:
    """Escape text for LaTeX, so that it contains neither commands nor comments."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
