"""What a run trains: its network and its images, the same in every process of the run."""

from __future__ import annotations

from pathlib import Path
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
from clothclf.errors import ArchitectureError, DataError
from clothclf.models.build import build_classifier
from clothclf.models.own import source_sha256

if TYPE_CHECKING:
    from clothclf.data.pixels import Note
    from clothclf.models.classifier import Classifier


def open_splits(spec: RunSpec, folder: RunFolder, note: Note) -> dict[str, SplitImages]:
    """All splits of a run's images, which share the array of pixels.

    Where that is gone or damaged, now or when it is read, the images are decoded again, and
    `note` is told. Raises DataError where they are not the same any more.
    """
    manifest = pd.read_parquet(folder.path / files.MANIFEST)
    pixels = open_pixels(spec.pixels, lambda: decode_again(spec, manifest, note))
    classes = spec.data_summary.classes
    return {name: SplitImages.open(manifest, classes, pixels, name) for name in SPLITS}


def decode_again(spec: RunSpec, manifest: pd.DataFrame, note: Note) -> Path:
    """A new file of a run's pixels; raises DataError where its data have changed."""
    from clothclf.data.prepare import prepare  # slow to import, and seldom needed

    note(f"{spec.name}: the decoded images are gone or damaged: decoding them again")
    settings = spec.data.model_copy(update={"image_size": spec.image_size})
    data = prepare(settings, spec.cache)
    same_rows = data.manifest["pixel_row"].tolist() == manifest["pixel_row"].tolist()
    if data.summary.fingerprint != spec.data_summary.fingerprint or not same_rows:
        raise DataError(
            f"{spec.name}: its images have changed since it was planned; run the study again"
        )
    return data.pixels


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
