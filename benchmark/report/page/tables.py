"""Tables of the HTML report: cells with sort values and marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report import deployed, fairness, measured, render, suspects, tuning
from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import names_of
from benchmark.report.pairs import p_text
from benchmark.report.pick import verdict_text
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline

_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(?![\w.])")


@dataclass(frozen=True)
class Cell:
    """One table cell; its text is not escaped yet."""

    text: str
    value: float | str | None = None
    """Sort value; None is always sorted last."""
    note: str = ""
    """Small text below the cell."""
    marks: tuple[str, ...] = ()
    """Badges: `pick`, `best` or `maybe-best`."""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    cells: tuple[Cell, ...]
    kind: str = ""
    """`pick` is highlighted; `missing` has two cells, the second spanning all other columns."""
    key: str = ""
    """Indices of the compared rows, used to filter by architecture."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row."""

    title: str
    """Caption for screen readers."""
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    text_columns: frozenset[int] = frozenset({0})
    """Left-aligned columns."""


def plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table from text; numeric columns are sorted by the leading number of a cell."""
    texts = {place for place in range(len(columns)) if _is_text([row[place] for row in rows])}
    lines = tuple(
        Line(
            tuple(
                Cell("–", None) if text == "-" else Cell(text, _value(text, place in texts))
                for place, text in enumerate(row)
            )
        )
        for row in rows
    )
    return Table(title, tuple(columns), lines, frozenset(texts | {0}))


def _is_text(column: Sequence[str]) -> bool:
    """Whether most cells of a column are text; `one seed` may occur in a numeric column."""
    known = [text for text in column if text != "-"]
    return 2 * sum(bool(_NUMBER.match(text)) for text in known) <= len(known)


def _value(text: str, worded: bool) -> float | str | None:
    if worded:
        return text.casefold()
    match = _NUMBER.match(text)
    return float(match.group().replace(",", "")) if match else None


COLUMNS = (
    "architecture",
    "accuracy (%)",
    "vs. best",
    "macro-F1",
    "MACs",
    "FLOPs",
    "parameters",
    "latency",
    "training time",
    "seeds",
    "status",
)


MEANINGS = {
    "unfinished": "started, neither finished nor failed",
    "not started": "part of the study",
}


def main_table(analysis: Analysis, not_begun: Sequence[str]) -> Table:
    """Table of all runs of a comparison: finished ones first, then runs without results."""
    names = names_of(analysis.rows)
    lines = [_line(analysis, place, name) for place, name in enumerate(names)]
    lines += [
        Line((Cell(run.name), Cell(run.status, note=run.reason or MEANINGS[run.status])), "missing")
        for run in render.runs_without_figures(analysis.comparison, not_begun)
    ]
    columns: tuple[str, ...] = COLUMNS
    if any(row.sizes_differ for row in analysis.rows):
        columns = (COLUMNS[0], render.PX, *COLUMNS[1:])
    return Table("Architectures", columns, tuple(lines), frozenset({0, len(columns) - 1}))


def _line(analysis: Analysis, place: int, name: str) -> Line:
    row, figures, pick = analysis.rows[place], analysis.statistics[place], analysis.pick
    picked = pick is not None and pick.chosen is row
    marks = ("pick",) * picked + ("best",) * (place == 0)
    rank = analysis.ranks.get(place)
    marks += ("maybe-best",) * (place > 0 and rank is not None and rank.may_be_best)
    sure, f1 = (figures.accuracy, figures.macro_f1) if figures else (None, None)
    cost, headline = row.cost, Headline.of(row.cost)
    seeds = ", ".join(str(seed) for seed in row.seeds)
    spread = row.accuracy_deviation
    side = Cell(str(row.image_size), row.image_size)
    cells = (
        Cell(name, name.casefold(), f"{row.mode}, weights {row.weights}", marks),
        *((side,) if row.sizes_differ else ()),
        Cell(
            f"{100 * row.accuracy:.2f}",
            row.accuracy,
            f"{100 * sure.low:.2f} to {100 * sure.high:.2f}" if sure else "no interval",
        ),
        _against_best(analysis, place),
        Cell(f"{row.macro_f1:.4f}", row.macro_f1, f"{f1.low:.3f} to {f1.high:.3f}" if f1 else ""),
        _count(headline.macs, row.macs),
        _count(headline.flops, cost.flops if cost else None),
        _count(headline.params, cost.params if cost else None),
        _latency(row),
        _training_time(row),
        Cell(
            str(len(row.seeds)),
            len(row.seeds),
            f"± {100 * spread:.2f}" if spread is not None else f"seed {seeds}",
        ),
        Cell(row.status, row.status),
    )
    return Line(cells, "pick" if picked else "")


def _against_best(analysis: Analysis, place: int) -> Cell:
    behind = analysis.rows[place].accuracy - analysis.rows[0].accuracy
    if place == 0:
        return Cell("best", 0.0)
    pair = analysis.pairs.get((0, place))
    note = "not tested" if pair is None else pair.verdict
    return Cell(f"{100 * behind:+.2f}".replace("-", "−"), behind, note)


def _count(text: str, value: int | None) -> Cell:
    return Cell("–" if value is None else text, value)


def _latency(row: Row) -> Cell:
    measurement = row.measured
    if measurement is None:
        return Cell("–")
    if measurement.busy:
        return Cell(f"{measurement.latency_ms_median:.1f} ms", None, "machine busy")
    return Cell(f"{measurement.latency_ms_median:.1f} ms", measurement.latency_ms_median)


def _training_time(row: Row) -> Cell:
    note = f"{row.epochs:.3g} epochs"
    if row.features_reused:
        note += ", features reused" if row.train_time_known else ", feature pass excluded"
    return Cell(f"{row.train_s:,.0f} s", row.train_s if row.train_time_known else None, note)


def pair_table(analysis: Analysis) -> Table:
    """Table of all tested pairs; p-values are adjusted for their number."""
    names = names_of(analysis.rows)
    lines = []
    for pair in analysis.pairs.values():
        first, second = names[pair.first], names[pair.second]
        cells = (
            Cell(first, first.casefold()),
            Cell(second, second.casefold()),
            Cell(
                f"{100 * pair.difference:.2f}",
                pair.difference,
                f"{100 * pair.interval.low:.2f} to {100 * pair.interval.high:.2f}",
            ),
            Cell(f"{pair.only_first:.4g}", pair.only_first),
            Cell(f"{pair.only_second:.4g}", pair.only_second),
            Cell(p_text(pair.mcnemar_adjusted), pair.mcnemar_adjusted),
            Cell(p_text(pair.bootstrap_adjusted), pair.bootstrap_adjusted),
            Cell(verdict_text(pair), pair.verdict),
            Cell(render.needed_text(analysis, pair)),
        )
        lines.append(Line(cells, key=f"{pair.first} {pair.second}"))
    columns = (
        "more accurate",
        "less accurate",
        "difference (points)",
        "correct: first only",
        "correct: second only",
        "McNemar",
        "bootstrap",
        "verdict",
        "to decide",
    )
    return Table("Pairs of architectures", columns, tuple(lines), frozenset({0, 1, 7, 8}))


def sureness_table(analysis: Analysis) -> Table:
    """Uncertainty, calibration and confusions of every row with saved predictions."""
    cells = render.sureness_cells(analysis)
    return plain("Uncertainty and errors", render.sureness_columns(analysis), cells)


def without_suspects(analysis: Analysis) -> tuple[str, Table] | None:
    """Sentence and table of the accuracy without suspected label errors; None without an audit."""
    without = analysis.without
    if without is None:
        return None
    rows = suspects.cells(without, names_of(analysis.rows))
    return without.sentence, plain("Without suspected label errors", suspects.COLUMNS, rows)


def tuning_table(analysis: Analysis) -> tuple[str, Table] | None:
    """Sentence and table of the tuned settings; None without tuning."""
    rows = tuning.cells(analysis.rows)
    if not rows:
        return None
    return tuning.sentence(analysis.rows), plain("Tuning", tuning.COLUMNS, rows)


def cost_table(analysis: Analysis) -> Table:
    """Costs by counter, and whether the counters agree."""
    rows = [render.cost_cells(row) for row in analysis.rows]
    return plain("Costs by counter", render.COST_COLUMNS, rows)


def measured_tables(analysis: Analysis) -> list[tuple[str, Table, list[str]]]:
    """Conditions, table and notes on busy machines, for each set of conditions."""
    known = [(row.name, row.measured, row.macs) for row in analysis.rows if row.measured]
    return [
        (
            conditions,
            plain(
                f"Measured on {conditions}",
                measured.COLUMNS,
                [measured.cells(*member) for member in members],
            ),
            measured.busy_notes(members),
        )
        for conditions, members in measured.by_conditions(known).items()
    ]


def deployed_tables(analysis: Analysis) -> list[tuple[str, Table, list[str]]]:
    """Heading, table and verdicts of the deployed variants, for each device."""
    return [
        (
            heading,
            plain(heading, deployed.TABLE_COLUMNS, cells),
            deployed.device_sentences(analysis.deployed, device),
        )
        for device, heading, cells in deployed.device_tables(analysis.deployed)
    ]


def fairness_table(analysis: Analysis) -> tuple[str, Table]:
    """Summary and table of each run's inputs as hashes, and their differences."""
    cards = fairness.fairness(analysis.comparison) if analysis.rows else []
    differing = sum(bool(card.differs) for card in cards)
    count = len(cards)
    summary = f"{differing} of {count} runs differ" if differing else f"{count} runs, no difference"
    return summary, plain("Fairness", fairness.COLUMNS, [card.cells() for card in cards])
