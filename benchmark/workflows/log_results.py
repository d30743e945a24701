"""Log what was measured after a run, such as deployed variants, to its MLflow run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark.config.study import StudySettings
from benchmark.errors import TrackingError
from benchmark.runs.find import FinishedRun
from benchmark.runs.root import open_store, tracking_uri
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_store import MlflowStore


def log_results(
    study: StudySettings,
    runs: Sequence[FinishedRun],
    log: Callable[[MlflowStore, FinishedRun], None],
) -> None:
    """Call `log` for each run, which is in the store then; raises TrackingError."""
    for run in runs:
        store = MlflowStore(tracking_uri(study), run.record.spec.study, open_store(study))
        try:
            store.log_result(run.folder)
            log(store, run)
        except TrackingError:
            raise
        except Exception as error:  # database, network or MLflow errors
            raise TrackingError(
                f"{run.name}: its results could not be logged to {store.shown_uri}: "
                f"{first_line(error)}"
            ) from None
