"""Get or create the MLflow experiment of a study; safe for concurrent drivers."""

from __future__ import annotations

from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.comparison_view import address
from benchmark.tracking.run_fields import NOTE_TAG

# Makes MLflow's UI show trained models, not traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
MAX_NOTE = 4500
"""Maximum characters of a description's text; servers before 3.17 take 5,000 in a tag."""
OWN = "Written with each report of bench; without this line, your own text is kept."
"""Last line of a description that is replaced."""


def open_experiment(client: Any, study: str, artifact_location: str | None, shown_uri: str) -> str:
    """Return the id of the study's experiment, which is created if it does not exist.

    None as `artifact_location` leaves it to the server. Raises TrackingError if the experiment was
    deleted.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        try:
            return str(client.create_experiment(study, artifact_location, KIND))
        except Exception:  # another driver may have created it
            experiment = client.get_experiment_by_name(study)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {study!r} in {shown_uri} is deleted; restore it "
            f"(mlflow experiments restore -x {experiment.experiment_id}) or rename the study"
        )
    return str(experiment.experiment_id)


def describe_experiment(client: Any, experiment_id: str, note: str) -> None:
    """Set the experiment's description, with a link to its comparison, unless a user wrote one."""
    link = f"[Comparison of the runs]({address('', experiment_id).lstrip('/')})"
    text = f"{note}\n\n{link}\n\n{OWN}"
    present = client.get_experiment(experiment_id).tags.get(NOTE_TAG, "")
    if text != present and (not present or present.endswith(OWN)):
        client.set_experiment_tag(experiment_id, NOTE_TAG, text)


def search_runs(client: Any, experiment_id: str, filter_string: str) -> list[Any]:
    """Return all MLflow runs of an experiment that match a filter, newest first."""
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], filter_string=filter_string, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
