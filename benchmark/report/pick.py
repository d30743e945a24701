"""Pick an architecture: the most accurate one, the best trade-off, and the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.report.columns import COLUMNS, Column, measured_alike, pareto_front
from benchmark.report.pairs import ALPHA, Pair
from benchmark.report.rows import Row

Prefer = Literal["balance", "accuracy", "speed", "size"]
PRICES: dict[Prefer, tuple[str, float]] = {
    "balance": ("macs", 2.0),
    "accuracy": ("macs", 0.0),
    "speed": ("latency", 5.0),
    "size": ("params", 5.0),
}
"""Cost column, and the points of accuracy that each 10x increase of it must gain."""
MAX_NAMED = 3
"""Maximum number of architectures that a sentence names."""
WORDS = {"macs": "MACs", "latency": "latency", "params": "parameters"}


@dataclass(frozen=True)
class Criteria:
    """Limits and preference of the user."""

    max_gmacs: float | None = None
    """Maximum MACs of one image, in 10^9."""
    max_params: float | None = None
    """Maximum parameters, in 10^6."""
    max_latency_ms: float | None = None
    """Maximum measured latency of one image (median)."""
    min_accuracy: float | None = None
    """Minimum test accuracy, 0 to 1."""
    prefer: Prefer = "balance"
    front: tuple[str, str] = ("accuracy", "macs")
    """Keys of the two columns of the Pareto front."""

    def limits(self) -> list[tuple[Column, float, str]]:
        """Column, limit in its unit, and text, for each limit that is set."""
        share = None if self.min_accuracy is None else 100 * self.min_accuracy
        limits = (
            ("macs", self.max_gmacs, "at most {:g} GMACs"),
            ("params", self.max_params, "at most {:g} M parameters"),
            ("latency", self.max_latency_ms, "at most {:g} ms"),
            ("accuracy", share, "at least {:g} % accuracy"),
        )
        return [
            (COLUMNS[key], limit, words.format(limit))
            for key, limit, words in limits
            if limit is not None
        ]


NO_CRITERIA = Criteria()


@dataclass(frozen=True)
class Pick:
    """Recommendation of a report."""

    most_accurate: Row
    trade_off: Row | None
    """The pick; None if no architecture meets the criteria."""
    front: list[Row]
    """Pareto front of the two columns in the criteria, best by the second column first."""
    criteria: Criteria
    fitting: list[Row]
    """Rows that meet the criteria; all rows without criteria."""
    sentence: str
    sensitivity: str
    """Changes that would lead to a different pick; may be empty."""


def choose_pick(
    rows: Sequence[Row],
    criteria: Criteria = NO_CRITERIA,
    pairs: Mapping[tuple[int, int], Pair] | None = None,
) -> Pick | None:
    """Pick among finished rows; None if there are none.

    The pick maximizes accuracy minus the price in PRICES for each factor of 10 in cost, among the
    rows that meet the criteria. With `prefer: accuracy` it is the cheapest of the rows tied with
    the most accurate one. `pairs` holds the tested pairs by their indices in `rows`.
    """
    if not rows:
        return None
    return _Choice(rows, criteria, pairs or {}).pick()


class _Choice:
    def __init__(
        self, rows: Sequence[Row], criteria: Criteria, pairs: Mapping[tuple[int, int], Pair]
    ) -> None:
        self.rows = list(rows)
        self.places = {row: place for place, row in enumerate(rows)}
        self.criteria = criteria
        self.pairs = pairs
        self.best = max(rows, key=lambda row: row.accuracy)
        key, self.price = PRICES[criteria.prefer]
        self.cost = COLUMNS[key]
        self.cost_words = WORDS[key]
        self.alike = measured_alike(rows)
        self.fitting = [row for row in rows if not self._excess(row)]

    def pick(self) -> Pick:
        gain, cost = (COLUMNS[key] for key in self.criteria.front)
        front = pareto_front(self.rows, gain, cost)
        chosen = self._chosen()
        if chosen is None:
            sentence, sensitivity = self._none_fits(), ""
        else:
            sentence, sensitivity = self._sentence(chosen), self._sensitivity(chosen)
        return Pick(self.best, chosen, front, self.criteria, self.fitting, sentence, sensitivity)

    def _value(self, column: Column, row: Row) -> float | None:
        """Value of a column; None for latency if rows were measured under different conditions."""
        return None if column.key == "latency" and not self.alike else column.of(row)

    def _excess(self, row: Row) -> float:
        """Largest relative excess over a limit; 0 if the row meets all limits."""
        worst = 0.0
        for column, limit, _ in self.criteria.limits():
            value = self._value(column, row)
            if value is None:
                return math.inf
            beyond = column.loss(value) - column.loss(limit)
            worst = max(worst, beyond / abs(limit) if limit else beyond)
        return worst

    def _chosen(self) -> Row | None:
        if not self.fitting:
            return None
        if self.criteria.prefer == "accuracy":
            best = max(self.fitting, key=lambda row: row.accuracy)
            tied = [row for row in self.fitting if row is best or self._tied(row, best)]
            return min(tied, key=lambda row: self._value(self.cost, row) or math.inf)
        known = [row for row in self.fitting if self._value(self.cost, row) is not None]
        if not known:
            return max(self.fitting, key=lambda row: row.accuracy)
        return max(known, key=self._worth)

    def _worth(self, row: Row) -> float:
        return 100 * row.accuracy - self.price * self._log10_cost(row)

    def _log10_cost(self, row: Row) -> float:
        return math.log10(max(self._value(self.cost, row) or 1e-9, 1e-9))

    def _pair(self, one: Row, other: Row) -> Pair | None:
        first, second = sorted((self.places[one], self.places[other]))
        return self.pairs.get((first, second))

    def _tied(self, one: Row, other: Row) -> bool:
        pair = self._pair(one, other)
        return pair is not None and pair.tied

    def _limits_text(self) -> str:
        words = [text for _, _, text in self.criteria.limits()]
        return f" with {' and '.join(words)}" if words else ""

    def _none_fits(self) -> str:
        closest = min(self.rows, key=self._excess)
        limits = " and ".join(text for _, _, text in self.criteria.limits())
        text = f"No architecture meets the criteria ({limits})"
        if math.isinf(self._excess(closest)):
            return (
                f"{text}: a required value was not measured, was measured on a busy machine, or "
                "is not comparable between architectures."
            )
        missed = []
        for column, limit, _ in self.criteria.limits():
            value = self._value(column, closest)
            if value is not None and column.loss(value) > column.loss(limit):
                missed.append(f"{value:.4g} in {column.title}")
        return f"{text}; the closest is {closest.name} with {', '.join(missed)}."

    def _sentence(self, chosen: Row) -> str:
        best = self.best
        if len(self.rows) == 1:
            return f"{best.name} is the only finished architecture; there is nothing to compare."
        rule = self._rule()
        if chosen is best:
            text = f"{best.name} is the most accurate ({_percent(best)}) and the pick{rule}"
            tied = [row.name for row in self.rows if row is not best and self._tied(row, best)]
            return f"{text}; tied with {', '.join(tied)}." if tied else f"{text}."
        points = 100 * (best.accuracy - chosen.accuracy)
        pair = self._pair(best, chosen)
        if pair is not None and pair.tied:
            text = (
                f"{chosen.name} is tied with {best.name} ({why_text(pair)}), {points:.2f} points "
                f"below its accuracy of {_percent(best)},"
            )
        else:
            p_value = f" ({p_text(pair.p)})" if pair else ""
            text = (
                f"{best.name} is the most accurate ({_percent(best)}); {chosen.name} is "
                f"{points:.2f} points less accurate{p_value}"
            )
        shares = []
        if best.macs and chosen.macs:
            shares.append(f"{_share(chosen.macs, best.macs)} the MACs")
        if best.cost and chosen.cost:
            shares.append(f"{_share(chosen.cost.params, best.cost.params)} the parameters")
        cheap = f" with {' and '.join(shares)}" if shares else ""
        return f"{text}{cheap}: {chosen.name} is the pick{rule}."

    def _rule(self) -> str:
        criteria_met = self._limits_text()
        if self.criteria.prefer == "accuracy":
            return f"{criteria_met}, preferring accuracy, then fewer MACs"
        if all(self._value(self.cost, row) is None for row in self.fitting):
            return f"{criteria_met}, by accuracy alone: {self.cost_words} cannot be compared"
        lacking = [row.name for row in self.fitting if self._value(self.cost, row) is None]
        which = ", ".join(lacking) if len(lacking) <= MAX_NAMED else f"{len(lacking)} architectures"
        without = f", excluding {which} with unknown {self.cost_words}" if lacking else ""
        return (
            f"{criteria_met}{without} (each 10x increase in {self.cost_words} must gain at least "
            f"{self.price:g} points of accuracy)"
        )

    def _sensitivity(self, chosen: Row) -> str:
        parts = []
        others = [
            row
            for row in self.fitting
            if row is not chosen and self._value(self.cost, row) is not None
        ]
        if self.criteria.prefer != "accuracy" and others:
            parts += self._prices(chosen, others)
            closest = min(others, key=lambda row: self._worth(chosen) - self._worth(row))
            gap = self._worth(chosen) - self._worth(closest)
            parts.append(f"to {closest.name} if it were {gap:.2f} points more accurate")
        if len(self.fitting) < len(self.rows):
            free = _Choice(self.rows, Criteria(prefer=self.criteria.prefer), self.pairs)._chosen()
            if free is not None and free is not chosen:
                parts.append(f"to {free.name} without these limits")
        return f"The pick would change {'; '.join(parts)}." if parts else ""

    def _prices(self, chosen: Row, others: Sequence[Row]) -> list[str]:
        """Picks at a higher and at a lower price of each 10x increase, with the thresholds."""
        more: list[tuple[float, Row]] = []
        less: list[tuple[float, Row]] = []
        for row in others:
            decades = self._log10_cost(chosen) - self._log10_cost(row)
            points = 100 * (chosen.accuracy - row.accuracy)
            if decades > 0 and points > 0:
                more.append((points / decades, row))
            elif decades < 0 and points < 0:
                less.append((points / decades, row))
        parts = []
        if more:
            price, row = min(more, key=lambda item: item[0])
            parts.append(
                f"to {row.name} if each 10x increase had to gain more than {price:.2f} points"
            )
        if less:
            price, row = max(less, key=lambda item: item[0])
            parts.append(
                f"to {row.name} if each 10x increase had to gain less than {price:.2f} points"
            )
        return parts


def p_text(p: float) -> str:
    """Format a p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.01 else f"p = {p:.2f}"


def why_text(pair: Pair) -> str:
    """Reason for a tie or a difference: the p-value, or the noise of the seeds."""
    if pair.p >= ALPHA or not pair.tied:
        return p_text(pair.p)
    return f"seeds ± {100 * (pair.seed_noise or 0):.2f}"


def _share(part: float, whole: float) -> str:
    return f"1/{whole / part:.3g} of" if part <= whole else f"{part / whole:.3g} times"


def _percent(row: Row) -> str:
    return f"{100 * row.accuracy:.2f} %"
