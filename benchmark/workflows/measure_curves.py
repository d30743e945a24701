"""Measure the learning curves of a study's finished architectures, and log them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.curve.measure import is_cheap, measure_curve
from benchmark.errors import CurveError
from benchmark.report.learning_curves import CurveSection, curve_section
from benchmark.report.rows import Row
from benchmark.report.write import read_report
from benchmark.runs.curve_results import DRAWS, SHARES
from benchmark.runs.find import FinishedRun
from benchmark.runs.run_folder import RunFolder
from benchmark.text.numbers import duration
from clothclf.errors import UserError, did_you_mean

Notify = Callable[[str], None]


def measure(
    study: StudySettings,
    config: Path,
    architectures: Sequence[str],
    finetuned: bool,
    notify: Notify,
) -> CurveSection:
    """Measure the curve of each finished architecture, or of `architectures`, with one run each.

    Of several seeds, it is the first one. Runs that are not frozen are only trained again with
    `finetuned`. An architecture that fails is reported; the others
    continue. Raises CurveError if
    there is no finished run, or the error of the last one if none could be measured.
    """
    root = study.tracking.folder.absolute()
    rows = _chosen(study, read_report(study, config).analyses[0].rows, architectures)
    measured: list[Row] = []
    failed: UserError | None = None
    for row in rows:
        run = FinishedRun(RunFolder.of(root, row.records[0].spec), row.records[0])
        try:
            if not finetuned and not is_cheap(run.record.training):
                raise CurveError(_what_it_takes(run))
            measure_curve(run, notify)
        except UserError as error:
            failed = error
            if len(rows) > 1:
                notify(str(error))
        else:
            measured.append(row)
    if failed is not None and not measured:
        raise failed
    return curve_section(measured, root)


def _chosen(study: StudySettings, rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    if not rows:
        raise CurveError(f"study {study.study!r} has no finished run; run it first")
    known = [row.architecture for row in rows]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; finished: {', '.join(dict.fromkeys(known))}"
            raise CurveError(f"study {study.study!r} has no finished run of {name!r}{hint}")
    return [row for row in rows if not names or row.architecture in names]


def _what_it_takes(run: FinishedRun) -> str:
    """Describe the cost of a curve whose backbone runs in every epoch."""
    runs = DRAWS * sum(SHARES[:-1])
    seconds = duration(runs * run.record.training.seconds)
    return (
        f"{run.name}: its backbone runs in every epoch, so its curve takes about {runs:.1f} "
        f"times its training, {seconds}; add --finetuned to train it"
    )


def log_curves(study: StudySettings, section: CurveSection) -> None:
    """Log points and forecasts of learning curves to MLflow; raises TrackingError."""
    from benchmark.tracking.later_metrics import log_curve
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.workflows.log_results import log_results

    root = study.tracking.folder.absolute()
    curves = {curve.record.run_id: curve for curve in section.curves}
    runs = [
        FinishedRun(RunFolder.of(root, curve.record.spec), curve.record) for curve in section.curves
    ]

    def log(store: MlflowStore, run: FinishedRun) -> None:
        log_curve(store, curves[run.record.run_id])

    log_results(study, runs, log)
