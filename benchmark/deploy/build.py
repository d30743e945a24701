"""Build the files of a variant beside its run, unless they are there already."""

from __future__ import annotations

import datetime
import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmark.deploy.child import build_in_child
from benchmark.deploy.images import CALIBRATION_IMAGES
from benchmark.deploy.variants import ONNX, Variant, find_variant
from benchmark.errors import DeployError
from benchmark.runs.deployments import ARTIFACT, Artifact, Deployments, hashed
from benchmark.runs.find import FoundRun
from benchmark.runs.run_folder import RunFolder

FORMAT = 4
"""Version of the files' content; increase it when the same settings give other files."""
LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
MODEL = "model.onnx"


@dataclass(frozen=True)
class BuildOptions:
    """Settings of quantization."""

    max_drop: float | None = None
    """Points of validation accuracy that int8 may lose in OpenVINO; None for no limit."""


def build_artifact(found: FoundRun, variant: Variant, options: BuildOptions) -> Artifact:
    """Build the files of a variant in a child process; reuse them if nothing has changed.

    Raises DeployError if a library is missing, or the variant cannot be built.
    """
    if missing := variant.missing():
        raise DeployError(missing)
    deployments = Deployments(found.folder.path)
    settings = _settings(variant, options)
    # The code of a plug-in may have changed, so its files are always built again.
    for known in deployments.artifacts(variant.name) if variant.module else ():
        if known.settings == settings and deployments.is_whole(known):
            return known
    onnx = None
    if variant.from_onnx:
        made = build_artifact(found, find_variant(ONNX), options)
        onnx = deployments.folder(made) / MODEL
    try:
        return _build(found, variant, settings, onnx, options)
    except OSError as error:
        raise DeployError(
            f"{deployments.path}: cannot be written: {error.strerror or error}"
        ) from None


def _build(
    found: FoundRun,
    variant: Variant,
    settings: dict[str, str],
    onnx: Path | None,
    options: BuildOptions,
) -> Artifact:
    deployments = Deployments(found.folder.path)
    deployments.path.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=deployments.path, prefix=".") as temporary:
        unfinished = Path(temporary, variant.name)
        unfinished.mkdir()
        built = build_in_child(
            {
                "variant": variant.name,
                "run": str(found.folder.path.absolute()),
                "folder": str(unfinished.absolute()),
                "onnx": None if onnx is None else str(onnx.absolute()),
                "max_drop": options.max_drop,
            }
        )
        files, size = hashed(unfinished)
        if not files:
            raise DeployError(f"variant {variant.name} wrote no file")
        artifact = Artifact(
            run_id=found.record.run_id,
            variant=variant.name,
            title=built["title"],
            precision=built["precision"],
            base=variant.base,
            settings=settings,
            files=files,
            size_bytes=size,
            built_at=now(),
        )
        target = deployments.folder(artifact)
        target.mkdir(parents=True, exist_ok=True)
        for name in files:  # the same files may be there, damaged
            (unfinished / name).replace(target / name)
        RunFolder(target).write(ARTIFACT, artifact)
    return artifact


def _settings(variant: Variant, options: BuildOptions) -> dict[str, str]:
    """Everything but the run that the files depend on."""
    settings = {"format": str(FORMAT)}
    for name in LIBRARIES:
        try:
            settings[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            settings[name] = "none"
    if variant.name.endswith("int8"):
        settings["calibration_images"] = str(CALIBRATION_IMAGES)
    if variant.name == "openvino-int8" and options.max_drop is not None:
        settings["max_drop"] = f"{options.max_drop:g}"
    return settings


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
