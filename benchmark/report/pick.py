"""The pick: the most accurate architecture, the best trade-off, and why, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.table import Row

POINTS_PER_TENFOLD = 2.0
"""Points of accuracy that each tenfold of MACs must buy to be worth its cost."""


@dataclass(frozen=True)
class Pick:
    """What the report recommends."""

    most_accurate: Row
    trade_off: Row
    front: list[Row]
    """The Pareto front, cheapest first: no other row is both more accurate and cheaper."""
    sentence: str


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other row beats in accuracy at the same or fewer MACs, cheapest first."""
    front: list[Row] = []
    counted = [row for row in rows if row.macs is not None]
    for row in sorted(counted, key=lambda item: (item.macs or 0, -item.accuracy)):
        if not front or row.accuracy > front[-1].accuracy:
            front.append(row)
    return front


def choose(rows: Sequence[Row]) -> Pick | None:
    """Choose among finished rows; None where there are none.

    The trade-off is the row of the front with the most accuracy left after paying
    POINTS_PER_TENFOLD points for each tenfold of MACs.
    """
    if not rows:
        return None
    best = max(rows, key=lambda row: row.accuracy)
    front = pareto_front(rows)
    if not front:
        return Pick(best, best, [], f"{_name(best)} is the most accurate; no costs were counted.")
    trade_off = max(front, key=_worth)
    return Pick(best, trade_off, front, _sentence(best, trade_off, len(rows)))


def _worth(row: Row) -> float:
    return 100 * row.accuracy - POINTS_PER_TENFOLD * math.log10(max(row.macs or 1, 1))


def _sentence(best: Row, trade_off: Row, rows: int) -> str:
    if rows == 1:
        return f"{_name(best)} is the only finished architecture: nothing to choose from yet."
    if trade_off is best:
        return (
            f"{_name(best)} is the most accurate ({_percent(best)}) and the best trade-off: each "
            f"cheaper one loses over {POINTS_PER_TENFOLD:g} points for a tenfold of MACs saved."
        )
    points = 100 * (best.accuracy - trade_off.accuracy)
    text = (
        f"{_name(best)} is the most accurate ({_percent(best)}); {_name(trade_off)} is the best "
        f"trade-off, {points:.2f} points behind"
    )
    if best.macs and trade_off.macs:
        text += f" at {_share(trade_off.macs, best.macs)} the MACs"
    if best.cost and trade_off.cost:
        text += f" and {_share(trade_off.cost.params, best.cost.params)} the parameters"
    return f"{text} (a tenfold of MACs is to buy at least {POINTS_PER_TENFOLD:g} points)."


def _share(part: int, whole: int) -> str:
    return f"1/{whole / part:.3g} of" if part <= whole else f"{part / whole:.3g} times"


def _name(row: Row) -> str:
    return row.architecture


def _percent(row: Row) -> str:
    return f"{100 * row.accuracy:.2f} %"
