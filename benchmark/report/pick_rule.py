"""Rule of the pick: limits, preference, and the choice they make among measured rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.report.columns import COLUMNS, MEASURED, share_conditions
from benchmark.report.pairs import MARGIN
from benchmark.report.rows import Row

Prefer = Literal["balance", "accuracy", "speed", "size"]
Cost = Literal["macs", "latency", "params", "memory", "price"]
ChooseOn = Literal["validation", "test"]
COST_OF: dict[Prefer, Cost] = {"accuracy": "macs", "speed": "latency", "size": "params"}
"""Cost that a preference minimizes; `accuracy` uses it only between equally accurate ones."""

Floats = npt.NDArray[np.float64]


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
    """Minimum accuracy on the split of `choose_on`, 0 to 1."""
    prefer: Prefer = "balance"
    cost: Cost = "macs"
    """Cost that `prefer: balance` weighs against accuracy."""
    points_per_10x: float = 2.0
    """Points of accuracy that each 10x increase in this cost must gain."""
    max_drop: float = 2.0
    """Points of accuracy that `prefer: speed` and `prefer: size` may lose."""
    margin: float = 100 * MARGIN
    """Margin of equivalence in points."""
    choose_on: ChooseOn = "validation"
    """Split whose accuracies choose; test figures are reported in any case."""
    front: tuple[str, str] = ("accuracy", "macs")
    """Keys of the two columns of the Pareto front."""
    target: str | None = None
    """Device of `bench deploy` whose figures are used; None for those of the runs."""
    price_per_hour: float | None = None
    """Price of an hour on that device, to compute the price of a million images."""

    @property
    def ranked_cost(self) -> Cost:
        """Cost that the preference minimizes or weighs."""
        return COST_OF.get(self.prefer, self.cost)

    def limits(self) -> list[tuple[str, float, str]]:
        """Column key, limit in the column's unit, and text, for each limit that is set."""
        share = None if self.min_accuracy is None else 100 * self.min_accuracy
        limits = (
            ("macs", self.max_gmacs, "at most {:g} GMACs"),
            ("params", self.max_params, "at most {:g} M parameters"),
            ("latency", self.max_latency_ms, "at most {:g} ms"),
            ("accuracy", share, f"at least {{:g}} % {self.choose_on} accuracy"),
        )
        return [
            (key, limit, words.format(limit)) for key, limit, words in limits if limit is not None
        ]

    def on_test(self) -> Criteria:
        """Return the same criteria with the test split to choose on."""
        return replace(self, choose_on="test")

    def without_limits(self) -> Criteria:
        """Return the same criteria without limits."""
        return replace(
            self, max_gmacs=None, max_params=None, max_latency_ms=None, min_accuracy=None
        )


NO_CRITERIA = Criteria()


@dataclass(frozen=True)
class Drawn:
    """Accuracies in resampled sets of the split that chooses, by which a choice is certain."""

    accuracies: Floats
    """Accuracy of each row in each resampled set [rows, draws]."""
    images: int
    """Number of images of the split."""


class Rule:
    """The rule of the criteria over arrays of accuracies."""

    def __init__(self, rows: Sequence[Row], criteria: Criteria) -> None:
        """Read the costs of the rows."""
        self.rows = list(rows)
        self.criteria = criteria
        self._alike = share_conditions(rows)
        self.accuracies = np.array([self.accuracy(row) for row in rows])
        self.fits = np.array([self._meets_cost_limits(row) for row in rows])
        self.fitting = [row for row in rows if not self.excess(row)]
        """Rows that meet all limits."""
        self.cost_key: Cost = criteria.ranked_cost
        if not self._any_known(self.cost_key):
            self.cost_key = "macs"
        self.costs = [self.cost(row) for row in rows]
        self.by_cost = criteria.prefer != "accuracy" and self._any_known(self.cost_key)
        # Of equal rows, argmax takes the first: the cheapest, then the most accurate.
        self._order = np.array(
            sorted(
                range(len(rows)),
                key=lambda index: (
                    math.inf if self.costs[index] is None else self.costs[index],
                    -self.accuracies[index],
                    rows[index].name,
                ),
            )
        )

    def accuracy(self, row: Row) -> float:
        """Accuracy on the split that chooses, 0 to 1."""
        return row.accuracy if self.criteria.choose_on == "test" else row.valid_accuracy

    def value(self, key: str, row: Row) -> float | None:
        """Value of a column; None if measured under other conditions than the other rows."""
        if key == "accuracy":
            return 100 * self.accuracy(row)
        return None if key in MEASURED and not self._alike else COLUMNS[key].of(row)

    def cost(self, row: Row) -> float | None:
        """Cost that decides, in the unit of its column."""
        return self.value(self.cost_key, row)

    def excess(self, row: Row) -> float:
        """Largest relative excess over a limit; 0 if the row meets all limits."""
        return max((self._beyond(row, *limit) for limit in self.criteria.limits()), default=0.0)

    def choose(self, accuracies: Floats) -> npt.NDArray[np.int64]:
        """Index of the pick for accuracies [rows, draws]: [draws], -1 where none is eligible."""
        values = accuracies[self._order]
        eligible = np.repeat(self.fits[self._order][:, None], values.shape[1], axis=1)
        if self.criteria.min_accuracy is not None:
            eligible &= values >= self.criteria.min_accuracy - _EPSILON
        scores = values
        if self.by_cost:
            costs = [self.costs[index] for index in self._order]
            known = np.array([cost is not None for cost in costs])[:, None]
            # Where all eligible costs are unknown, accuracy alone decides.
            priced = eligible & known
            any_priced = priced.any(axis=0)
            scores = np.where(any_priced, self._scores(values, priced, costs), values)
            eligible = np.where(any_priced, priced, eligible)
        best = np.where(eligible, scores, -np.inf).argmax(axis=0)
        return np.where(eligible.any(axis=0), self._order[best], -1)

    def chosen(self, without: Row | None = None) -> Row | None:
        """Row that the rule picks, optionally without one row."""
        allowed = [index for index, row in enumerate(self.rows) if row is not without]
        if len(allowed) < len(self.rows):
            return (
                Rule([self.rows[index] for index in allowed], self.criteria).chosen()
                if allowed
                else None
            )
        (index,) = self.choose(self.accuracies[:, None])
        return None if index < 0 else self.rows[index]

    def reference(self) -> Row:
        """Most accurate row within the limits; of all rows if none is within them."""
        return max(self.fitting or self.rows, key=self.accuracy)

    def worth(self, row: Row) -> float:
        """Accuracy in points less the price of the cost."""
        return 100 * self.accuracy(row) - self.criteria.points_per_10x * self.log10_cost(row)

    def log10_cost(self, row: Row) -> float:
        """Decimal logarithm of the cost that decides."""
        return decades(self.cost(row))

    def _scores(
        self, values: Floats, priced: npt.NDArray[np.bool_], costs: Sequence[float | None]
    ) -> Floats:
        if self.criteria.prefer == "balance":
            logs = np.array([decades(cost) for cost in costs])[:, None]
            return 100 * values - self.criteria.points_per_10x * logs
        best = np.where(priced, values, -np.inf).max(axis=0)
        within = values >= best - self.criteria.max_drop / 100 - _EPSILON
        cheapest_first = -np.arange(len(values), dtype=np.float64)[:, None]
        return np.where(within, cheapest_first, -np.inf)

    def _any_known(self, key: str) -> bool:
        return any(
            self.value(key, row) is not None
            for row, fits in zip(self.rows, self.fits, strict=True)
            if fits
        )

    def _meets_cost_limits(self, row: Row) -> bool:
        limits = [limit for limit in self.criteria.limits() if limit[0] != "accuracy"]
        return all(self._beyond(row, *limit) == 0 for limit in limits)

    def _beyond(self, row: Row, key: str, limit: float, _: str) -> float:
        value = self.value(key, row)
        if value is None:
            return math.inf
        beyond = COLUMNS[key].loss(value) - COLUMNS[key].loss(limit)
        if beyond <= 100 * _EPSILON:
            return 0.0
        return beyond / abs(limit) if limit else beyond


_EPSILON = 1e-12
"""Tolerance, so that a drop equal to the limit does not exceed it by rounding."""


def decades(cost: float | None) -> float:
    """Decimal logarithm of a cost; unknown costs and zero count as 1e-9."""
    return math.log10(max(cost or 1e-9, 1e-9))
