"""Get or create the MLflow experiment of a study; safe for concurrent drivers."""

from __future__ import annotations

from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.comparison_view import address
from benchmark.tracking.run_fields import NOTE_TAG

# Makes MLflow's UI show trained models, not traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
MAX_NOTE = 4500
"""Maximum characters of an answer in a description; servers before 3.17 take 5,000 in a tag."""
OWN = "Written with each report of bench; without this line, your own text is kept."
"""Last line of a description that is replaced."""


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


def describe_experiment(client: Any, experiment_id: str, note: str) -> None:
    """Set the experiment's description, with a link to its comparison, unless a user wrote one."""
    link = f"[Comparison of the runs]({address('', experiment_id).lstrip('/')})"
    text = f"{note}\n\n{link}\n\n{OWN}"
    present = client.get_experiment(experiment_id).tags.get(NOTE_TAG, "")
    if text != present and (not present or present.endswith(OWN)):
        client.set_experiment_tag(experiment_id, NOTE_TAG, text)
