"""Which classes a study keeps, and how many images of each; whatever goes is a finding.

Rows are frames with the columns `id`, `label` and `split` (the given one, or empty).
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
"""As many as ImageNet has; a confusion matrix of ten times as many has a hundred million fields."""


def large_classes(rows: pd.DataFrame, least: int, findings: list[Finding]) -> pd.DataFrame:
    """Keep the classes of at least so many images."""
    size = rows.groupby("label")["id"].transform("size")
    return _leave_out(rows, size < least, SMALL_CLASS, findings)


def largest_classes(rows: pd.DataFrame, most: int | None, findings: list[Finding]) -> pd.DataFrame:
    """Keep the largest so many classes, of equal ones the first by name; all where None."""
    if most is None:
        return rows
    sizes = rows.groupby("label").size().reset_index(name="size")
    kept = sizes.sort_values(["size", "label"], ascending=[False, True])["label"].head(most)
    return _leave_out(rows, ~rows["label"].isin(kept.tolist()), SURPLUS_CLASS, findings)


def some_of_each_class(
    rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]
) -> pd.DataFrame:
    """Keep `max_images_per_class` images of each class, the same ones for the same seed."""
    place = _places(rows, settings.split.seed).sort_values(kind="stable")
    kept = rows.loc[place.index].groupby("label").head(settings.max_images_per_class).index
    surplus = pd.Series(~rows.index.isin(kept), index=rows.index)
    return _leave_out(rows, surplus, SURPLUS_OF_CLASS, findings)


def sample(rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]) -> pd.DataFrame:
    """Keep `max_images` images, each class in proportion, the same ones for the same seed.

    Raises DataError where a class would be left without any.
    """
    if settings.max_images is None or len(rows) <= settings.max_images:
        return rows
    place = _places(rows, settings.split.seed)
    kept = place.sort_values(kind="stable").index[: settings.max_images]
    surplus = pd.Series(~rows.index.isin(kept), index=rows.index)
    lost = sorted(set(rows["label"]) - set(rows.loc[~surplus, "label"]))
    if lost:
        raise DataError(
            f"data.max_images: {settings.max_images} leaves no image of class {lost[0]!r}; "
            "raise it, or data.min_images_per_class"
        )
    return _leave_out(rows, surplus, SURPLUS_IMAGE, findings)


def _places(rows: pd.DataFrame, seed: int) -> pd.Series[float]:
    """A relative place, from 0 to 1, of each image within its class and given split.

    Ranking by it takes all classes evenly. The same ids and seed give the same places.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = rows.sort_values("id").iloc[order]
    peers = shuffled.groupby(["label", "split"])
    place: pd.Series[float] = (peers.cumcount() + 0.5) / peers["id"].transform("size")
    return place


def _leave_out(
    rows: pd.DataFrame, bad: pd.Series[bool], reason: str, findings: list[Finding]
) -> pd.DataFrame:
    left_out = rows.loc[bad, ["id", "label"]].itertuples(index=False, name=None)
    findings.extend(Finding("dropped", reason, str(name), str(label)) for name, label in left_out)
    kept: pd.DataFrame = rows[~bad]
    return kept


def require_two_classes(
    rows: pd.DataFrame, before: pd.DataFrame, title: str, settings: DataSettings
) -> None:
    """Raise DataError, with the largest classes, where fewer than two are left of those before."""
    found = rows["label"].nunique()
    if found >= 2:
        return
    if before["label"].nunique() == 1:
        raise DataError(
            f"data.path: {title}: all its {len(before):,} usable images are of one class, "
            f"{before['label'].iloc[0]!r}, and 2 are needed"
        )
    largest = before["label"].value_counts().head(3)
    sizes = ", ".join(f"{label} {count}" for label, count in largest.items()) or "none"
    raise DataError(
        f"data.min_images_per_class: {settings.min_images_per_class} leaves {found} of "
        f"{before['label'].nunique()} classes{_of_column(settings)}, and 2 are needed; "
        f"the largest are {sizes}"
    )


def refuse_too_many_classes(rows: pd.DataFrame, title: str, settings: DataSettings) -> None:
    """Refuse, before anything is decoded, a label column of names or numbers of single images."""
    sizes = rows["label"].value_counts()
    classes = len(sizes) if settings.max_classes is None else min(len(sizes), settings.max_classes)
    if classes <= MAX_CLASSES:
        return
    least = int(sizes.iloc[MAX_CLASSES]) + 1
    left = int((sizes >= least).sum())
    by_size = f"data.min_images_per_class ({least} leaves {left:,}) or " if left >= 2 else ""
    largest = ", ".join(f"{str(label)[:40]} {count}" for label, count in sizes.head(3).items())
    raise DataError(
        f"data.label: {title}: {classes:,} classes{_of_column(settings)} in {len(rows):,} "
        f"images are too many: at most {MAX_CLASSES:,} can be compared; the largest are "
        f"{largest}; name another column, or keep fewer by {by_size}data.max_classes"
    )


def _of_column(settings: DataSettings) -> str:
    return "" if settings.source == "folder" else f" of {settings.label!r}"
