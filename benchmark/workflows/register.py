"""Register models in the MLflow model registry, with one version per run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.config.study import StudySettings
from benchmark.errors import TrackingError
from benchmark.runs.find import FinishedRun
from benchmark.runs.root import open_store, tracking_uri
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_model import ARTIFACT
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.run_fields import RUN_ID_TAG


@dataclass(frozen=True)
class Registered:
    """Version of a registered model."""

    name: str
    version: str
    new: bool
    """Whether this call created the version."""
    uri: str
    """Model URI for `mlflow models serve -m`."""


def register(study: StudySettings, run_: FinishedRun, name: str, alias: str | None) -> Registered:
    """Register a finished run's model as a version of `name`, and set the alias.

    A run that is missing in the store is logged first. Raises TrackingError if the store cannot be
    used or rejects the name.
    """
    store = MlflowStore(tracking_uri(study), run_.record.spec.study, open_store(study))
    try:
        store.log_result(run_.folder)
        client, run = store.logged(run_.record.run_id)
        version, new = _version(client, run, run_, name)
        if alias is not None:
            client.set_registered_model_alias(name, alias, version)
    except TrackingError:
        raise
    except Exception as error:  # database, network or MLflow errors
        raise TrackingError(
            f"model {name!r} cannot be registered in {store.shown_uri}: {first_line(error)}"
        ) from None
    uri = f"models:/{name}@{alias}" if alias is not None else f"models:/{name}/{version}"
    return Registered(name, version, new, uri)


def _version(client: Any, run: Any, finished: FinishedRun, name: str) -> tuple[str, bool]:
    """Version number of the run, and whether this call created it."""
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name, {"bench.study": finished.record.spec.study})
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(RUN_ID_TAG) == finished.record.run_id:
            return str(version.version), False
    source = f"{run.info.artifact_uri}/{ARTIFACT}"
    created = client.create_model_version(
        name, source, run.info.run_id, _tags(finished), description=_description(finished)
    )
    return str(created.version), True


def _tags(run: FinishedRun) -> dict[str, str]:
    record = run.record
    macs = record.cost.macs if record.cost is not None else None
    return {
        RUN_ID_TAG: record.run_id,
        "architecture": record.spec.architecture,
        f"{record.spec.evaluate}_accuracy": f"{record.test.accuracy:.6f}",
        "data_fingerprint": record.spec.data_summary.fingerprint,
        **({} if macs is None else {"macs": str(macs)}),
    }


def _description(run: FinishedRun) -> str:
    spec = run.record.spec
    return (
        f"{spec.name} of study {spec.study}: {spec.evaluate} accuracy "
        f"{100 * run.record.test.accuracy:.2f} % on {spec.data_summary.title}, "
        f"{spec.image_size} px, {len(spec.data_summary.classes)} classes"
    )
