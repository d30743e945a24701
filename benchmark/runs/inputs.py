"""What a run trains: its network and its images, the same in every process of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from benchmark.runs import folder as files
from benchmark.runs.folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.data.shard import ALL, Shard
from clothclf.data.splits import SPLITS
from clothclf.device import has_room_for
from clothclf.errors import ArchitectureError
from clothclf.models.build import build_classifier
from clothclf.models.own import source_sha256

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier


def open_splits(spec: RunSpec, folder: RunFolder) -> dict[str, SplitImages]:
    """All splits of a run's images, which share the array of pixels."""
    manifest = pd.read_parquet(folder.path / files.MANIFEST)
    pixels = open_pixels(spec.pixels)
    classes = spec.data_summary.classes
    return {name: SplitImages.open(manifest, classes, pixels, name) for name in SPLITS}


def build_from(spec: RunSpec) -> Classifier:
    """The classifier of a run, on the CPU.

    Raises ArchitectureError where the run's own architecture is not the code that it was; that is
    then not run.
    """
    if spec.source_sha256 and source_sha256(spec.architecture) != spec.source_sha256:
        raise ArchitectureError(
            f"architecture {spec.architecture!r}: its file is not what it was when the run was "
            "planned; run it again, or put the old file back"
        )
    return build_classifier(
        spec.architecture,
        spec.head,
        spec.model,
        len(spec.data_summary.classes),
        spec.image_size,
        spec.weights,
        spec.seed,
        spec.precision,
    )


def make_batches(
    spec: RunSpec,
    splits: dict[str, SplitImages],
    classifier: Classifier,
    device: torch.device,
    shard: Shard = ALL,
) -> ImageBatches:
    """The images as a process's share of the run's batches."""
    return ImageBatches(
        splits,
        classifier.normalization,
        spec.train.augment,
        spec.train.batch_size,
        spec.seed,
        device,
        resident=has_room_for(splits["train"].pixels.nbytes, device),
        sampling=spec.train.sampling,
        shard=shard,
    )
