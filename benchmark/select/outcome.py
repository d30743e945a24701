"""Outcome of a selection: result of each rung and each architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.report.analysis import Analysis
from benchmark.select.agreement import Agreement
from benchmark.select.promotion import (
    Promotion,
    RungScore,
    final_order,
    noise,
    ranked,
    within_noise,
)
from benchmark.select.rung import Rung
from benchmark.select.selection_state import Candidate, Selection


@dataclass(frozen=True)
class RungResult:
    """Result of one rung."""

    label: str
    """`r0`, `r1`, …, `heads`, `final` or `seeds`."""
    rung: Rung
    valid_images: int
    """Number of validation images."""
    scores: dict[str, RungScore]
    """Scores of finished candidates by name."""
    failures: dict[str, str]
    promotion: Promotion
    """Promoted and eliminated candidates; finalists are never eliminated."""
    stopped: tuple[str, ...] = ()
    """Candidates that were stopped by the time limit."""


@dataclass(frozen=True)
class Check:
    """Comparison with full training on a sample of architectures."""

    sample_size: int
    failures: dict[str, str]
    agreement: Agreement | None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a selection."""

    selection: Selection
    rungs: list[RungResult]
    finalists: Analysis | None
    """Analysis of the runs of the winner's rung; None if none finished."""
    check: Check | None
    """Comparison with full training; None unless requested."""
    spent_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase, over all commands so far."""

    @property
    def order(self) -> list[str]:
        """Names of all evaluated candidates, best first."""
        order = final_order([result.scores for result in self.rungs])
        return sorted(order, key=lambda name: name != self.winner)

    @property
    def winner(self) -> str | None:
        """Finalist with the highest validation accuracy, as a head or fully trained."""
        best = find_winner(self.rungs)
        return best[1].name if best else None


def find_winner(rungs: Sequence[RungResult]) -> tuple[str, RungScore] | None:
    """Rung label and score of the best finalist; None if none finished.

    All finalists are evaluated on the same validation images. Results with further seeds replace
    those of the first seeds.
    """
    scored: dict[tuple[str, bool], tuple[str, RungScore]] = {}
    for result in rungs:
        if result.rung.kind != "probe":
            for name, score in result.scores.items():
                scored[name, result.rung.kind == "heads"] = (result.label, score)

    def key(item: tuple[str, RungScore]) -> tuple[float, float, str]:
        best = item[1]
        return -best.accuracy, math.inf if best.macs is None else best.macs, best.name

    return min(scored.values(), key=key, default=None)


def below_before(rungs: Sequence[RungResult], last: RungResult) -> str:
    """Warning if a rung's best accuracy is below the previous rung's; else empty."""
    if not rungs or not last.scores or not rungs[-1].scores:
        return ""
    before, now = (ranked(list(result.scores.values()))[0] for result in (rungs[-1], last))
    if now.accuracy >= before.accuracy:
        return ""
    same = rungs[-1].rung.valid == last.rung.valid
    images = "the same" if same else "different"
    text = (
        f"best accuracy of {last.label} is below {rungs[-1].label}: {100 * now.accuracy:.1f} % "
        f"({now.name}) after {100 * before.accuracy:.1f} % ({before.name}), on {images} "
        "validation images"
    )
    return f"{text}; the better result counts" if rungs[-1].rung.kind != "probe" else text


@dataclass(frozen=True)
class CandidateResult:
    """Result of one candidate."""

    candidate: Candidate
    reached: str
    """Label of its last rung; empty if it was excluded."""
    accuracies: dict[str, float]
    """Validation accuracy by rung, 0 to 1."""
    test_accuracy: float | None
    """Test accuracy; None unless a finalist."""
    noisy: bool
    """Whether it was eliminated within noise of the last promoted candidate."""
    end: str
    """Result with its reason, as text."""


def candidate_results(outcome: Outcome) -> list[CandidateResult]:
    """Results of all candidates, best first, then failed, then excluded ones."""
    by_name = {candidate.name: candidate for candidate in outcome.selection.candidates}
    failed = [
        name
        for result in reversed(outcome.rungs)
        for name in sorted([*result.failures, *result.stopped])
        if name not in outcome.order
    ]
    # A candidate that failed late has scores in earlier rungs and is part of the order.
    names = list(dict.fromkeys([*outcome.order, *failed]))
    out = sorted(candidate.name for candidate in outcome.selection.candidates if candidate.out)
    return [_candidate_result(outcome, by_name[name]) for name in [*names, *out]]


def _candidate_result(outcome: Outcome, candidate: Candidate) -> CandidateResult:
    name = candidate.name
    if candidate.out:
        return CandidateResult(candidate, "", {}, None, False, f"excluded: {candidate.out}")
    entered = [r for r in outcome.rungs if name in {*r.scores, *r.failures, *r.stopped}]
    accuracies = {r.label: r.scores[name].accuracy for r in entered if name in r.scores}
    last = entered[-1]
    noisy = name in last.promotion.noisy
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
    best = find_winner(outcome.rungs)
    if best is not None and best[1].name == name:
        return "winner, as a head on a frozen backbone" if best[0] == "heads" else "winner"
    if name in last.stopped:
        return f"not finished in {last.label}: out of time"
    if name in last.failures:
        return f"failed in {last.label}: {last.failures[name]}"
    own = last.scores[name]
    if best is not None and last.rung.kind != "probe":
        same = within_noise(best[1].accuracy, own.accuracy, last.valid_images)
        return "finalist, within noise of the winner" if same else "finalist"
    if own in last.promotion.promoted:
        return f"promoted in {last.label}"
    border = last.promotion.promoted[-1].accuracy
    gap = f"{100 * (border - own.accuracy):.1f} points below the last promoted"
    if border == own.accuracy:
        gap = "equal to the last promoted, which has fewer MACs or sorts first by name"
    if name in last.promotion.noisy:
        spread = 100 * noise(border, own.accuracy, last.valid_images)
        return f"eliminated in {last.label}, {gap}: within noise (± {spread:.1f})"
    return f"eliminated in {last.label}, {gap}"


def noisy_names(result: RungResult) -> Sequence[str]:
    """Names of candidates that a rung eliminated within noise, best first."""
    return [item.name for item in result.promotion.dropped if item.name in result.promotion.noisy]
