"""Get or create the MLflow experiment of a study; safe for concurrent drivers."""

from __future__ import annotations

from typing import Any

from benchmark.errors import TrackingError

# Makes MLflow's UI show trained models, not traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def open_experiment(client: Any, study: str, place: str | None, shown_uri: str) -> str:
    """Return the id of the study's experiment, which is created if it does not exist.

    `place` is the artifact location; None leaves it to the server. Raises TrackingError if the
    experiment was deleted.
    """
    found = client.get_experiment_by_name(study)
    if found is None:
        try:
            return str(client.create_experiment(study, place, KIND))
        except Exception:  # another driver may have created it meanwhile
            found = client.get_experiment_by_name(study)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {study!r} in {shown_uri} is deleted; restore it "
            f"(mlflow experiments restore -x {found.experiment_id}) or rename the study"
        )
    return str(found.experiment_id)
