"""Audit the data of a study for near-duplicates, label errors and odd images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console

from benchmark.config.study import StudySettings
from benchmark.planning.architecture_names import expand, match_architectures, sized
from benchmark.planning.initial_weights import weights_of
from benchmark.runs.audits import Audit, AuditHead, Suspect, store_audit
from benchmark.runs.root import cache_folder, open_store
from benchmark.terminal.output import make_console, prepare_with_progress
from clothclf.data.audit.duplicates import LOOKED_AT, near_duplicate_groups
from clothclf.data.audit.unusual_images import measure_images
from clothclf.data.dataset import DataSet, SplitImages, open_pixels
from clothclf.data.groups import NEAR_DUPLICATE_GROUP, clusters
from clothclf.data.pixels import PixelCache
from clothclf.data.splits import SPLITS
from clothclf.errors import DataError
from clothclf.settings import ArchitectureSettings, AugmentSettings, HeadSettings, ModelSettings

if TYPE_CHECKING:
    from torch import Tensor

    from clothclf.results import Weights


REPORT_INTERVAL_S = 10.0


@dataclass(frozen=True)
class DataAudit:
    """Result of auditing a data set."""

    data: DataSet
    images: pd.DataFrame
    """Manifest columns plus near_duplicate_group, width, height, stored_mode, brightness,
    contrast and oddity for each image."""
    audit: Audit
    """Suspected label errors, as stored."""
    saved_to: Path
    """File that stores the suspects."""

    def near_duplicates(self) -> list[pd.DataFrame]:
        """Groups other than exact duplicates: those across splits first, then the largest."""
        groups = [
            group
            for _, group in self.images.groupby(NEAR_DUPLICATE_GROUP)
            if len(group) > 1 and group["pixel_hash"].nunique() > 1
        ]
        return sorted(groups, key=_by_weight)

    def conflicts(self) -> list[pd.DataFrame]:
        """Groups of exact and near-duplicates with several labels."""
        groups = [
            group
            for _, group in self.images.groupby(NEAR_DUPLICATE_GROUP)
            if len(group) > 1 and group["label"].nunique() > 1
        ]
        return sorted(groups, key=_by_weight)


def _by_weight(group: pd.DataFrame) -> tuple[int, int, str]:
    return (-group["split"].nunique(), -len(group), str(group["id"].min()))


def audit_data(study: StudySettings, architectures: Sequence[str] = ()) -> DataAudit:
    """Find near-duplicates, suspected label errors and odd images, and store the suspects.

    `architectures` (names or wildcards) provide the features for finding suspects; the default is
    the study's first. Raises UserError if the data cannot be prepared, or an architecture or its
    weights are not available.
    """
    console = make_console()
    root = open_store(study)
    backbones = [
        (entry, _weights(study, entry, console)) for entry in _entries(study, architectures)
    ]
    data = prepare_to_look(study, console)
    started = time.monotonic()
    console.print(f"searching {len(data.manifest):,} images for near-duplicates")
    images = look_at(data, cache_folder(root))
    console.print(f"checked all images in {time.monotonic() - started:.1f} s")
    audit = _find_suspects(study, backbones, images, console)
    return DataAudit(data, images, audit, store_audit(root, audit))


def prepare_to_look(study: StudySettings, console: Console) -> DataSet:
    """Prepare data at the size used for grouping near-duplicates, or at the study's size."""
    together = study.data.split.keep_near_duplicates_together
    return _at_size(study, LOOKED_AT if together else study.data.shown_size, console)


def look_at(data: DataSet, cache: Path) -> pd.DataFrame:
    """Compute `DataAudit.images` of a data set."""
    manifest, array = data.manifest, open_pixels(data.pixels)
    stored = PixelCache(data.pixels.parent).table[["width", "height", "stored_mode"]]
    rows = manifest["pixel_row"].to_numpy(dtype=np.int64)
    table: pd.DataFrame = pd.concat(
        [
            manifest.assign(
                **{NEAR_DUPLICATE_GROUP: near_duplicate_groups(manifest, array, cache)}
            ),
            stored.iloc[rows].reset_index(drop=True),
            measure_images(array, rows),
        ],
        axis=1,
    )
    return table


def describe_near_duplicates(study: StudySettings) -> str:
    """Count near-duplicates, excluding exact duplicates, in total and across splits."""
    data = prepare_to_look(study, make_console())
    cache = cache_folder(study.tracking.folder.absolute())
    groups = near_duplicate_groups(data.manifest, open_pixels(data.pixels), cache)
    by_group = data.manifest.groupby(groups).agg(
        images=("id", "size"), pixels=("pixel_hash", "nunique"), splits=("split", "nunique")
    )
    by_group = by_group[by_group["pixels"] > 1]
    across = int((by_group["splits"] > 1).sum())
    hint = "; see bench data audit" if across else ""
    return (
        f"{int(by_group['images'].sum()):,} images in {len(by_group):,} groups of near-duplicates; "
        f"{across:,} groups across splits{hint}"
    )


def _entries(study: StudySettings, names: Sequence[str]) -> list[ArchitectureSettings]:
    """The named architectures, or the study's first, each at its first size."""
    matched = match_architectures(study, names)
    entries = expand(matched) if names else expand(matched[:1])[:1]
    return [sized(study, [entry])[0] for entry in entries]


def _weights(study: StudySettings, entry: ArchitectureSettings, console: Console) -> Weights:
    weights = weights_of(study)(entry)
    if weights.note:
        console.print(f"weights are random: {weights.note}", style="yellow", markup=False)
    return weights


def _at_size(study: StudySettings, size: int, console: Console) -> DataSet:
    data = study.data.model_copy(update={"image_size": size})
    return prepare_with_progress(study.model_copy(update={"data": data}), console)


def _find_suspects(
    study: StudySettings,
    backbones: Sequence[tuple[ArchitectureSettings, Weights]],
    images: pd.DataFrame,
    console: Console,
) -> Audit:
    """Find suspected label errors from out-of-fold predictions, averaged over the backbones."""
    from clothclf.training.label_errors import FOLDS, out_of_fold

    ordered = images.iloc[_training_first(images)]
    heads: list[AuditHead] = []
    predicted: list[npt.NDArray[np.float32]] = []
    for entry, weights in backbones:
        size = entry.image_size
        if not isinstance(size, int):
            raise ValueError(f"{entry.name}: unresolved image size")
        data = _at_size(study, size, console)
        if data.manifest["id"].tolist() != images["id"].tolist():
            raise DataError("data.path: the images changed during the audit; run the command again")
        labels, folds = _folds(ordered, data.summary.classes, study.data.split.seed)
        features = _features(study, entry, data, weights, console)
        console.print(f"training cross-validation heads on features of {entry.name}")
        predicted.append(out_of_fold(features, labels, folds))
        heads.append(
            AuditHead(
                architecture=entry.name,
                image_size=size,
                weights=weights.name,
                weights_sha256=weights.sha256,
                accuracy=_accuracy(predicted[-1], labels),
            )
        )
    mean = np.mean(predicted, axis=0)
    return Audit(
        fingerprint=data.summary.fingerprint,
        title=data.summary.title,
        heads=tuple(heads),
        folds=FOLDS,
        images=len(ordered),
        accuracy=_accuracy(mean, labels),
        suspects=_suspects(predicted, mean, ordered, data.summary.classes, labels, folds),
    )


def _training_first(images: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Indices of the images in feature order."""
    return np.concatenate([np.flatnonzero(images["split"] == name) for name in SPLITS])


def _folds(
    ordered: pd.DataFrame, classes: Sequence[str], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Class numbers [n] and folds [n] of the images; groups stay in one fold."""
    from clothclf.training.label_errors import assign_folds

    numbers = {label: number for number, label in enumerate(classes)}
    labels = ordered["label"].map(numbers).to_numpy(dtype=np.int64)
    return labels, assign_folds(labels, clusters(ordered).tolist(), seed)


def _accuracy(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def _suspects(
    predicted: Sequence[npt.NDArray[np.float32]],
    mean: npt.NDArray[np.float32],
    ordered: pd.DataFrame,
    classes: Sequence[str],
    labels: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
) -> tuple[Suspect, ...]:
    """Suspects by the mean of the heads' probabilities `predicted`, most doubtful first."""
    from clothclf.training.label_errors import find_suspects, suspects_table

    by_head = np.zeros(len(labels), dtype=np.int64)
    for probabilities in predicted:
        by_head[find_suspects(probabilities, labels, folds)] += 1
    indices = find_suspects(mean, labels, folds)
    table = suspects_table(ordered, classes, mean, indices).drop(columns="rank")
    rows = table.assign(suspected_by=by_head[indices]).to_dict(orient="records")
    return tuple(Suspect.model_validate(row) for row in rows)


def _features(
    study: StudySettings,
    entry: ArchitectureSettings,
    data: DataSet,
    weights: Weights,
    console: Console,
) -> Tensor:
    """Features float32 [n, features] of all images: training, then validation, then test.

    They share the feature cache of the study's runs.
    """
    import torch

    from clothclf.data.batches import ImageBatches
    from clothclf.device import select_device
    from clothclf.models.build import build_classifier
    from clothclf.models.features import BackboneFeatures, view_count

    size, classes = data.split("train").pixels.shape[1], data.summary.classes
    frozen = ModelSettings(weights=study.model.weights)
    classifier = build_classifier(
        entry.name, HeadSettings(), frozen, len(classes), size, weights, study.seeds[0]
    )
    array, device = open_pixels(data.pixels), select_device(study.device)
    splits = {name: SplitImages.open(data.manifest, classes, array, name) for name in SPLITS}
    images = ImageBatches(splits, classifier.normalization, AugmentSettings(), 1, 0, device)
    source = BackboneFeatures(classifier, images, cache_folder(study.tracking.folder.absolute()))
    # Runs with frozen backbones also need mirrored training images; the same views share a file.
    views = (view_count(study.train.augment) or 1) if study.model.mode == "frozen" else 1
    parts = []
    for name, part in splits.items():
        if len(part):
            of_split = views if name == "train" else 1
            notify = _notify_features(console, name, of_split * len(part))
            parts.append(source.of(name, of_split, notify)[0])
    return torch.cat(parts)


def _notify_features(console: Console, split: str, total: int) -> Callable[[int], None]:
    """Progress callback for the number of images done of `total`; prints every 10 s."""
    last_printed = time.monotonic()

    def notify(done: int) -> None:
        nonlocal last_printed
        if time.monotonic() - last_printed >= REPORT_INTERVAL_S:
            last_printed = time.monotonic()
            console.print(f"features of {split}: {done:,} of {total:,} images")

    return notify
