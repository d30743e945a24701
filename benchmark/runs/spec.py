"""From a study to its runs: one architecture and one seed each, with an identity of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from benchmark.config.study import StudySettings
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
    identity,
)

PROTOCOL_VERSION = 2
"""Raise it when the same settings would give other numbers: older runs are then not reused."""
STANDARDIZING = "clipped"
"""How features are standardised: change it, and only runs that do so are new ones."""
OF_EACH_RUN = "of each run"
"""In place of the size in a protocol whose runs have several, so that they are compared."""


class TeacherRun(Settings):
    """A finished run whose answers others learn; its run_id stands for all of its numbers."""

    run_id: str
    folder: Path
    """Of the run; where it lies is not part of anything's identity."""


class RunSpec(Settings):
    """All that one run needs; it travels to the run's process as JSON."""

    study: str
    architecture: str
    head: HeadSettings
    seed: int
    data: DataSettings
    image_size: int
    """Side of its square images, in pixels; `data.image_size` where that is one number."""
    several_sizes: bool = False
    """Whether runs of other sizes stand beside it; the size is then part of its name."""
    data_summary: DataSummary
    model: ModelSettings
    train: TrainSettings
    weights: Weights
    teachers: tuple[TeacherRun, ...] = ()
    """Those that `train.teacher.runs` lists, there by their run_ids."""
    device: str
    pixels: Path
    """The decoded images; a cache, not part of the identity."""
    cache: Path
    """Below it a frozen backbone's features are kept; not part of the identity either."""
    precision: Precision
    """Of the backbone's arithmetic: what `model.precision` asks for, or what its probe chose."""
    save_weights: str
    measure: bool
    count: bool = True
    """Count what the network costs; a probe of a selection leaves it to the runs that stay."""
    evaluate: Literal["test", "valid"] = "test"
    """The split whose predictions are kept and evaluated at the end. A probe of a selection leaves
    the test split alone: `RunRecord.test` is then of the validation images."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Told to MLflow beside its own; they name no run."""
    source_sha256: str = ""
    """Of the file of an architecture that is named `module:function`; empty for timm's."""

    @model_validator(mode="before")
    @classmethod
    def _size_of_the_data(cls, values: Any) -> Any:
        """Specs were written without a size of their own when all had that of the data."""
        if not isinstance(values, dict) or "image_size" in values:
            return values
        data = values.get("data")
        size = data.get("image_size") if isinstance(data, dict) else getattr(data, "image_size", 0)
        return {**values, "image_size": size}

    @property
    def run_id(self) -> str:
        """Hash of all that changes the numbers: settings, data, weights, protocol."""
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

    @property
    def protocol_id(self) -> str:
        """Hash of how all runs of a comparison are made; see `protocol_settings`."""
        size = OF_EACH_RUN if self.several_sizes else self.image_size
        return _hash(protocol_settings(size, self.model, self.train))

    @property
    def name(self) -> str:
        """For people: architecture and seed, and head and size where they are not the plain one."""
        hidden = "" if self.head.hidden is None else f"-h{self.head.hidden}"
        size = f"-{self.image_size}px" if self.several_sizes else ""
        return f"{self.architecture}{hidden}{size}-s{self.seed}"


def protocol_settings(
    image_size: int | str, model: ModelSettings, train: TrainSettings
) -> dict[str, Any]:
    """What runs must share to be compared, apart from the data themselves.

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
    """List the runs of a study: every architecture (names, no wildcards) with every seed.

    Each has its own size, in pixels, or that of the study where it is one number; `pixels` may be
    by size. Where the study leaves the precision to a probe, it is float32 until that was made.
    Its `teachers` are named by their run_ids, in the study too.
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
    from clothclf.models.own import source_sha256

    return source_sha256(architecture)


def _size(study: StudySettings, entry: ArchitectureSettings) -> int:
    size = entry.image_size or study.data.image_size
    if not isinstance(size, int):
        raise ValueError(f"{entry.name}: its size in pixels has not been worked out: {size}")
    return size


def cost_request(spec: RunSpec) -> CostRequest:
    """What is to be counted and measured of a run: its network, with its head and classes."""
    return CostRequest(
        architecture=spec.architecture,
        image_size=spec.image_size,
        classes=len(spec.data_summary.classes),
        head=spec.head,
        frozen=spec.model.mode == "frozen",
        standardize=spec.model.standardize_features,
    )


def folder_name(spec: RunSpec) -> str:
    """Name of a run's folder: readable, and unique by its run_id."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", spec.name)[:80]
    return f"{readable}-{spec.run_id}"


def _hash(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
