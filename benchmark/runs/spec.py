"""Specifications of runs: the plan of a study, and the identity of each run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from benchmark.config.study import StudySettings
from benchmark.runs.upgrade import upgraded_spec
from clothclf.cost.count import CostRequest
from clothclf.results import DataSummary, Weights
from clothclf.settings import (
    ArchitectureSettings,
    DataSettings,
    HeadSettings,
    ModelSettings,
    Precision,
    Settings,
    TrainSettings,
    TuningSettings,
    identity,
)

PROTOCOL_VERSION = 2
"""Raise this when the same settings give other results, so that older runs are not reused."""
STANDARDIZING = "clipped"
"""Method of standardizing features. A change only invalidates runs that standardize."""
OF_EACH_RUN = "of each run"
"""Replaces the image size in the protocol if runs have several, so that they are comparable."""


class TeacherRun(Settings):
    """A finished run whose predictions others learn. Its run_id identifies its results."""

    run_id: str
    folder: Path
    """Folder of the run; not part of the identity of a run."""


class RunSpec(Settings):
    """The resolved settings of one run, sent to its process as JSON."""

    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(upgraded_spec)

    study: str
    architecture: str
    head: HeadSettings
    seed: int
    data: DataSettings
    image_size: int
    """Side of the square images in pixels; equals `data.image_size` if that is one number."""
    several_sizes: bool = False
    """Whether runs of the study differ in image size, which is then part of their names."""
    data_summary: DataSummary
    model: ModelSettings
    train: TrainSettings
    """Recipe of the study; with `tuning`, the trials choose some of its settings."""
    tuning: TuningSettings | None = None
    weights: Weights
    teachers: tuple[TeacherRun, ...] = ()
    """The runs that `train.teacher.runs` lists by run_id."""
    device: str
    pixels: Path
    """Path of the decoded images; a cache, not part of the identity."""
    cache: Path
    """Folder of caches, such as a frozen backbone's features; not part of the identity."""
    precision: Precision
    """Numeric precision of the backbone: `model.precision`, or the choice of a probe."""
    save_weights: str
    measure: bool
    count: bool = True
    """Whether to count the network's cost; False for a probe of a selection."""
    evaluate: Literal["test", "valid"] = "test"
    """Split that is evaluated at the end and whose predictions are stored. A probe of a selection
    does not use the test split: its `RunRecord.test` describes the validation split."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Additional tags for MLflow; not part of the identity."""
    source_sha256: str = ""
    """SHA-256 of the file of a `module:function` architecture; empty for timm models."""

    @model_validator(mode="before")
    @classmethod
    def _size_of_the_data(cls, values: Any) -> Any:
        """Fill in `image_size` from the data for specs from before runs had their own size."""
        if not isinstance(values, dict) or "image_size" in values:
            return values
        data = values.get("data")
        size = data.get("image_size") if isinstance(data, dict) else getattr(data, "image_size", 0)
        return {**values, "image_size": size}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> RunSpec:
        """Return a copy; unlike pydantic's, it does not keep the hashes of the original."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("run_id", "protocol_id"):
            copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def run_id(self) -> str:
        """Hash of everything that affects the results: settings, data, weights, protocol."""
        parts = {
            "protocol": self.protocol_id,
            "data": self.data_summary.fingerprint,
            "architecture": self.architecture,
            "head": identity(self.head),
            "weights": [self.weights.origin, self.weights.sha256],
            "precision": self.precision,
            "seed": self.seed,
        }
        if self.several_sizes:
            parts["image_size"] = self.image_size
        if self.source_sha256:
            parts["source"] = self.source_sha256
        if self.evaluate != "test":
            parts["evaluate"] = self.evaluate
        return _hash(parts)

    @cached_property
    def protocol_id(self) -> str:
        """Hash of `protocol_settings`, which all runs of a comparison share."""
        size = OF_EACH_RUN if self.several_sizes else self.image_size
        return _hash(protocol_settings(size, self.model, self.train, self.tuning))

    @property
    def name(self) -> str:
        """Display name: architecture and seed, with head and image size if not the default."""
        hidden = "" if self.head.hidden is None else f"-h{self.head.hidden}"
        size = f"-{self.image_size}px" if self.several_sizes else ""
        return f"{self.architecture}{hidden}{size}-s{self.seed}"


def protocol_settings(
    image_size: int | str,
    model: ModelSettings,
    train: TrainSettings,
    tuning: TuningSettings | None = None,
) -> dict[str, Any]:
    """Return the settings that comparable runs must share, besides the data.

    `image_size` is in pixels, or `OF_EACH_RUN`.
    """
    return {
        "version": PROTOCOL_VERSION,
        "image_size": image_size,
        "mode": model.mode,
        "batch_norm": model.batch_norm,
        "precision": model.precision,
        "standardize_features": STANDARDIZING if model.standardize_features else False,
        "train": identity(train),
        **({} if tuning is None else {"tuning": identity(tuning)}),
    }


def make_plan(
    study: StudySettings,
    architectures: Sequence[ArchitectureSettings],
    data_summary: DataSummary,
    pixels: Path | Mapping[int, Path],
    cache: Path,
    weights: Mapping[str, Weights],
    teachers: Sequence[TeacherRun] = (),
) -> list[RunSpec]:
    """List the runs of a study: each of `architectures` (names, no wildcards) with each seed.

    An entry without an image size uses that of the study. `pixels` is one path or one per size in
    pixels. A precision of `auto` is float32 here; a probe decides it later. The study must name
    `teachers` by run_id.
    """
    precision = "float32" if study.model.precision == "auto" else study.model.precision
    return [
        RunSpec(
            study=study.study,
            architecture=entry.name,
            head=entry.head or study.model.head,
            seed=seed,
            data=study.data,
            image_size=(size := _size(study, entry)),
            several_sizes=study.several_sizes,
            data_summary=data_summary,
            model=study.model,
            train=study.train,
            tuning=study.tuning,
            weights=weights[entry.name],
            teachers=tuple(teachers),
            device=study.device,
            pixels=pixels if isinstance(pixels, Path) else pixels[size],
            cache=cache,
            precision=precision,
            save_weights=study.tracking.weights,
            measure=study.measure,
            source_sha256=_source_sha256(entry.name),
        )
        for entry in architectures
        for seed in study.seeds
    ]


def _source_sha256(architecture: str) -> str:
    if ":" not in architecture:
        return ""
    from clothclf.models.custom import source_sha256

    return source_sha256(architecture)


def _size(study: StudySettings, entry: ArchitectureSettings) -> int:
    size = entry.image_size or study.data.image_size
    if not isinstance(size, int):
        raise ValueError(f"{entry.name}: unresolved image size: {size}")
    return size


def cost_request(spec: RunSpec) -> CostRequest:
    """Return the request to count and measure the network of a run, including its head."""
    return CostRequest(
        architecture=spec.architecture,
        image_size=spec.image_size,
        classes=len(spec.data_summary.classes),
        head=spec.head,
        frozen=spec.model.mode == "frozen",
        standardize=spec.model.standardize_features,
    )


def folder_name(spec: RunSpec) -> str:
    """Return the name of a run's folder: a readable part and the unique run_id."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", spec.name)[:80]
    return f"{readable}-{spec.run_id}"


def _hash(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
