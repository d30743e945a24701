"""Deployed variants of a run: files, accuracy and cost, stored in the folder `deploy` of the run.

`deploy/VARIANT/HASH/` holds the files of one variant, `artifact.json`, its predictions, and one
file for each device it was measured on. `deploy/accuracy.json` compares all variants with the run.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmark.runs.run_folder import RunFolder
from clothclf.cost.measure.effort import percentile
from clothclf.cost.measure.median import median_interval
from clothclf.data.atomic import file_sha256
from clothclf.settings import Settings

DEPLOY = "deploy"
"""Folder of all variants in a run's folder."""
ARTIFACT = "artifact.json"
PREDICTIONS = "predictions.parquet"
ACCURACY = "accuracy.json"
DEVICES = "devices"
KITS = "kits"
HERE = "local"
"""Name of the machine that measured, unless the user gives another."""
NAME = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}"
"""Pattern of names of devices and variants, which are also names of files."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, le=1e7)]
Throughput = dict[Annotated[int, Field(ge=1, le=100_000)], Annotated[float, Field(gt=0, le=1e8)]]
"""Images per second by batch size."""
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Text = Annotated[str, Field(max_length=300)]


class Artifact(Settings):
    """Files of one variant, and how they were made."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    variant: Name
    title: Text
    """Runtime and precision in words, such as `int8 in ONNX Runtime`."""
    precision: Text
    """Precision of the arithmetic: float32, bfloat16 or int8."""
    base: Name
    """Variant whose speed it is compared with: the same runtime in float32, or torch."""
    settings: dict[str, str]
    """What the files depend on besides the run: settings, versions of libraries."""
    files: dict[str, Sha256]
    """SHA-256 of each file by name."""
    size_bytes: int
    built_at: str
    """Time in UTC, ISO 8601."""

    @property
    def sha256(self) -> str:
        """Hash of all files."""
        return files_sha256(self.files)


def files_sha256(files: Mapping[str, str]) -> str:
    """Hash names and hashes of files, in any order."""
    lines = "\n".join(f"{name} {sha256}" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


class Device(Settings):
    """Device that a variant was measured on; figures are comparable on the same one."""

    name: Name
    processor: Text
    system: Text
    cores: int = Field(ge=1, le=4096)
    """Number of CPU cores that the process could use."""
    threads: int = Field(ge=1, le=4096)
    """Number of threads that the runtime was given."""


class Timing(Settings):
    """Measured cost of one artifact on one device."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    variant: Name
    artifact: Sha256
    device: Device
    runtime: Text
    """Library and version, such as `onnxruntime 1.20.1`."""
    load_s: float = Field(gt=0, le=1e5)
    """From the import of the runtime to the first prediction, in seconds."""
    latency_ms: tuple[Milliseconds, ...] = Field(min_length=1, max_length=5000)
    """Time of each prediction of one decoded image, in milliseconds, in order."""
    encoded_ms: tuple[Milliseconds, ...] = Field(default=(), max_length=5000)
    """The same from an encoded image: decode, resize and predict; empty if not measured."""
    encoded_image: Text = ""
    """Description of the encoded images, such as `JPEG, 60 x 80 px`."""
    throughput: Throughput = Field(min_length=1)
    """Images per second by batch size."""
    memory_bytes: int | None = Field(default=None, ge=0, le=2**50)
    """Growth of the peak resident memory by runtime, artifact and prediction of single images."""
    busy: Text = ""
    """Why the figures should not be ranked, in words; empty if the machine was otherwise idle."""
    note: Text = ""
    """Instructions that the processor lacks, in words; empty if there are none."""
    measured_at: str

    @property
    def latency_ms_median(self) -> float:
        """Median latency of one decoded image in milliseconds."""
        return statistics.median(self.latency_ms)

    @property
    def latency_ms_interval(self) -> tuple[float, float] | None:
        """95 % interval of the median latency; None if there are too few passes."""
        return median_interval(self.latency_ms)

    @property
    def latency_ms_p95(self) -> float:
        """95th percentile of the latency in milliseconds."""
        return percentile(self.latency_ms, 0.95)

    @property
    def encoded_ms_median(self) -> float | None:
        """Median latency from an encoded image in milliseconds; None if not measured."""
        return statistics.median(self.encoded_ms) if self.encoded_ms else None

    @property
    def best_batch(self) -> int:
        """Batch size with the highest throughput."""
        return max(self.throughput, key=lambda batch: self.throughput[batch])

    @property
    def images_per_second(self) -> float:
        """Highest throughput in images per second."""
        return self.throughput[self.best_batch]


class VariantAccuracy(Settings):
    """Test accuracy of a variant, paired with the run's own float32 predictions."""

    artifact: Sha256
    predictions: Sha256
    """SHA-256 of the file of predictions."""
    accuracy: Share
    macro_f1: Share
    calibration_error: Share
    """Expected calibration error."""
    difference: float
    """Accuracy of the variant minus that of float32, 0 to 1."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    mcnemar_p: Share
    """Exact McNemar test, adjusted for the run's variants (Holm)."""
    only_run: int
    """Images that only float32 predicts correctly."""
    only_variant: int
    other_class: int
    """Images for which the variant predicts another class than float32."""
    problem: str = ""
    """Why the variant cannot be used, in words; empty if it can."""


class Accuracies(Settings):
    """Test accuracies of all variants of a run."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    images: int
    """Number of test images."""
    reference: Sha256
    """Artifact of variant `torch`, whose float32 predictions are the run's."""
    accuracy: Share
    """Test accuracy of the run in float32."""
    variants: dict[Name, VariantAccuracy]


@dataclass(frozen=True)
class Deployed:
    """One variant of a run on one device."""

    artifact: Artifact
    timing: Timing
    accuracy: VariantAccuracy | None
    """None if the test accuracy of these files is not known."""


class Deployments:
    """The folder `deploy` of one run."""

    def __init__(self, run: Path) -> None:
        """Use the folder of a run, which need not have variants."""
        self.path = run / DEPLOY
        self._files = RunFolder(self.path)

    def folder(self, artifact: Artifact) -> Path:
        """Return the folder of an artifact."""
        return self.path / artifact.variant / artifact.sha256[:16]

    def artifacts(self, variant: str | None = None) -> list[Artifact]:
        """Return the readable artifacts, of one variant or of all, the newest first."""
        paths = sorted(self.path.glob(f"{variant or '*'}/*/{ARTIFACT}"))
        readable = [(RunFolder(path.parent).read(ARTIFACT, Artifact), path) for path in paths]
        known = [
            artifact
            for artifact, path in readable
            if artifact is not None and self.folder(artifact) == path.parent
        ]
        return sorted(known, key=lambda artifact: artifact.built_at, reverse=True)

    def is_whole(self, artifact: Artifact) -> bool:
        """Return whether all files of an artifact are as they were built; reads them."""
        folder = RunFolder(self.folder(artifact))
        return all(folder.has(name, sha256) for name, sha256 in artifact.files.items())

    def accuracies(self) -> Accuracies | None:
        """Return the accuracies of all variants; None if they are missing or damaged."""
        return self._files.read(ACCURACY, Accuracies)

    def write_accuracies(self, accuracies: Accuracies) -> None:
        """Store the accuracies of all variants."""
        self._files.write(ACCURACY, accuracies)

    def write_timing(self, artifact: Artifact, timing: Timing) -> Path:
        """Store a measurement, replacing an earlier one on the same device; return its path."""
        folder = self.folder(artifact) / DEVICES
        folder.mkdir(exist_ok=True)
        name = f"{file_name(timing.device.name)}.json"
        RunFolder(folder).write(name, timing)
        return folder / name

    def timings(self, artifact: Artifact) -> Iterator[Timing]:
        """Iterate over the measurements of an artifact, by device."""
        folder = RunFolder(self.folder(artifact) / DEVICES)
        for path in sorted(folder.path.glob("*.json")):
            timing = folder.read(path.name, Timing)
            if timing is not None and timing.artifact == artifact.sha256:
                yield timing

    def all(self) -> list[Deployed]:
        """Return the newest measured artifact of each variant on each device."""
        accuracies = self.accuracies()
        known = {} if accuracies is None else accuracies.variants
        newest: dict[tuple[str, str], Deployed] = {}
        for artifact in self.artifacts():
            accuracy = known.get(artifact.variant)
            if accuracy is not None and accuracy.artifact != artifact.sha256:
                accuracy = None
            for timing in self.timings(artifact):
                key = (timing.device.name, artifact.variant)
                newest.setdefault(key, Deployed(artifact, timing, accuracy))
        return sorted(newest.values(), key=_reference_first)


def _reference_first(item: Deployed) -> tuple[str, bool, str]:
    artifact = item.artifact
    return item.timing.device.name, artifact.variant != artifact.base, artifact.variant


def file_name(name: str) -> str:
    """Return the name of a device's file; names that differ only in case share it."""
    return re.sub(r"[^a-z0-9._-]", "-", name.lower())


def hashed(folder: Path) -> tuple[dict[str, str], int]:
    """Return the SHA-256 of each file in a folder by name, and their total size in bytes."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    sizes = [path.stat().st_size for path in paths]
    return {path.name: file_sha256(path) for path in paths}, sum(sizes)
