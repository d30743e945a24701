"""What came of a selection: every architecture, how far it came, and why it was dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.report.analysis import Analysis
from benchmark.select.agreement import Agreement
from benchmark.select.halving import Cut, Standing, final_order, noise, within_noise
from benchmark.select.schedule import Rung
from benchmark.select.selection import Entrant, Selection


@dataclass(frozen=True)
class RungResult:
    """One rung, done."""

    label: str
    """`r0`, `r1`, … or `final`."""
    rung: Rung
    valid_images: int
    """That accuracies are of."""
    standings: dict[str, Standing]
    """By name, of those that finished."""
    failures: dict[str, str]
    cut: Cut
    """In the last rung nobody is dropped."""


@dataclass(frozen=True)
class Check:
    """A sample of all architectures, trained in full."""

    asked: int
    failures: dict[str, str]
    agreement: Agreement | None


@dataclass(frozen=True)
class Outcome:
    """A selection, done."""

    selection: Selection
    rungs: list[RungResult]
    finalists: Analysis | None
    """Of the last rung's runs; None where none finished."""
    check: Check | None
    """None where it was not asked for."""
    spent_s: Mapping[str, float] = field(default_factory=dict)
    """By rung, in all commands so far."""

    @property
    def order(self) -> list[str]:
        """All that were judged, the best first."""
        return final_order([result.standings for result in self.rungs])

    @property
    def winner(self) -> str | None:
        """Most accurate of the last rung on validation pictures."""
        last = self.rungs[-1]
        return self.order[0] if last.label == "final" and last.standings else None


@dataclass(frozen=True)
class Fate:
    """One architecture's way."""

    entrant: Entrant
    reached: str
    """Label of the last rung that it began; empty where it did not enter."""
    accuracies: dict[str, float]
    """On validation pictures by rung, 0 to 1."""
    test_accuracy: float | None
    """Of finalists."""
    noisy: bool
    """Dropped within noise of the last that was kept."""
    end: str
    """In words: what became of it, and why."""


def fates(outcome: Outcome) -> list[Fate]:
    """Every architecture, the best first, then what failed, then what was left out."""
    by_name = {entrant.name: entrant for entrant in outcome.selection.entrants}
    failed = [
        name
        for result in reversed(outcome.rungs)
        for name in sorted(result.failures)
        if name not in outcome.order
    ]
    # An architecture that failed late stands in earlier rungs, and so in the order.
    names = list(dict.fromkeys([*outcome.order, *failed]))
    out = sorted(entrant.name for entrant in outcome.selection.entrants if entrant.out)
    return [_fate(outcome, by_name[name]) for name in [*names, *out]]


def _fate(outcome: Outcome, entrant: Entrant) -> Fate:
    name = entrant.name
    if entrant.out:
        return Fate(entrant, "", {}, None, False, f"left out: {entrant.out}")
    entered = [r for r in outcome.rungs if name in r.standings or name in r.failures]
    accuracies = {r.label: r.standings[name].accuracy for r in entered if name in r.standings}
    last = entered[-1]
    noisy = name in last.cut.noisy
    return Fate(
        entrant,
        last.label,
        accuracies,
        _test_accuracy(outcome, name),
        noisy,
        _end(outcome, last, name),
    )


def _test_accuracy(outcome: Outcome, name: str) -> float | None:
    rows = outcome.finalists.rows if outcome.finalists else []
    entrant = next(item for item in outcome.selection.entrants if item.name == name)
    own = entrant.architecture
    same = (row for row in rows if (row.architecture, row.image_size) == (own.name, own.image_size))
    return next((row.accuracy for row in same), None)


def _end(outcome: Outcome, last: RungResult, name: str) -> str:
    if name in last.failures:
        return f"failed in {last.label}, {last.failures[name]}"
    own = last.standings[name]
    if last.label == "final":
        if name == outcome.winner:
            return "winner"
        best = last.standings[outcome.winner or name]
        same = within_noise(best.accuracy, own.accuracy, last.valid_images)
        return "finalist, within noise of the winner" if same else "finalist"
    if own in last.cut.kept:
        return f"kept in {last.label}"
    border = last.cut.kept[-1].accuracy
    gap = f"{100 * (border - own.accuracy):.1f} points behind the last kept"
    if border == own.accuracy:
        gap = "level with the last kept, which has fewer MACs or comes first by name"
    if name in last.cut.noisy:
        spread = 100 * noise(border, own.accuracy, last.valid_images)
        return f"dropped after {last.label}, {gap}: within noise (± {spread:.1f})"
    return f"dropped after {last.label}, {gap}"


def noisy_names(result: RungResult) -> Sequence[str]:
    """Those that a rung dropped within noise, the best first."""
    return [item.name for item in result.cut.dropped if item.name in result.cut.noisy]
