"""Build the network and open the images of a run, identically in each of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from benchmark.runs import run_folder as files
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.data.shard import ALL, Shard
from clothclf.data.splits import SPLITS
from clothclf.device import has_room_for
from clothclf.errors import ArchitectureError, DataError
from clothclf.models.build import build_classifier
from clothclf.models.custom import source_sha256

if TYPE_CHECKING:
    from clothclf.data.pixels import Note
    from clothclf.models.classifier import Classifier


def open_splits(spec: RunSpec, folder: RunFolder, note: Note) -> dict[str, SplitImages]:
    """Open all splits of a run's images, which share one array of pixels.

    If the array is missing or damaged, now or when it is read, the images are decoded again and
    `note` is called with a message. Raises DataError if the images have changed.
    """
    manifest = pd.read_parquet(folder.path / files.MANIFEST)
    pixels = open_pixels(spec.pixels, lambda: decode_again(spec, manifest, note))
    classes = spec.data_summary.classes
    return {name: SplitImages.open(manifest, classes, pixels, name) for name in SPLITS}


def decode_again(spec: RunSpec, manifest: pd.DataFrame, note: Note) -> Path:
    """Decode a run's images again; return the path. Raises DataError if the data have changed."""
    from clothclf.data.prepare import prepare  # slow to import, and rarely needed

    note(f"{spec.name}: the decoded images are missing or damaged; decoding them again")
    settings = spec.data.model_copy(update={"image_size": spec.image_size})
    data = prepare(settings, spec.cache)
    same_rows = data.manifest["pixel_row"].tolist() == manifest["pixel_row"].tolist()
    if data.summary.fingerprint != spec.data_summary.fingerprint or not same_rows:
        raise DataError(
            f"{spec.name}: the images have changed since the run was planned; run the study again"
        )
    return data.pixels


def build_from(spec: RunSpec) -> Classifier:
    """Build the classifier of a run on the CPU.

    Raises ArchitectureError, before running any of its code, if the file of a `module:function`
    architecture has changed since the run was planned.
    """
    if spec.source_sha256 and source_sha256(spec.architecture) != spec.source_sha256:
        raise ArchitectureError(
            f"architecture {spec.architecture!r}: its file has changed since the run was planned; "
            "run it again, or restore the old file"
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
    """Return the batches of a run, or one process's shard of them."""
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
