"""Pick an architecture: choose on validation, and report the result on test."""

from __future__ import annotations

import math
import statistics as plain_statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.report.columns import COLUMNS, MEASURED, pareto_front
from benchmark.report.pairs import Pair, rounded_up
from benchmark.report.pick_rule import NO_CRITERIA, Criteria, Drawn, Rule
from benchmark.report.rows import Row

WORDS: dict[str, tuple[str, str, str]] = {
    "macs": ("MACs", "fewer", "more"),
    "latency": ("latency", "lower", "higher"),
    "params": ("parameters", "fewer", "more"),
    "memory": ("inference memory", "less", "more"),
    "price": ("price of a million images", "lower", "higher"),
}
"""Name of each cost in sentences, with the adjectives for less and for more of it."""
MAX_NAMED = 3
"""Maximum number of architectures that a sentence names."""
SAME = 1.05
"""Costs whose ratio is below this are the same in a sentence."""
CERTAIN = 0.9
"""Share of resampled validation sets with the same pick from which on the choice is decided."""


@dataclass(frozen=True)
class Pick:
    """Recommendation of a report."""

    most_accurate: Row
    """Row with the highest test accuracy."""
    reference: Row
    """Most accurate row within the limits, on the split that chooses."""
    chosen: Row | None
    """The pick; None if no architecture meets the criteria."""
    runner_up: Row | None
    """What the rule would pick without `chosen`."""
    front: list[Row]
    """Pareto front of the two columns in the criteria, best by the second column first."""
    criteria: Criteria
    sentence: str
    """The pick, with the evidence from the test set and its price."""
    runner_up_sentence: str
    notes: tuple[str, ...]
    """How certain the choice is, one sentence each."""
    rule: str
    """How the pick was chosen, in one sentence."""
    sensitivity: str
    """Changes that would lead to a different pick; may be empty."""

    @property
    def text(self) -> str:
        """Pick, runner-up and notes as one paragraph."""
        return f"{self.sentence} {self.beside}".rstrip()

    @property
    def beside(self) -> str:
        """Runner-up and notes as one paragraph; may be empty."""
        return " ".join(part for part in (self.runner_up_sentence, *self.notes) if part)

    @property
    def reasons(self) -> str:
        """Rule and sensitivity as one paragraph."""
        return " ".join(part for part in (self.rule, self.sensitivity) if part)


def choose_pick(
    rows: Sequence[Row],
    criteria: Criteria = NO_CRITERIA,
    pairs: Mapping[tuple[int, int], Pair] | None = None,
    drawn: Drawn | None = None,
) -> Pick | None:
    """Pick among finished rows that meet the criteria; None if there are none.

    - `prefer: accuracy`: the most accurate.
    - `prefer: speed` and `prefer: size`: the lowest latency and the fewest parameters among those
      that lose at most `max_drop` points to the most accurate.
    - `prefer: balance`: the highest accuracy less `points_per_10x` for each factor of 10 in cost.

    Accuracies that choose are of the split `choose_on`. `pairs` holds the tested pairs by their
    indices in `rows`; `drawn` shows whether another set of images would give another pick.
    """
    if not rows:
        return None
    return _Choice(rows, criteria, pairs or {}, drawn).pick()


class _Choice:
    """Describes a rule's choice."""

    def __init__(
        self,
        rows: Sequence[Row],
        criteria: Criteria,
        pairs: Mapping[tuple[int, int], Pair],
        drawn: Drawn | None,
    ) -> None:
        self.rows = list(rows)
        self.indices = {row: index for index, row in enumerate(rows)}
        self.criteria = criteria
        self.pairs = pairs
        self.drawn = drawn
        self.rule = Rule(rows, criteria)
        self.reference = self.rule.reference()

    def pick(self) -> Pick:
        """Return the choice, its evidence and its reasons."""
        gain, cost = (COLUMNS[key] for key in self.criteria.front)
        chosen = self.rule.chosen()
        runner_up = self.rule.chosen(without=chosen) if chosen else None
        return Pick(
            most_accurate=max(self.rows, key=lambda row: row.accuracy),
            reference=self.reference,
            chosen=chosen,
            runner_up=runner_up,
            front=pareto_front(self.rows, gain, cost),
            criteria=self.criteria,
            sentence=self._sentence(chosen) if chosen else self._none_fits(),
            runner_up_sentence=self._runner_up(chosen, runner_up) if chosen and runner_up else "",
            notes=tuple(self._notes(chosen)) if chosen and runner_up else (),
            rule=self._rule_text() if runner_up else "",
            sensitivity=self._sensitivity(chosen) if chosen else "",
        )

    def _sentence(self, chosen: Row) -> str:
        if len(self.rows) == 1:
            return f"{chosen.name} is the only finished architecture; there is nothing to compare."
        limits = " and ".join(text for _, _, text in self.criteria.limits())
        within = f" ({limits})" if limits else ""
        if chosen is self.reference:
            count = len(self.rule.fitting)
            on = "," if self.criteria.choose_on == "test" else " on validation,"
            among = f"the most accurate of {count}{on}" if count > 1 else "the only one that fits,"
            return f"Pick {chosen.name}{within}: {among} {_percent(chosen)} on test."
        parts = [self._evidence(chosen, self.reference), *self._prices(chosen, self.reference)]
        return f"Pick {chosen.name}{within}: {', '.join(parts)}."

    def _runner_up(self, chosen: Row, runner_up: Row) -> str:
        parts = [self._evidence(runner_up, chosen), *self._prices(runner_up, chosen)]
        if self.criteria.choose_on == "test":
            return f"Runner-up by the same rule: {runner_up.name}, {', '.join(parts)}."
        text = f"Runner-up by the same rule on validation: {runner_up.name}, on test "
        text += f"{', '.join(parts)}."
        on_test = Rule(self.rows, self.criteria.on_test())
        best, second = on_test.chosen(), on_test.chosen(without=chosen)
        if best is chosen and second is not None and second is not runner_up:
            text += f" By test accuracy, the runner-up would be {second.name}."
        return text

    def _evidence(self, row: Row, other: Row) -> str:
        """Test accuracy of a row beside another one, with the interval of the difference."""
        points = 100 * (row.accuracy - other.accuracy)
        side = "above" if points > 0 else "below"
        text = f"{points_text(abs(points))} points {side} {other.name}"
        pair = self.pairs.get(tuple(sorted((self.indices[row], self.indices[other]))))  # type: ignore[arg-type]
        if pair is None:
            return text
        row_first = pair.first == self.indices[row]
        interval = pair.interval if row_first == (points > 0) else pair.interval.negated()
        low, high = points_text(100 * interval.low), points_text(100 * interval.high)
        verdict = "" if pair.verdict == "apart" else f", {verdict_text(pair)}"
        return f"{text} (95 % CI {low} to {high}{verdict})"

    def _prices(self, row: Row, other: Row) -> list[str]:
        """Costs of a row as multiples of another's, in words."""
        keys = dict.fromkeys(("macs", "latency", self.criteria.ranked_cost))
        texts = []
        for key in keys:
            ours, theirs = self.rule.value(key, row), self.rule.value(key, other)
            if not ours or not theirs:
                continue
            _, less, more = WORDS[key]
            name = self._name(key)
            if ours * SAME < theirs:
                texts.append(f"{_times(theirs / ours)} {less} {name}")
            elif theirs * SAME < ours:
                texts.append(f"{_times(ours / theirs)} {more} {name}")
        return texts

    def _notes(self, chosen: Row) -> list[str]:
        notes = [self._uncertainty(chosen)] if self.drawn is not None else []
        if self.criteria.choose_on == "validation":
            best = Rule(self.rows, self.criteria.on_test()).chosen()
            if best is not None and best is not chosen:
                notes.append(f"Test accuracies would have picked {best.name}.")
        else:
            notes.append(
                "Chosen on the test split, as is common practice, so its accuracy is optimistic."
            )
        return [note for note in notes if note]

    def _uncertainty(self, chosen: Row) -> str:
        """Sentence on the picks with resampled sets of images."""
        if self.drawn is None:
            return ""
        picks = self.rule.choose(self.drawn.accuracies)
        shares = {row: float((picks == index).mean()) for row, index in self.indices.items()}
        certain = shares[chosen]
        split = "test" if self.criteria.choose_on == "test" else "validation"
        sets = f"resampled {split} sets of {self.drawn.images:,} images"
        if certain >= CERTAIN:
            return f"Decided for these runs: {sets} pick {chosen.name} in {100 * certain:.0f} %."
        others = sorted((row for row in self.rows if row is not chosen), key=lambda r: -shares[r])
        named = [row for row in (chosen, *others[: MAX_NAMED - 1]) if shares[row] > 0]
        texts = ", ".join(f"{row.name} in {100 * shares[row]:.0f} %" for row in named)
        normal = plain_statistics.NormalDist()
        deviate = normal.inv_cdf(certain) if 0 < certain < 1 else 0.0
        if deviate <= normal.inv_cdf(0.55):
            end = "by this rule, any of them is a fair choice"
        else:
            needed = self.drawn.images * (normal.inv_cdf(CERTAIN) / deviate) ** 2
            end = f"about {rounded_up(needed):,} {split} images would decide"
        return f"Undecided: {sets} pick {texts}; {end}."

    def _rule_text(self) -> str:
        criteria = self.criteria
        name = self._name(self.rule.cost_key)
        on = criteria.choose_on
        if not self.rule.by_cost:
            text = f"highest {on} accuracy"
        elif criteria.prefer == "balance":
            price = f"{criteria.points_per_10x:g} points for each 10x of {name}"
            text = f"highest {on} accuracy less {price}"
        else:
            lowest = "lowest" if self.rule.cost_key == "latency" else "fewest"
            text = (
                f"{lowest} {name} among those at most {criteria.max_drop:g} points less accurate "
                f"on {on} than the best"
            )
        if self.rule.cost_key != criteria.ranked_cost:
            text += f", since {self._name(criteria.ranked_cost)} cannot be compared"
        lacking = [
            row.name
            for row, cost in zip(self.rows, self.rule.costs, strict=True)
            if cost is None and self.rule.by_cost
        ]
        if lacking:
            which = (
                ", ".join(lacking) if len(lacking) <= MAX_NAMED else f"{len(lacking)} architectures"
            )
            text += f"; excludes {which} with unknown {name}"
        return f"Rule: {text}."

    def _name(self, key: str) -> str:
        """Name of a cost in sentences, with the device if the user chose one."""
        target = self.criteria.target
        on = f" on {target}" if target is not None and key in MEASURED else ""
        return f"{WORDS[key][0]}{on}"

    def _none_fits(self) -> str:
        closest = min(self.rows, key=self.rule.excess)
        limits = " and ".join(text for _, _, text in self.criteria.limits())
        text = f"No architecture meets the criteria ({limits})"
        if math.isinf(self.rule.excess(closest)):
            return (
                f"{text}: a required value was not measured, was measured on a busy machine, or "
                "is not comparable between architectures."
            )
        missed = []
        for key, limit, _ in self.criteria.limits():
            column, value = COLUMNS[key], self.rule.value(key, closest)
            if value is not None and column.loss(value) > column.loss(limit):
                title = (
                    f"{self.criteria.choose_on} accuracy (%)" if key == "accuracy" else column.title
                )
                missed.append(f"{value:.4g} in {title}")
        return f"{text}; the closest is {closest.name} with {', '.join(missed)}."

    def _sensitivity(self, chosen: Row) -> str:
        parts = []
        fitting = self.rule.fitting
        others = [row for row in fitting if row is not chosen]
        if self.rule.by_cost:
            others = [row for row in others if self.rule.cost(row) is not None]
        if others and self.rule.by_cost and self.criteria.prefer != "balance":
            parts += self._drops(chosen, others)
        elif others:
            priced = self.rule.by_cost
            parts += self._thresholds(chosen, others) if priced else []
            worth = self.rule.worth if priced else lambda row: 100 * self.rule.accuracy(row)
            closest = max(others, key=worth)
            gap = worth(chosen) - worth(closest)
            parts.append(f"to {closest.name} if it were {gap:.2f} points more accurate")
        if len(fitting) < len(self.rows):
            free = Rule(self.rows, self.criteria.without_limits()).chosen()
            if free is not None and free is not chosen:
                parts.append(f"to {free.name} without these limits")
        return f"The pick would change {'; '.join(parts)}." if parts else ""

    def _thresholds(self, chosen: Row, others: Sequence[Row]) -> list[str]:
        """Picks at a higher and at a lower price of each 10x increase, with the thresholds."""
        more: list[tuple[float, Row]] = []
        less: list[tuple[float, Row]] = []
        for row in others:
            decades = self.rule.log10_cost(chosen) - self.rule.log10_cost(row)
            points = 100 * (self.rule.accuracy(chosen) - self.rule.accuracy(row))
            if decades > 0 and points > 0:
                more.append((points / decades, row))
            elif decades < 0 and points < 0:
                less.append((points / decades, row))
        parts = []
        if more:
            price, row = min(more, key=lambda item: item[0])
            parts.append(f"to {row.name} at more than {price:.2f} points for each 10x")
        if less:
            price, row = max(less, key=lambda item: item[0])
            parts.append(f"to {row.name} at less than {price:.2f} points for each 10x")
        return parts

    def _drops(self, chosen: Row, others: Sequence[Row]) -> list[str]:
        """Picks at a larger and at a smaller drop in accuracy, with the thresholds."""
        best = max(self.rule.accuracy(row) for row in [chosen, *others])

        def drop(row: Row) -> float:
            return 100 * (best - self.rule.accuracy(row))

        cost = self.rule.log10_cost
        parts = []
        cheaper = [row for row in others if cost(row) < cost(chosen)]
        if cheaper:
            row = min(cheaper, key=drop)
            parts.append(f"to {row.name} if a drop of {drop(row):.2f} points were acceptable")
        better = [row for row in others if drop(row) < drop(chosen)]
        if better:
            row = min(better, key=cost)
            parts.append(f"to {row.name} if a drop of {drop(chosen):.2f} points were too much")
        return parts


def verdict_text(pair: Pair) -> str:
    """Verdict on a pair in words, with the margin of equivalence."""
    if pair.verdict == "equivalent":
        return f"equivalent within {margin_text(pair.margin)}"
    return pair.verdict


def margin_text(margin: float) -> str:
    """Format a margin, 0 to 1, in points."""
    return f"{100 * margin:g} point{'s' * (abs(100 * margin - 1) > 1e-9)}"


def points_text(points: float) -> str:
    """Format points of accuracy with one decimal, or two if one would show zero."""
    return f"{points:.2f}" if 0 < abs(points) < 0.05 else f"{points:.1f}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def _percent(row: Row) -> str:
    return f"{100 * row.accuracy:.1f} %"
