"""Estimate the remaining time of a run and of a study from the study's own runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmark.terminal.progress import Evidence, RunProgress, StudyProgress, kind_of

MIN_WATCHED_S = 3.0
"""Minimum observation time for an estimate from a run's own pace."""
MIN_KINDS = 3
"""Minimum number of finished architectures to extrapolate to others."""
MAX_ERROR = 0.5
"""Maximum relative standard error of a study's estimate; above it, none is shown."""


@dataclass(frozen=True)
class RunLeft:
    """Remaining time of a run."""

    seconds: float
    more: bool = False
    """Whether further work of unknown length follows."""


@dataclass(frozen=True)
class StudyLeft:
    """Remaining time of a study."""

    seconds: float
    to_measure: int = 0
    """Runs to measure afterwards, if the time of a measurement is not known yet."""


def run_left(run: RunProgress, evidence: Evidence, now_s: float) -> RunLeft | None:
    """Estimate from the run's own training pace, else from finished runs of its kind.

    None if unknown. Early stopping is not anticipated.
    """
    if run.measuring:
        return _positive(_mean(evidence.measuring), now_s - run.started_s)
    own = _time_by_own_pace(run, now_s)
    rest_s = _after_training(run, evidence)
    if own is not None and run.doing.startswith("epoch "):
        return RunLeft(own, more=True) if rest_s is None else RunLeft(own + rest_s)
    if run.trained_s is not None:
        return _positive(rest_s, now_s - run.trained_s)
    whole = _positive(evidence.whole.get(kind_of(run.spec)), now_s - run.started_s)
    if whole is not None or own is None:
        return whole
    return RunLeft(own, more=True)


def study_left(progress: StudyProgress) -> StudyLeft | None:
    """Time until the last run is done; None if it cannot be estimated.

    Kinds without a finished run are assumed to take the mean of the finished kinds, if these are
    numerous and similar enough. Runs of other processes are ignored.
    """
    now_s, evidence = progress.clock(), progress.evidence
    known = evidence.whole
    lefts: list[float] = []
    spent_s, unseen = 0.0, 0
    for run in progress.running.values():
        left = run_left(run, evidence, now_s)
        if left is not None and not left.more:
            lefts.append(left.seconds)
        elif run.measuring or kind_of(run.spec) in known:
            # Already longer than finished runs of its kind; it may end at any time.
            lefts.append(0.0 if left is None else left.seconds)
        else:
            unseen += 1
            spent_s += now_s - run.started_s
    waiting_s = 0.0
    for spec in progress.waiting.values():
        kind = kind_of(spec)
        waiting_s += known.get(kind, 0.0)
        unseen += kind not in known
    sure_s = sum(lefts) + waiting_s
    if unseen:
        guess_s = _unseen(unseen, spent_s, list(known.values()), sure_s)
        if guess_s is None:
            return None
        sure_s += guess_s
    return _with_measuring(progress, max([sure_s / progress.workers, *lefts]))


def _with_measuring(progress: StudyProgress, seconds: float) -> StudyLeft:
    """Add measurements, which run one at a time at the end of a study with several workers."""
    others = [*progress.waiting.values(), *progress.unmeasured.values()]
    others += [run.spec for run in progress.running.values() if not run.measuring]
    count = sum(spec.measure for spec in others) if progress.measured_apart else 0
    each_s = _mean(progress.evidence.measuring)
    if count and each_s is None:
        return StudyLeft(seconds, count)
    return StudyLeft(seconds + count * (each_s or 0.0))


def _unseen(count: int, spent_s: float, known: Sequence[float], sure_s: float) -> float | None:
    """Estimated seconds of runs of unseen kinds; None if the standard error is too large."""
    if len(known) < MIN_KINDS:
        return None
    guess_s = max(0.0, count * fmean(known) - spent_s)
    error_s = stdev(known) * math.sqrt(count + count**2 / len(known))
    return guess_s if error_s <= MAX_ERROR * (guess_s + sure_s) else None


def _time_by_own_pace(run: RunProgress, now_s: float) -> float | None:
    if run.first is None or run.latest is None:
        return None
    (first_s, before), (latest_s, share) = run.first, run.latest
    if latest_s - first_s < MIN_WATCHED_S or share <= before:
        return None
    left_s = (latest_s - first_s) / (share - before) * (1 - share)
    return max(0.0, left_s - (now_s - latest_s))


def _after_training(run: RunProgress, evidence: Evidence) -> float | None:
    """Time after training, from the run's kind, else the mean of all kinds."""
    known = evidence.after_training
    own = known.get(kind_of(run.spec))
    return _mean(list(known.values())) if own is None else own


def _positive(whole_s: float | None, spent_s: float) -> RunLeft | None:
    return None if whole_s is None or whole_s <= spent_s else RunLeft(whole_s - spent_s)


def _mean(seconds: Sequence[float]) -> float | None:
    return fmean(seconds) if seconds else None
