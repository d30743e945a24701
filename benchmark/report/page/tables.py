"""Tables of the HTML report: cells with sort values and marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmark.report import fairness, measured, render
from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import names_of
from benchmark.report.columns import COLUMNS
from benchmark.report.page.figures import interval, percent, points, typeset
from benchmark.report.pairs import p_text
from benchmark.report.pick import verdict_text
from benchmark.report.pick_rule import Rule
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline
from clothclf.cost.counters.registry import COUNTERS
from clothclf.training.metrics import METRICS

_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(?![\w.])")


@dataclass(frozen=True)
class Cell:
    """One table cell; its text is not escaped yet."""

    text: str
    value: float | str | None = None
    """Sort value; None is always sorted last."""
    note: str = ""
    """Small text beside or below the text."""
    marks: tuple[str, ...] = ()
    """Badges: `pick`, `best`, `maybe-best` or `excluded`."""
    dot: tuple[float, float, float] | None = None
    """Low end, value and high end of an interval, in percent of the column's range."""
    link: str = ""
    """What the text links to: `#` and a place on the page, or a file of the site."""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    cells: tuple[Cell, ...]
    kind: str = ""
    """`pick` is highlighted, `excluded` by a limit is muted.

    `missing` has two cells, the second spanning all other columns.
    """
    key: str = ""
    """Index of the row, or indices of the compared rows."""
    tags: str = ""
    """`front` and `set`: on the Pareto front, in the confidence set of the most accurate."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row."""

    title: str
    """Caption for screen readers."""
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    text_columns: frozenset[int] = frozenset({0})
    """Left-aligned columns."""
    facts: tuple[str, ...] = ()
    """What holds for all rows, and therefore has no column."""

    def ascends(self, column: int) -> bool:
        """Whether the first click sorts a column ascending: text, and costs, cheapest first."""
        return column in self.text_columns or bool(_CHEAPEST_FIRST.search(self.columns[column]))


def plain(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    links: Sequence[str] = (),
) -> Table:
    """Make a table from text; numeric columns are sorted by the leading number of a cell.

    The last cell of each row links to a place on the page, if there are `links`.
    """
    texts = {index for index in range(len(columns)) if _is_text([row[index] for row in rows])}
    lines = [
        Line(
            tuple(
                Cell("–", None)
                if text == "-"
                else Cell(typeset(text), _value(text, index in texts))
                for index, text in enumerate(row)
            )
        )
        for row in rows
    ]
    for index, link in enumerate(links):
        *cells, last = lines[index].cells
        lines[index] = Line((*cells, replace(last, link=link)))
    return Table(title, tuple(columns), tuple(lines), frozenset(texts | {0}))


def _is_text(column: Sequence[str]) -> bool:
    """Whether most cells of a column are text; `one seed` may occur in a numeric column."""
    known = [text for text in column if text != "-"]
    return 2 * sum(bool(_NUMBER.match(text)) for text in known) <= len(known)


def _value(text: str, worded: bool) -> float | str | None:
    if worded:
        return text.casefold()
    match = _NUMBER.match(text)
    return float(match.group().replace(",", "")) if match else None


_LOSSES = [metric.title for metric in METRICS.values() if not metric.higher_is_better]
_CHEAPEST_FIRST = re.compile(
    rf"^(({'|'.join(map(re.escape, (*COUNTERS, *_LOSSES)))})(?!\w)|MACs|parameters|latency|"
    r"inference memory|training memory|training time|time$|standard|calibration|rank|McNemar|"
    r"bootstrap|px)"
)
"""Columns in which less is better, or read first: every counter, and metrics that are losses."""

MEANINGS = {
    "unfinished": "started, neither finished nor failed",
    "not started": "part of the study",
}


def main_table(analysis: Analysis, not_started: Sequence[str], digits: int) -> Table:
    """Table of all runs of a comparison: finished ones first, then runs without results.

    What all rows share is a fact above the table instead of a column. `digits` are the decimals
    of accuracies in percent.
    """
    rows, names = analysis.rows, names_of(analysis.rows)
    shared = _Shared(rows)
    titles = [
        "architecture",
        *(["px"] if shared.sizes_differ else []),
        "accuracy (%)",
        *(title for title, _ in _cost_columns(analysis)),
        "vs. best",
        "macro-F1",
        "training time",
        *(["seeds"] if shared.seeds_differ else []),
        *(["weights"] if shared.weights_differ else []),
    ]
    scale = _accuracy_scale(analysis)
    excluded = _excluded(analysis)
    lines = [
        _line(analysis, index, name, shared, scale, digits, index in excluded)
        for index, name in enumerate(names)
    ]
    lines += [
        Line((Cell(run.name), Cell(run.status, note=run.reason or MEANINGS[run.status])), "missing")
        for run in render.runs_without_figures(analysis.comparison, not_started)
    ]
    texts = frozenset({0} | ({len(titles) - 1} if shared.weights_differ else set()))
    return Table("Architectures", tuple(titles), tuple(lines), texts, shared.facts)


class _Shared:
    """What all rows of a table have in common."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.sizes_differ = any(row.sizes_differ for row in rows)
        self.seeds_differ = len({row.seeds for row in rows}) > 1
        # A file or repository named after its architecture is the same kind of weights.
        weights = {row.weights.replace(row.architecture, "ARCHITECTURE") for row in rows}
        self.weights_differ = len(weights) > 1
        self.epochs_differ = len({row.epochs for row in rows}) > 1
        self.all_reused = all(row.features_reused and row.train_time_known for row in rows)
        facts = []
        if rows:
            first = rows[0]
            facts.append("test split")
            if not self.seeds_differ:
                count = len(first.seeds)
                seeds = ", ".join(map(str, first.seeds))
                facts.append(f"mean of {count} seeds ({seeds})" if count > 1 else f"seed {seeds}")
            facts.append(first.mode)
            if not self.weights_differ:
                facts.append(f"weights {weights.pop()}")
            if not self.sizes_differ:
                facts.append(f"{first.image_size} x {first.image_size} px")
            if not self.epochs_differ:
                facts.append(f"{first.epochs:g} epoch{'s' * (first.epochs != 1)}")
            if self.all_reused:
                facts.append("features reused")
        self.facts = tuple(facts)


def _cost_columns(analysis: Analysis) -> list[tuple[str, Callable[[Row], Cell]]]:
    """Cost columns with their cells: the cost that decides first, then latency."""
    columns: dict[str, tuple[str, Callable[[Row], Cell]]] = {
        "macs": ("MACs", lambda row: _count(Headline.of(row.cost).macs, row.macs)),
        "latency": ("latency", _latency),
        "params": (
            "parameters",
            lambda row: _count(Headline.of(row.cost).params, row.cost.params if row.cost else None),
        ),
    }
    ranked = analysis.pick.criteria.ranked_cost if analysis.pick else "macs"
    if ranked not in columns:
        columns[ranked] = (COLUMNS[ranked].title, lambda row: _figure(COLUMNS[ranked].of(row)))
    return [columns[key] for key in dict.fromkeys((ranked, "latency", *columns))]


def _accuracy_scale(analysis: Analysis) -> tuple[float, float]:
    """Range of all accuracies and their intervals, 0 to 1."""
    ends = [row.accuracy for row in analysis.rows]
    for figures in analysis.statistics:
        if figures is not None:
            ends += [figures.accuracy.low, figures.accuracy.high]
    return min(ends, default=0.0), max(ends, default=1.0)


def _line(
    analysis: Analysis,
    index: int,
    name: str,
    shared: _Shared,
    scale: tuple[float, float],
    digits: int,
    excluded: bool,
) -> Line:
    row, pick = analysis.rows[index], analysis.pick
    picked = pick is not None and pick.chosen is row
    rank = analysis.ranks.get(index)
    in_set = rank is not None and rank.may_be_best
    marks = ("pick",) * picked + ("best",) * (index == 0) + ("maybe-best",) * (index > 0 and in_set)
    marks += ("excluded",) * excluded
    cells = [Cell(name, name.casefold(), marks=marks)]
    if shared.sizes_differ:
        cells.append(Cell(str(row.image_size), row.image_size))
    cells += [
        _accuracy(analysis, row, scale, digits),
        *(cell(row) for _, cell in _cost_columns(analysis)),
        _against_best(analysis, index, digits),
        Cell(f"{row.macro_f1:.{digits + 2}f}", row.macro_f1),
        _training_time(row, shared),
    ]
    if shared.seeds_differ:
        cells.append(Cell(str(len(row.seeds)), len(row.seeds)))
    if shared.weights_differ:
        cells.append(Cell(row.weights, row.weights.casefold()))
    on_front = pick is not None and row in pick.front
    tags = " ".join(["front"] * on_front + ["set"] * in_set)
    kind = "pick" if picked else "excluded" if excluded else ""
    return Line(tuple(cells), kind, str(index), tags)


def _excluded(analysis: Analysis) -> set[int]:
    """Indices of rows that exceed a limit of the pick."""
    if analysis.pick is None or not analysis.pick.criteria.limits():
        return set()
    rule = Rule(analysis.rows, analysis.pick.criteria)
    return {index for index, row in enumerate(analysis.rows) if rule.excess(row)}


def _accuracy(analysis: Analysis, row: Row, scale: tuple[float, float], digits: int) -> Cell:
    figures = analysis.statistics[analysis.rows.index(row)]
    low, high = scale
    sure = figures.accuracy if figures else None
    ends = (sure.low, row.accuracy, sure.high) if sure else (row.accuracy,) * 3
    width = max(high - low, 1e-9)
    first, middle, last = (round(100 * (end - low) / width, 1) for end in ends)
    note = interval(analysis, row, digits)
    return Cell(percent(row.accuracy, digits), row.accuracy, note, dot=(first, middle, last))


def _against_best(analysis: Analysis, index: int, digits: int) -> Cell:
    behind = analysis.rows[index].accuracy - analysis.rows[0].accuracy
    if index == 0:
        return Cell("best", 0.0)
    pair = analysis.pairs.get((0, index))
    note = "not tested" if pair is None else pair.verdict
    return Cell(points(behind, digits), behind, note)


def _count(text: str, value: int | None) -> Cell:
    return Cell("–" if value is None else text, value)


def _figure(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,.4g}", value)


def _latency(row: Row) -> Cell:
    measurement = row.measured
    if measurement is None:
        return Cell("–")
    if measurement.busy:
        return Cell(f"{measurement.latency_ms_median:.1f} ms", None, "machine busy")
    return Cell(f"{measurement.latency_ms_median:.1f} ms", measurement.latency_ms_median)


def _training_time(row: Row, shared: _Shared) -> Cell:
    notes = [f"{row.epochs:.3g} epochs"] if shared.epochs_differ else []
    if row.features_reused and not shared.all_reused:
        notes.append("features reused" if row.train_time_known else "features reused, not timed")
    value = row.train_s if row.train_time_known else None
    return Cell(f"{row.train_s:,.0f} s", value, ", ".join(notes))


def pair_table(analysis: Analysis, digits: int) -> Table:
    """Table of all tested pairs; p-values are adjusted for their number."""
    names = names_of(analysis.rows)
    lines = []
    for pair in analysis.pairs.values():
        first, second = names[pair.first], names[pair.second]
        cells = (
            Cell(first, first.casefold()),
            Cell(second, second.casefold()),
            Cell(
                percent(pair.difference, digits),
                pair.difference,
                typeset(
                    f"{percent(pair.interval.low, digits)} to {percent(pair.interval.high, digits)}"
                ),
            ),
            Cell(f"{pair.only_first:.0f}", pair.only_first),
            Cell(f"{pair.only_second:.0f}", pair.only_second),
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


def sureness_table(analysis: Analysis, digits: int) -> Table:
    """Uncertainty, calibration and confusions of every row with saved predictions."""
    cells = render.sureness_cells(analysis, digits)
    return plain("Uncertainty and errors", render.sureness_columns(analysis), cells)


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


def fairness_table(analysis: Analysis) -> tuple[str, Table]:
    """Summary and table of each run's inputs as hashes, and their differences."""
    cards = fairness.fairness(analysis.comparison) if analysis.rows else []
    differing = sum(bool(card.differs) for card in cards)
    count = len(cards)
    summary = f"{differing} of {count} runs differ" if differing else f"{count} runs, no difference"
    return summary, plain("Fairness", fairness.COLUMNS, [card.cells() for card in cards])
