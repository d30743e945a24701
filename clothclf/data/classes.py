"""Select the classes of a study and limit the images of each; dropped images become findings.

Rows are data frames with the columns `id`, `label` and `split` (as given by the source, or empty).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from clothclf.data.sources import Finding
from clothclf.errors import DataError
from clothclf.settings import DataSettings

SMALL_CLASS = "class below min_images_per_class"
SURPLUS_CLASS = "class beyond max_classes"
SURPLUS_OF_CLASS = "image beyond max_images_per_class"
SURPLUS_IMAGE = "image beyond max_images"

MAX_CLASSES = 1000
"""Same as ImageNet. A confusion matrix of 10,000 classes would have a hundred million cells."""


def large_classes(rows: pd.DataFrame, minimum: int, findings: list[Finding]) -> pd.DataFrame:
    """Keep the classes with at least `minimum` images."""
    size = rows.groupby("label")["id"].transform("size")
    return _drop(rows, size < minimum, SMALL_CLASS, findings)


def largest_classes(
    rows: pd.DataFrame, maximum: int | None, findings: list[Finding]
) -> pd.DataFrame:
    """Keep the `maximum` largest classes, ties by name; None keeps all."""
    if maximum is None:
        return rows
    sizes = rows.groupby("label").size().reset_index(name="size")
    selected = sizes.sort_values(["size", "label"], ascending=[False, True])["label"].head(maximum)
    return _drop(rows, ~rows["label"].isin(selected.tolist()), SURPLUS_CLASS, findings)


def some_of_each_class(
    rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]
) -> pd.DataFrame:
    """Keep at most `max_images_per_class` images of each class, deterministic for a seed."""
    ranks = _relative_ranks(rows, settings.split.seed).sort_values(kind="stable")
    selected = rows.loc[ranks.index].groupby("label").head(settings.max_images_per_class).index
    surplus = pd.Series(~rows.index.isin(selected), index=rows.index)
    return _drop(rows, surplus, SURPLUS_OF_CLASS, findings)


def sample(rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]) -> pd.DataFrame:
    """Keep at most `max_images` images, stratified by class and deterministic for a seed.

    Raises DataError if a class would lose all its images.
    """
    if settings.max_images is None or len(rows) <= settings.max_images:
        return rows
    ranks = _relative_ranks(rows, settings.split.seed)
    selected = ranks.sort_values(kind="stable").index[: settings.max_images]
    surplus = pd.Series(~rows.index.isin(selected), index=rows.index)
    lost = sorted(set(rows["label"]) - set(rows.loc[~surplus, "label"]))
    if lost:
        raise DataError(
            f"data.max_images: {settings.max_images} leaves no image of class {lost[0]!r}; "
            "raise it, or data.min_images_per_class"
        )
    return _drop(rows, surplus, SURPLUS_IMAGE, findings)


def _relative_ranks(rows: pd.DataFrame, seed: int) -> pd.Series[float]:
    """Return a random relative rank, from 0 to 1, of each image within its class and given split.

    Sorting by it samples all classes evenly. The same ids and seed give the same ranks.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = rows.sort_values("id").iloc[order]
    peers = shuffled.groupby(["label", "split"])
    ranks: pd.Series[float] = (peers.cumcount() + 0.5) / peers["id"].transform("size")
    return ranks


def _drop(
    rows: pd.DataFrame, dropped: pd.Series[bool], reason: str, findings: list[Finding]
) -> pd.DataFrame:
    left_out = rows.loc[dropped, ["id", "label"]].itertuples(index=False, name=None)
    findings.extend(Finding("dropped", reason, str(name), str(label)) for name, label in left_out)
    remaining: pd.DataFrame = rows[~dropped]
    return remaining


def require_two_classes(
    rows: pd.DataFrame, before: pd.DataFrame, title: str, settings: DataSettings
) -> None:
    """Raise DataError, naming the largest classes, if fewer than two of `before` remain."""
    remaining = rows["label"].nunique()
    if remaining >= 2:
        return
    if before["label"].nunique() == 1:
        raise DataError(
            f"data.path: {title}: all {len(before):,} usable images belong to one class, "
            f"{before['label'].iloc[0]!r}; at least 2 are required"
        )
    largest = before["label"].value_counts().head(3)
    sizes = ", ".join(f"{label} {count}" for label, count in largest.items()) or "none"
    raise DataError(
        f"data.min_images_per_class: {settings.min_images_per_class} leaves {remaining} of "
        f"{before['label'].nunique()} classes{_of_column(settings)}; at least 2 are required; the "
        f"largest are {sizes}"
    )


def refuse_too_many_classes(rows: pd.DataFrame, title: str, settings: DataSettings) -> None:
    """Raise DataError, before decoding, for a label column with nearly one value per image."""
    sizes = rows["label"].value_counts()
    classes = len(sizes) if settings.max_classes is None else min(len(sizes), settings.max_classes)
    if classes <= MAX_CLASSES:
        return
    minimum = int(sizes.iloc[MAX_CLASSES]) + 1
    left = int((sizes >= minimum).sum())
    by_size = f"data.min_images_per_class ({minimum} leaves {left:,}) or " if left >= 2 else ""
    largest = ", ".join(f"{str(label)[:40]} {count}" for label, count in sizes.head(3).items())
    raise DataError(
        f"data.label: {title}: {classes:,} classes{_of_column(settings)} in {len(rows):,} images "
        f"are too many: at most {MAX_CLASSES:,} are supported; the largest are {largest}; choose "
        f"another column, or limit the classes with {by_size}data.max_classes"
    )


def _of_column(settings: DataSettings) -> str:
    return "" if settings.source == "folder" else f" of {settings.label!r}"
