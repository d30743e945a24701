"""Formats of kits and their results. Everything read from outside is validated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmark.deploy.variants import PackedRuntime
from benchmark.runs.deployments import (
    Device,
    Milliseconds,
    Name,
    Sha256,
    Share,
    Text,
    Throughput,
)
from clothclf.settings import Settings

KIT = "kit.json"
SCRIPT = "__main__.py"
"""Name of the script in the kit; `python kit.zip` runs it."""
MAX_RESULT_BYTES = 64 * 2**20
"""Maximum size of a result file in bytes."""

Member = tuple[str, Sha256]
"""Name of a file in the kit, and its SHA-256."""


class KitArtifact(Settings):
    """One artifact in a kit."""

    variant: Name
    runtime: PackedRuntime
    sha256: Sha256
    files: dict[str, Member]
    """Member of the kit for each file of the artifact, by its name."""


class KitRun(Settings):
    """One run in a kit."""

    run_id: str
    name: str
    images: Member
    """Array uint8 [n, size, size, 3], resized."""
    encoded: tuple[Member, ...]
    """The same kind of images, as encoded files."""
    artifacts: tuple[KitArtifact, ...]


class Kit(Settings):
    """`kit.json`: contents of a kit. Its hash names the kit."""

    version: Literal[1] = 1
    images: str
    """Description of the images."""
    encoded_image: str
    """Description of the encoded images."""
    runs: tuple[KitRun, ...]


class Expected(Settings):
    """Predictions of one artifact for the images of a kit, computed when it was packed."""

    artifact: Sha256
    precision: str
    probabilities: tuple[tuple[float, ...], ...]
    """Probabilities [n, classes]."""


class PackedKit(Settings):
    """Data stored with the run when a kit is packed, to verify its results."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    kit: Sha256
    run_id: str
    encoded_image: str
    expected: dict[Name, Expected]
    """By variant."""


class KitMeasurement(Settings):
    """Result of one artifact: its measurements, or the reason why there are none."""

    run_id: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
    variant: Name
    artifact: Sha256
    error: Text = ""
    runtime: Text = ""
    load_s: float | None = Field(default=None, gt=0, le=1e5)
    memory_bytes: int | None = Field(default=None, ge=0, le=2**50)
    latency_ms: tuple[Milliseconds, ...] = Field(default=(), max_length=5000)
    encoded_ms: tuple[Milliseconds, ...] = Field(default=(), max_length=5000)
    throughput: Throughput = Field(default={}, max_length=20)
    predictions: tuple[tuple[Share, ...], ...] = Field(default=(), max_length=5000)


class KitResult(Settings):
    """The file that a kit writes on a device."""

    version: Literal[1]
    kit: Sha256
    device: Device
    results: tuple[KitMeasurement, ...] = Field(max_length=1000)
