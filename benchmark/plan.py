"""From a study to its runs: one architecture and one seed each, with an identity of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.study import StudySettings
from clothclf.cost.count import CostRequest
from clothclf.errors import ArchitectureError
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


class RunSpec(Settings):
    """All that one run needs; it travels to the run's process as JSON."""

    study: str
    architecture: str
    head: HeadSettings
    seed: int
    data: DataSettings
    data_summary: DataSummary
    model: ModelSettings
    train: TrainSettings
    weights: Weights
    device: str
    pixels: Path
    """The decoded pictures; a cache, not part of the identity."""
    cache: Path
    """Below it a frozen body's features are kept; not part of the identity either."""
    precision: Precision
    """Of the body's arithmetic: what `model.precision` asks for, or what its probe chose."""
    save_weights: str
    measure: bool
    count: bool = True
    """Count what the network costs; a probe of a selection leaves it to the runs that stay."""
    tags: dict[str, str] = {}
    """Told to MLflow beside its own; they name no run."""

    @property
    def run_id(self) -> str:
        """Hash of all that changes the numbers: settings, data, weights, protocol."""
        return _hash(
            {
                "protocol": self.protocol_id,
                "data": self.data_summary.fingerprint,
                "architecture": self.architecture,
                "head": identity(self.head),
                "weights": [self.weights.origin, self.weights.sha256],
                "precision": self.precision,
                "seed": self.seed,
            }
        )

    @property
    def protocol_id(self) -> str:
        """Hash of how all runs of a comparison are made; see `protocol_settings`."""
        return _hash(protocol_settings(self.data, self.model, self.train))

    @property
    def name(self) -> str:
        """For people: architecture and seed, and the head where it is not the plain one."""
        hidden = "" if self.head.hidden is None else f"-h{self.head.hidden}"
        return f"{self.architecture}{hidden}-s{self.seed}"


def protocol_settings(
    data: DataSettings, model: ModelSettings, train: TrainSettings
) -> dict[str, Any]:
    """What runs must share to be compared, apart from the data themselves."""
    return {
        "version": PROTOCOL_VERSION,
        "image_size": data.image_size,
        "mode": model.mode,
        "batch_norm": model.batch_norm,
        "precision": model.precision,
        "standardize_features": model.standardize_features,
        "train": identity(train),
    }


def choose_architectures(
    study: StudySettings, asked: Sequence[str]
) -> tuple[ArchitectureSettings, ...]:
    """The architectures to run: those asked for, with the study's own heads where it names them."""
    if not asked:
        return study.architectures
    named = {entry.name: entry for entry in study.architectures}
    return tuple(named.get(name) or _named(name) for name in asked)


def _named(name: str) -> ArchitectureSettings:
    try:
        return ArchitectureSettings(name=name)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise ArchitectureError(f"architecture {name[:80]!r} is no name: {reason}") from None


def make_plan(
    study: StudySettings,
    architectures: Sequence[ArchitectureSettings],
    data_summary: DataSummary,
    pixels: Path,
    cache: Path,
    weights: Mapping[str, Weights],
) -> list[RunSpec]:
    """List the runs of a study: every architecture (names, no wildcards) with every seed.

    Where the study leaves the precision to a probe, it is float32 until that has been made.
    """
    precision = "float32" if study.model.precision == "auto" else study.model.precision
    return [
        RunSpec(
            study=study.study,
            architecture=entry.name,
            head=entry.head or study.model.head,
            seed=seed,
            data=study.data,
            data_summary=data_summary,
            model=study.model,
            train=study.train,
            weights=weights[entry.name],
            device=study.device,
            pixels=pixels,
            cache=cache,
            precision=precision,
            save_weights=study.tracking.weights,
            measure=study.measure,
        )
        for entry in architectures
        for seed in study.seeds
    ]


def cost_request(spec: RunSpec) -> CostRequest:
    """What is to be counted and measured of a run: its network, with its head and classes."""
    return CostRequest(
        architecture=spec.architecture,
        image_size=spec.data.image_size,
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
