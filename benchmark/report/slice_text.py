"""Text and table cells of slices, the same for all formats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.report.pairs import p_text
from benchmark.report.sections import Section, SectionTable
from benchmark.report.slices import LEVEL, MAX_ROWS, Slice, Slices

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

WEAK_COLUMNS = ("slice", "images", "architecture", "accuracy", "95 % CI", "elsewhere", "p")
SIDE_COLUMNS = ("slice", "images", "difference (points)", "95 % CI", "verdict")
MAX_SHOWN = 6
"""Maximum architectures with a column in the table of a column's slices: pick, runner-up, front
runners by accuracy."""


def section(analysis: Analysis) -> Section | None:
    """Weak slices, and accuracies by column; None unless asked for with `--by`."""
    slices = analysis.slices
    if slices is None:
        return None
    tables = list(_tables(analysis, slices))
    return Section(weak_sentence(slices), tables, for_papers=True, values=_values(analysis, slices))


def _tables(analysis: Analysis, slices: Slices) -> Iterator[SectionTable]:
    if slices.weakest:
        yield SectionTable("Weak slices", WEAK_COLUMNS, weak_cells(analysis, slices))
    title = side_title(analysis, slices)
    for column in slices.columns:
        note = pair_sentence(analysis, slices, column)
        yield SectionTable(
            f"Accuracy (%) by {column}, with 95 % CI",
            accuracy_columns(analysis, slices),
            accuracy_cells(analysis, slices, column),
            () if title or not note else (note,),
        )
        if title:
            cells = side_cells(analysis, slices, column)
            notes = (note,) if note else ()
            yield SectionTable(f"{title}, by {column}", SIDE_COLUMNS, cells, notes)


def _values(analysis: Analysis, slices: Slices) -> dict[str, object]:
    """Slices with figures and pairs by name of the row."""
    names = [row.name for row in analysis.rows]
    values = [
        {
            "column": item.column,
            "value": item.value,
            "images": item.images,
            "weak_for": [names[index] for index in item.weak],
            "rows": {names[p]: dataclasses.asdict(one) for p, one in item.figures.items()},
            "pairs": [
                dataclasses.asdict(pair)
                | {"first": names[pair.first], "second": names[pair.second]}
                for pair in item.pairs
            ],
        }
        for item in slices.all
    ]
    weakest = [[item.column, item.value] for item in slices.weakest]
    return {"all": values, "weakest": weakest}


def weak_sentence(slices: Slices) -> str:
    """State how many slices are weak, and how they were found."""
    tested = f"{len(slices.all)} slices by {', '.join(slices.columns)}"
    if not slices.weakest:
        return (
            f"No weak slice found: of {tested}, none is significantly less accurate than the other "
            f"images (permutation test adjusted for all of them, level {100 * LEVEL:g} %)."
        )
    count = len(slices.weakest)
    return (
        f"{count} of {tested} {'is' if count == 1 else 'are'} significantly less accurate than the "
        "other images (permutation test adjusted for all of them); those that cost the most "
        "correct predictions first. Their classes may be harder, so a cause needs a closer look."
    )


def weak_cells(analysis: Analysis, slices: Slices) -> list[list[str]]:
    """Weak slices, each with the architecture of the largest gap."""
    cells = []
    for item in slices.weakest:
        index, figures = next(iter(item.weak.items()))
        others = len(item.weak) - 1
        name = analysis.rows[index].name + (f", and {others} more" if others else "")
        cells.append(
            [
                f"{item.column} {item.value}",
                f"{item.images:,}",
                name,
                _percent(figures.accuracy),
                f"{100 * figures.interval.low:.1f} to {100 * figures.interval.high:.1f}",
                _percent(figures.rest),
                p_text(figures.p),
            ]
        )
    return cells


def shown_rows(analysis: Analysis, slices: Slices) -> list[int]:
    """Rows with a column: the pick and the runner-up first, then by accuracy."""
    known = list(slices.all[0].figures)
    pick = analysis.pick
    chosen = (pick.chosen, pick.runner_up) if pick else ()
    first = [index for row in chosen for index in known if analysis.rows[index] is row]
    return list(dict.fromkeys([*first, *known]))[:MAX_SHOWN]


def accuracy_columns(analysis: Analysis, slices: Slices) -> list[str]:
    """Head of the table of a column's slices."""
    names = [analysis.rows[index].name for index in shown_rows(analysis, slices)]
    return ["slice", "images", *names]


def accuracy_cells(analysis: Analysis, slices: Slices, column: str) -> list[list[str]]:
    """Accuracy of the shown rows on each slice, with intervals; `(weak)` marks weak slices."""
    return [
        [item.value, f"{item.images:,}"]
        + [_accuracy(item, index) for index in shown_rows(analysis, slices)]
        for item in slices.of(column)
    ]


def side_title(analysis: Analysis, slices: Slices) -> str:
    """Title of the table that compares two architectures; empty with a single one."""
    rows = shown_rows(analysis, slices)
    if len(rows) < 2:
        return ""
    return f"{analysis.rows[rows[0]].name} less {analysis.rows[rows[1]].name}"


def side_cells(analysis: Analysis, slices: Slices, column: str) -> list[list[str]]:
    """Difference of the first two shown rows on each slice."""
    one, other, *_ = shown_rows(analysis, slices)
    cells = []
    for item in slices.of(column):
        pair = item.pair(one, other)
        if pair is None:
            continue
        interval = pair.interval if pair.first == one else pair.interval.negated()
        difference = pair.difference if pair.first == one else -pair.difference
        text = f"{_points(interval.low)} to {_points(interval.high)}"
        images = f"{item.images:,}"
        cells.append([item.value, images, _points(difference, "+"), text, pair.verdict])
    return cells


def pair_sentence(analysis: Analysis, slices: Slices, column: str) -> str:
    """Name the other pairs that are apart on a slice."""
    shown = set(shown_rows(analysis, slices)[:2])
    apart = [
        f"{analysis.rows[first].name} above {analysis.rows[second].name} on {item.value} "
        f"by {100 * abs(pair.difference):.1f}"
        for item in slices.of(column)
        for pair in item.pairs
        if pair.verdict == "apart" and {pair.first, pair.second} != shown
        for first, second in [
            (pair.first, pair.second) if pair.difference > 0 else (pair.second, pair.first)
        ]
    ]
    count = len(slices.all[0].figures)
    if count < 3:
        return ""
    if not apart:
        return f"No other pair of the {count} architectures is apart on a slice."
    more = f"; and {len(apart) - MAX_ROWS} more" if len(apart) > MAX_ROWS else ""
    return f"Other pairs that are apart (points): {'; '.join(apart[:MAX_ROWS])}{more}."


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded accuracy of a row on each slice, by column of a CSV."""
    slices = analysis.slices
    return {
        f"test_accuracy[{item.column}={item.value}]": item.figures[index].accuracy
        for item in (slices.all if slices else ())
        if index in item.figures
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float, sign: str = "") -> str:
    """Format a difference in points, without a sign for zero."""
    text = f"{100 * share:{sign}.1f}"
    return text if float(text) else "0.0"


def _accuracy(item: Slice, index: int) -> str:
    figures = item.figures[index]
    low, high = 100 * figures.interval.low, 100 * figures.interval.high
    mark = ", weak" if index in item.weak else ""
    return f"{100 * figures.accuracy:.1f} ({low:.1f} to {high:.1f}){mark}"
