"""Measure the learning curve of a finished run in a child process."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.curve.sizes import require_enough
from benchmark.engine.process import run_environment
from benchmark.errors import CurveError
from benchmark.runs.curve_results import DRAWS, SHARES, CurveFile, LearningCurve
from benchmark.runs.find import FinishedRun
from clothclf.process.start import ChildError, request_result
from clothclf.results import TrainingResult

CHILD = "benchmark.curve.train_points"
TIMEOUT_S = 7 * 24 * 3600.0
"""Only a child that hangs takes longer; finished points are stored."""

Notify = Callable[[str], None]


def is_cheap(training: TrainingResult) -> bool:
    """Return whether a point costs a head only, on cached features."""
    return training.route == "features"


def measure_curve(run: FinishedRun, notify: Notify) -> LearningCurve:
    """Train the missing points of a run's learning curve, and return the whole curve.

    Raises CurveError if there are too few images, or the run cannot be trained again.
    """
    record = run.record
    data = record.spec.data_summary
    try:
        require_enough(data.images["train"], len(data.classes))
    except CurveError as error:
        raise CurveError(f"{run.name}: {error}") from None
    stored = CurveFile(run.folder.path, record.run_id)
    if stored.is_damaged():
        notify(f"{stored.path}: is damaged; training its points again")
        stored.path.unlink()
    curve = stored.read()
    missing = DRAWS * (len(SHARES) - 1) if curve is None else len(curve.missing())
    if missing:
        what = "heads on cached features" if is_cheap(record.training) else "networks"
        notify(f"{record.spec.name}: training {missing} {what}")
        _train(run)
        curve = stored.read()
    if curve is None:
        raise CurveError(f"{stored.path}: cannot be read after it was written")
    return curve


def _train(run: FinishedRun) -> None:
    request = {"run": str(run.folder.path.absolute())}
    try:
        request_result(
            CHILD, request, "training", environment=run_environment(), timeout_s=TIMEOUT_S
        )
    except ChildError as error:
        raise CurveError(f"{run.name}: {error}") from None
