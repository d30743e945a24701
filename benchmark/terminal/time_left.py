"""How long a run and a study will still take, by the study's own runs; else nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmark.terminal.progress import Evidence, RunProgress, StudyProgress, kind_of

MIN_WATCHED_S = 3.0
"""A pace that was watched for less is not told."""
MIN_KINDS = 3
"""From fewer architectures nothing is concluded about one that has not been run yet."""
MAX_ERROR = 0.5
"""A study's time is told where its standard error is at most this share of it."""


@dataclass(frozen=True)
class RunLeft:
    """What a run will still take."""

    seconds: float
    more: bool = False
    """Other work comes after that, of a length that nothing is known of."""


@dataclass(frozen=True)
class StudyLeft:
    """What a study will still take."""

    seconds: float
    to_measure: int = 0
    """Runs that are measured after that, where no measuring has been seen yet."""


def run_left(run: RunProgress, evidence: Evidence, now_s: float) -> RunLeft | None:
    """By the run's own pace in training, else by finished runs of its kind; None where unknown.

    Training that may stop early is told as if it did not.
    """
    if run.measuring:
        return _positive(_mean(evidence.measuring), now_s - run.began_s)
    own = _pace(run, now_s)
    rest_s = _after_training(run, evidence)
    if own is not None and run.doing.startswith("epoch "):
        return RunLeft(own, more=True) if rest_s is None else RunLeft(own + rest_s)
    if run.trained_s is not None:
        return _positive(rest_s, now_s - run.trained_s)
    whole = _positive(evidence.whole.get(kind_of(run.spec)), now_s - run.began_s)
    if whole is not None or own is None:
        return whole
    return RunLeft(own, more=True)


def study_left(progress: StudyProgress) -> StudyLeft | None:
    """Time until the last run is done; None where the study's own runs do not tell.

    Runs of kinds that have not finished yet are taken to be like the kinds that have, if those are
    enough and alike enough. Runs that another process has are left out.
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
            # It takes longer than the others did, and may end at any time.
            lefts.append(0.0 if left is None else left.seconds)
        else:
            unseen += 1
            spent_s += now_s - run.began_s
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
    """Measuring that is done one by one at the end of a study with workers."""
    others = [*progress.waiting.values(), *progress.unmeasured.values()]
    others += [run.spec for run in progress.running.values() if not run.measuring]
    count = sum(spec.measure for spec in others) if progress.measured_apart else 0
    each_s = _mean(progress.evidence.measuring)
    if count and each_s is None:
        return StudyLeft(seconds, count)
    return StudyLeft(seconds + count * (each_s or 0.0))


def _unseen(count: int, spent_s: float, known: Sequence[float], sure_s: float) -> float | None:
    """Seconds of runs of unseen kinds, if the seen ones tell: the error is of a sum of draws."""
    if len(known) < MIN_KINDS:
        return None
    guess_s = max(0.0, count * fmean(known) - spent_s)
    error_s = stdev(known) * math.sqrt(count + count**2 / len(known))
    return guess_s if error_s <= MAX_ERROR * (guess_s + sure_s) else None


def _pace(run: RunProgress, now_s: float) -> float | None:
    if run.first is None or run.latest is None:
        return None
    (first_s, before), (latest_s, share) = run.first, run.latest
    if latest_s - first_s < MIN_WATCHED_S or share <= before:
        return None
    left_s = (latest_s - first_s) / (share - before) * (1 - share)
    return max(0.0, left_s - (now_s - latest_s))


def _after_training(run: RunProgress, evidence: Evidence) -> float | None:
    """What follows training: as with the run's kind, or else as with all others."""
    seen = evidence.after_training
    own = seen.get(kind_of(run.spec))
    return _mean(list(seen.values())) if own is None else own


def _positive(whole_s: float | None, spent_s: float) -> RunLeft | None:
    return None if whole_s is None or whole_s <= spent_s else RunLeft(whole_s - spent_s)


def _mean(seconds: Sequence[float]) -> float | None:
    return fmean(seconds) if seconds else None
