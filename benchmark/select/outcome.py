"""What came of a selection: every architecture, how far it came, and why it was dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.report.analysis import Analysis
from benchmark.select.agreement import Agreement
from benchmark.select.halving import Promotion, RungScore, final_order, noise, ranked, within_noise
from benchmark.select.rung import Rung
from benchmark.select.selection import Candidate, Selection


@dataclass(frozen=True)
class RungResult:
    """One rung, done."""

    label: str
    """`r0`, `r1`, …, `heads`, `final` or `seeds`."""
    rung: Rung
    valid_images: int
    """That accuracies are of."""
    scores: dict[str, RungScore]
    """By name, of those that finished."""
    failures: dict[str, str]
    cut: Promotion
    """Of the finalists nobody is dropped."""
    stopped: tuple[str, ...] = ()
    """Those whose time was up before they were finished."""


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
    """Of the runs of the winner's rung; None where none finished."""
    check: Check | None
    """None where it was not asked for."""
    spent_s: Mapping[str, float] = field(default_factory=dict)
    """By phase, in all commands so far."""

    @property
    def order(self) -> list[str]:
        """All that were judged, the best first."""
        order = final_order([result.scores for result in self.rungs])
        return sorted(order, key=lambda name: name != self.winner)

    @property
    def winner(self) -> str | None:
        """Most accurate of the finalists on validation images, as a head or trained as a whole."""
        found = find_winner(self.rungs)
        return found[1].name if found else None


def find_winner(rungs: Sequence[RungResult]) -> tuple[str, RungScore] | None:
    """Label and result of the best finalist; None where none was finished.

    All finalists are judged on the same validation images. Further seeds stand in place of the
    first ones alone.
    """
    judged: dict[tuple[str, bool], tuple[str, RungScore]] = {}
    for result in rungs:
        if result.rung.kind != "probe":
            for name, score in result.scores.items():
                judged[name, result.rung.kind == "heads"] = (result.label, score)

    def key(item: tuple[str, RungScore]) -> tuple[float, float, str]:
        best = item[1]
        return -best.accuracy, math.inf if best.macs is None else best.macs, best.name

    return min(judged.values(), key=key, default=None)


def below_before(rungs: Sequence[RungResult], last: RungResult) -> str:
    """Say that a rung's best falls below the best of the rung before; empty where it does not."""
    if not rungs or not last.scores or not rungs[-1].scores:
        return ""
    before, now = (ranked(list(result.scores.values()))[0] for result in (rungs[-1], last))
    if now.accuracy >= before.accuracy:
        return ""
    same = rungs[-1].rung.valid == last.rung.valid
    images = "the same" if same else "other"
    text = (
        f"{last.label} stays below {rungs[-1].label}: {100 * now.accuracy:.1f} % ({now.name}) "
        f"after {100 * before.accuracy:.1f} % ({before.name}), on {images} validation images"
    )
    return f"{text}; the better one stands" if rungs[-1].rung.kind != "probe" else text


@dataclass(frozen=True)
class CandidateResult:
    """One architecture's way."""

    candidate: Candidate
    reached: str
    """Label of the last rung that it began; empty where it did not enter."""
    accuracies: dict[str, float]
    """On validation images by rung, 0 to 1."""
    test_accuracy: float | None
    """Of finalists."""
    noisy: bool
    """Dropped within noise of the last that was kept."""
    end: str
    """In words: what became of it, and why."""


def candidate_results(outcome: Outcome) -> list[CandidateResult]:
    """Every architecture, the best first, then what failed, then what was left out."""
    by_name = {candidate.name: candidate for candidate in outcome.selection.candidates}
    failed = [
        name
        for result in reversed(outcome.rungs)
        for name in sorted([*result.failures, *result.stopped])
        if name not in outcome.order
    ]
    # An architecture that failed late stands in earlier rungs, and so in the order.
    names = list(dict.fromkeys([*outcome.order, *failed]))
    out = sorted(candidate.name for candidate in outcome.selection.candidates if candidate.out)
    return [_candidate_result(outcome, by_name[name]) for name in [*names, *out]]


def _candidate_result(outcome: Outcome, candidate: Candidate) -> CandidateResult:
    name = candidate.name
    if candidate.out:
        return CandidateResult(candidate, "", {}, None, False, f"left out: {candidate.out}")
    entered = [r for r in outcome.rungs if name in {*r.scores, *r.failures, *r.stopped}]
    accuracies = {r.label: r.scores[name].accuracy for r in entered if name in r.scores}
    last = entered[-1]
    noisy = name in last.cut.noisy
    return CandidateResult(
        candidate,
        last.label,
        accuracies,
        _test_accuracy(outcome, name),
        noisy,
        _end(outcome, last, name),
    )


def _test_accuracy(outcome: Outcome, name: str) -> float | None:
    rows = outcome.finalists.rows if outcome.finalists else []
    candidate = next(item for item in outcome.selection.candidates if item.name == name)
    own = candidate.architecture
    same = (row for row in rows if (row.architecture, row.image_size) == (own.name, own.image_size))
    return next((row.accuracy for row in same), None)


def _end(outcome: Outcome, last: RungResult, name: str) -> str:
    found = find_winner(outcome.rungs)
    if found is not None and found[1].name == name:
        return "winner, as a head on a frozen backbone" if found[0] == "heads" else "winner"
    if name in last.stopped:
        return f"not finished in {last.label}: the time was up"
    if name in last.failures:
        return f"failed in {last.label}, {last.failures[name]}"
    own = last.scores[name]
    if found is not None and last.rung.kind != "probe":
        same = within_noise(found[1].accuracy, own.accuracy, last.valid_images)
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
