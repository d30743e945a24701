"""A study's experiment in MLflow: found or made, also by several drivers at once."""

from __future__ import annotations

from typing import Any

from benchmark.errors import TrackingError

# Says to the pages that these are trained models, not traces of a language model.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def open_experiment(client: Any, study: str, place: str | None, shown_uri: str) -> str:
    """The id of the study's experiment; `place` is for artifacts, the server's own without.

    Raises TrackingError where it was deleted.
    """
    found = client.get_experiment_by_name(study)
    if found is None:
        try:
            return str(client.create_experiment(study, place, KIND))
        except Exception:  # another driver may have made it meanwhile
            found = client.get_experiment_by_name(study)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {study!r} in {shown_uri} is deleted; restore it "
            f"(mlflow experiments restore -x {found.experiment_id}) or rename the study"
        )
    return str(found.experiment_id)
