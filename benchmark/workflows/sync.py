"""Log the run folders of a study to the MLflow store, for example to a new one."""

from __future__ import annotations

from benchmark.config.study import StudySettings
from benchmark.errors import TrackingError
from benchmark.runs.root import open_store, tracking_uri
from benchmark.runs.run_folder import study_folders
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_store import MlflowStore


def sync_store(study: StudySettings) -> tuple[int, int]:
    """Log every ended run that the store lacks; return the numbers of logged and known runs.

    Raises TrackingError if the store cannot be used or fails.
    """
    root = open_store(study)
    uri = tracking_uri(study)
    store = MlflowStore(uri, study.study, root)
    logged = known = 0
    for folder in study_folders(root, study.study):
        if folder.record() is None and folder.failure() is None:
            continue
        try:
            if store.log_result(folder):
                logged += 1
            else:
                known += 1
        except Exception as error:  # database, network or MLflow errors
            raise TrackingError(
                f"{folder.path}: could not be logged to MLflow: {first_line(error)}; {logged} "
                "runs were logged; run the same command again to log the rest"
            ) from None
    return logged, known
