"""Add the result of a kit to the runs that it measured, after verifying it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from benchmark.config.study import StudySettings
from benchmark.deploy import problems
from benchmark.deploy.build_variant import now
from benchmark.deploy.deploy import DeployedRun
from benchmark.deploy.kit_files import (
    MAX_RESULT_BYTES,
    Expected,
    KitMeasurement,
    KitResult,
    PackedKit,
)
from benchmark.errors import DeployError
from benchmark.runs.deployments import HERE, KITS, Artifact, Deployments, Device, Timing
from benchmark.runs.find import FinishedRun, find_run
from benchmark.runs.run_folder import RunFolder
from clothclf.bounded_file import read_at_most
from clothclf.settings.validation_errors import describe_error, details_of

ROUNDING = 1e-3
"""Maximum difference in probability between devices that compute in float32."""
CLEAR = 0.2
"""Lead of the predicted class over the next one, in probability, that low precision keeps."""
MAX_DIFFERENCE = 0.05
"""Maximum mean difference of the predictions of two devices in low precision, 0 to 1."""

Notify = Callable[[str], None]


def merge(study: StudySettings, path: Path, notify: Notify) -> list[DeployedRun]:
    """Store the measurements in a result file beside their runs, and return those runs.

    Nothing is stored unless the whole file is valid. Raises DeployError, in one sentence, if it is
    not a result, belongs to no kit that was packed here, or its predictions are not those of the
    packed artifacts.
    """
    result = read_result(path)
    accepted: list[tuple[FinishedRun, Artifact, Timing]] = []
    skipped: dict[str, dict[str, str]] = {}
    for item in result.results:
        run, kit = _packed(study, path, result, item)
        if item.error:
            skipped.setdefault(item.run_id, {})[item.variant] = item.error
            notify(f"{result.device.name}: skipped {item.variant}: {item.error}")
            continue
        artifact = _verify(path, item, kit, run)
        timing = _timing(item, result.device, kit)
        accepted.append((run, artifact, timing))
    if not accepted:
        raise DeployError(f"{path}: contains no measurement")
    for run, artifact, timing in accepted:
        Deployments(run.folder.path).write_timing(artifact, timing)
    runs = {run.record.run_id: run for run, _, _ in accepted}
    return [_merged(run, skipped.get(run_id, {})) for run_id, run in runs.items()]


def read_result(path: Path) -> KitResult:
    """Read a result file; raises DeployError if it is too large, no result, or out of range."""
    try:
        content = read_at_most(path, MAX_RESULT_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise DeployError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DeployError(f"{path}: is not the result of a kit: it is not text") from None
    if len(content) > MAX_RESULT_BYTES:
        raise DeployError(f"{path}: is larger than {MAX_RESULT_BYTES / 2**20:g} MiB")
    try:
        result = KitResult.from_json(text)
    except ValidationError as error:
        key, what = describe_error(details_of(error)[0], KitResult)
        where = f"{key}: " if key else ""
        raise DeployError(f"{path}: is not a valid result of a kit: {where}{what}") from None
    if result.device.name.lower() == HERE:
        raise DeployError(
            f"{path}: {HERE!r} is the name of this machine; run the kit with another --name"
        )
    return result


def _packed(
    study: StudySettings, path: Path, result: KitResult, item: KitMeasurement
) -> tuple[FinishedRun, PackedKit]:
    """Find the run of a measurement, and the data stored when its kit was packed."""
    run = find_run(item.run_id, lambda: study)
    folder = RunFolder(Deployments(run.folder.path).path / KITS)
    kit = folder.read(f"{result.kit}.json", PackedKit)
    if kit is None or kit.run_id != run.record.run_id or kit.run_id != item.run_id:
        raise DeployError(
            f"{path}: belongs to no kit that was packed for run {run.name}: its kit has the "
            f"hash {result.kit[:16]}…; pack a new kit, or give the study it was packed from with -c"
        )
    return run, kit


def _verify(path: Path, item: KitMeasurement, kit: PackedKit, run: FinishedRun) -> Artifact:
    """Return the artifact that was measured; raises DeployError if the result is not of it."""
    where = f"{path}: {run.record.spec.name}, {item.variant}"
    expected = kit.expected.get(item.variant)
    if expected is None or expected.artifact != item.artifact:
        raise DeployError(f"{where}: the hash of its artifact is not that of the packed one")
    if item.load_s is None or not item.latency_ms or not item.throughput or not item.runtime:
        raise DeployError(f"{where}: has neither an error nor all of its measurements")
    if why := _disagreement(item, expected):
        raise DeployError(
            f"{where}: its predictions are not those of the artifact: {why}; the result or the "
            "artifact has changed, or the device computes this precision otherwise"
        )
    for artifact in Deployments(run.folder.path).artifacts(item.variant):
        if artifact.sha256 == item.artifact:
            return artifact
    raise DeployError(f"{where}: its artifact is no longer stored beside the run")


def _disagreement(item: KitMeasurement, expected: Expected) -> str:
    """How predictions differ from the artifact's by more than rounding; empty if they do not."""
    own = np.array(expected.probabilities, dtype=np.float32)
    lengths = {len(row) for row in item.predictions}
    if len(item.predictions) != len(own) or lengths != {own.shape[1]}:
        return f"they are not {own.shape[0]} x {own.shape[1]} numbers"
    theirs = np.array(item.predictions, dtype=np.float32)
    if np.abs(theirs.sum(axis=1) - 1).max() > 10 * ROUNDING:
        return "they do not add up to 1"
    if expected.precision == "float32":
        largest = float(np.abs(own - theirs).max())
        return f"probabilities differ by up to {largest:.2g}" if largest > ROUNDING else ""
    others = problems.other_classes(theirs, own, CLEAR)
    difference = problems.difference_to_float32(theirs, own)
    if others or difference > MAX_DIFFERENCE:
        return (
            f"{others} of {len(own)} images clearly have another class, and the mean difference in "
            f"probability is {difference:.2g}"
        )
    return ""


def _timing(item: KitMeasurement, device: Device, kit: PackedKit) -> Timing:
    values = item.model_dump(exclude={"error", "predictions"})
    return Timing(
        **values,
        device=device,
        encoded_image=kit.encoded_image if item.encoded_ms else "",
        measured_at=now(),
    )


def _merged(run: FinishedRun, skipped: dict[str, str]) -> DeployedRun:
    deployments = Deployments(run.folder.path)
    accuracies = deployments.accuracies()
    if accuracies is None:
        raise DeployError(f"{deployments.path}: has no accuracies; run `bench deploy` again")
    return DeployedRun(run, accuracies, deployments.all(), skipped)
