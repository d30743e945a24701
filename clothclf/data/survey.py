"""Look at a user's data before there is a config: layout, columns, classes, splits, image sizes."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clothclf.data.classes import MAX_CLASSES
from clothclf.data.decode import decoding
from clothclf.data.prepare import require_rows
from clothclf.data.sources import Listing, Query, Source
from clothclf.data.sources.folder_source import IMAGE_SUFFIXES, FolderSource
from clothclf.data.sources.hub_source import HubSource
from clothclf.data.sources.kaggle_source import TABLE, KaggleSource
from clothclf.data.sources.listing import is_one_line, no_column
from clothclf.data.sources.selection import choose
from clothclf.data.sources.table_source import TableSource
from clothclf.data.splits import SPLIT_NAMES, assign_splits
from clothclf.errors import DataError
from clothclf.settings import SplitSettings
from clothclf.settings.data import CLASS_FOLDER

LABEL_NAMES = (
    *("label", "labels", "class", "category", "articletype", "target", "species", "breed"),
    *("diagnosis", "type", "y"),
)
"""Usual names of the label column in lower case, in order of preference."""
LABEL_WORDS = ("label", "class", "category", "target", "species", "type")
"""Words in the names of other likely label columns, such as `class_name`."""
MIN_IMAGES_PER_VALUE = 5
"""Minimum mean number of rows per value of a label column; ids and names have about one."""
MAX_COLUMN_CHARACTERS = 200
SIZES_READ = 100
"""Number of images to decode for their size."""
PATHS_READ = 1000
"""Number of rows to look at for a column of image paths."""


@dataclass(frozen=True)
class LabelColumn:
    """A column that may hold the classes."""

    name: str
    classes: int
    rows: int
    """Number of rows with a value."""


@dataclass(frozen=True)
class Survey:
    """What was found at a path, and the settings that read it."""

    source: str
    """Value of `data.source`."""
    path: Path
    label: str | None
    """Value of `data.label`; None if classes are folders."""
    image: str | None
    """Value of `data.image`; None for the usual names."""
    split_column: str | None
    """Value of `data.split.column`."""
    splits: tuple[str, ...]
    """Splits that the data give; empty if there are none."""
    unusable_splits: str
    """Why the given splits cannot be kept; empty if they can."""
    others: tuple[LabelColumn, ...]
    """Other columns that may hold the classes, the likeliest first."""
    rows_read: int
    counts: dict[str, int]
    """Number of usable images of each class, the largest first."""
    min_images_per_class: int
    sizes: tuple[tuple[int, int], ...]
    """Widths and heights of a sample of the images, in pixels."""
    undecodable: int
    """Number of images of the sample that do not decode."""

    @property
    def median_side(self) -> int:
        """Median of the shorter sides of the sample, in pixels."""
        return int(statistics.median(min(size) for size in self.sizes))


@dataclass(frozen=True)
class _Layout:
    """A way to read a path, before a label column is chosen."""

    source: str
    path: Path
    opened: Source
    columns: list[str]
    image: str | None = None


_Open = Callable[[], _Layout]
"""Open a path in one layout; raises DataError if it has another."""


def survey(path: Path, label: str | None = None) -> Survey:
    """Look at an archive, a folder or a table; `label` is its label column, None to choose one.

    Raises DataError, with the reason for the likeliest layout, if there is nothing to train on.
    """
    errors: list[DataError] = []
    opened: list[DataError] = []
    for open_layout in _layouts(path):
        try:
            layout = open_layout()
        except DataError as error:
            errors.append(error)
            continue
        try:
            return _survey(layout, label)
        except DataError as error:
            opened.append(error)
    # A layout that could be read says more about the data than one that could not.
    raise [*errors[:1], *opened][-1]


def _layouts(path: Path) -> Iterator[_Open]:
    """Ways to read the path, the likeliest first."""
    suffix = path.suffix.lower()
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.is_file():
            state = "is neither a file nor a folder" if path.exists() else "does not exist"
            raise DataError(f"{path}: {state}; give a folder, a zip archive or a table")
        inside = sorted(item.name for item in path.iterdir()) if is_folder else []
        # Parquet files lie at the top level, in data/ or in a folder of a split.
        has_parquet = is_folder and any(True for _ in path.glob("*.parquet"))
        has_parquet = has_parquet or (is_folder and any(True for _ in path.glob("*/*.parquet")))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r}: cannot be read: {error}") from None
    if suffix in (".csv", ".parquet", ".pq") and not is_folder:
        if suffix != ".csv":
            yield lambda: _hub(path)
        yield lambda: _table(path)
        return
    yield from _in_folder(path, inside, has_parquet)


def _in_folder(path: Path, inside: Sequence[str], has_parquet: bool) -> Iterator[_Open]:
    """Ways to read a folder or an archive."""
    try:
        kaggle = KaggleSource(path)
    except DataError as error:
        if f"has {TABLE}" in str(error):
            problem = error

            def fail() -> _Layout:
                raise problem

            yield fail
    else:
        yield lambda: _Layout("kaggle", path, kaggle, kaggle.columns())
    if has_parquet:
        yield lambda: _hub(path)
    yield lambda: _Layout("folder", path, FolderSource(path), [])
    for name in inside:
        if name.lower().endswith((".csv", ".parquet")) and name != TABLE:
            table = path / name
            yield lambda table=table: _table(table)  # type: ignore[misc]


def _hub(path: Path) -> _Layout:
    source = HubSource(path)
    return _Layout("hub", path, source, source.text_columns())


def _table(path: Path) -> _Layout:
    """A table of paths; its image column is found by its values if its name is not usual."""
    columns = TableSource(path, None).columns()
    try:
        image = None
        TableSource(path, None).image_column(columns)
    except DataError as error:
        distinct = _unique(columns)
        listing = TableSource(path, distinct[0]).list_images(_query(distinct)) if distinct else None
        image = next((c for c in distinct if listing and _is_paths(listing.columns[c])), None)
        if image is None:
            raise error
    return _Layout("table", path, TableSource(path, image), columns, image)


def _is_paths(values: Sequence[str]) -> bool:
    """Whether most values of a column are names of image files."""
    some = [value for value in values[:PATHS_READ] if value]
    return bool(some) and 2 * sum(v.lower().endswith(IMAGE_SUFFIXES) for v in some) > len(some)


def _unique(columns: Sequence[str]) -> list[str]:
    """Columns that a config can name: unique, not empty, not too long."""
    counts = Counter(columns)
    return [c for c in columns if counts[c] == 1 and 0 < len(c) <= MAX_COLUMN_CHARACTERS]


def _query(columns: Sequence[str]) -> Query:
    """Query for all columns at once."""
    return Query(label=columns[0], where=dict.fromkeys(columns[1:], ()))


def _survey(layout: _Layout, label: str | None) -> Survey:
    columns = _unique(layout.columns)
    if layout.source == "folder":
        if label not in (None, CLASS_FOLDER):
            raise DataError(f"{layout.path}: has no column {label!r}: its classes are its folders")
        return _with_label(layout, CLASS_FOLDER, None, [])
    if label is not None and label not in columns:
        raise no_column(str(layout.path), label, layout.columns)
    if not columns:
        raise DataError(f"{layout.path}: has no column of classes beside its images")
    listing = layout.opened.list_images(_query(columns))
    split = next((name for name in columns if _is_split(listing.columns[name])), None)
    sampled = _label_columns(listing, columns, split, layout.image)
    if label is None:
        if not sampled:
            raise DataError(_no_label(layout, listing, columns))
        label = sampled[0].name
    return _with_label(layout, label, split, [c for c in sampled if c.name != label])


def _is_split(values: Sequence[str]) -> bool:
    """Whether a column names splits, training among them, for nearly all rows."""
    given = Counter(SPLIT_NAMES.get(value.strip().lower(), "") for value in values if value.strip())
    known = {name for name in given if name}
    return "train" in known and len(known) > 1 and given[""] <= 0.1 * given.total()


def _label_columns(
    listing: Listing, columns: Sequence[str], split: str | None, image: str | None
) -> list[LabelColumn]:
    """Columns that may hold the classes, the likeliest first."""
    ranked = []
    for index, name in enumerate(columns):
        values = [value for value in listing.columns[name] if value]
        distinct = set(values)
        is_label = 2 <= len(distinct) <= MAX_CLASSES and (
            len(values) >= MIN_IMAGES_PER_VALUE * len(distinct)
        )
        if not is_label or name in (split, image) or not all(map(is_one_line, distinct)):
            continue
        column = LabelColumn(name, len(distinct), len(values))
        ranked.append((*_rank(name, distinct), -len(values), index, column))
    return [row[-1] for row in sorted(ranked, key=lambda row: row[:-1])]


def _rank(name: str, distinct: set[str]) -> tuple[int, bool]:
    """Sort key of a label column: usual names first, then likely ones, then text before numbers."""
    lower = name.lower()
    numbers = all(value.replace(".", "", 1).lstrip("-").isdecimal() for value in distinct)
    if lower in LABEL_NAMES:
        return LABEL_NAMES.index(lower), False
    likely = any(word in lower for word in LABEL_WORDS)
    return len(LABEL_NAMES) + (not likely), numbers


def _no_label(layout: _Layout, listing: Listing, columns: Sequence[str]) -> str:
    counts = [f"{c[:40]} {len(set(listing.columns[c])):,}" for c in columns[:10]]
    return (
        f"{layout.path}: no column looks like classes: 2 to {MAX_CLASSES:,} values, on average in "
        f"at least {MIN_IMAGES_PER_VALUE} of its {len(listing.ids):,} rows each; name one with "
        f"--label; distinct values by column: {', '.join(counts)}"
    )


def _with_label(
    layout: _Layout, label: str, split: str | None, others: Sequence[LabelColumn]
) -> Survey:
    """Count the classes of a label column, and decode a sample of its images."""
    query = Query(label, split=split)
    chosen = choose(layout.opened.list_images(query), query, layout.opened.title)
    require_rows(chosen, layout.opened)
    sizes = chosen.rows["label"].value_counts()
    counts = {str(name): int(count) for name, count in sizes.items()}
    if len(counts) < 2:
        raise DataError(
            f"{layout.path}: all {len(chosen.rows):,} usable images belong to one class, "
            f"{next(iter(counts))!r}; at least 2 are required"
        )
    minimum = suggested_minimum(list(counts.values()))
    rows = chosen.rows[chosen.rows["label"].map(sizes) >= minimum]
    problem = _split_problem(rows, layout.path)
    candidates, undecodable = _sample_sizes(layout.opened, rows["id"].tolist(), layout.path)
    return Survey(
        source=layout.source,
        path=layout.path,
        label=None if layout.source == "folder" else label,
        image=layout.image,
        split_column=split,
        splits=tuple(name for name in ("train", "valid", "test") if name in set(rows["split"])),
        unusable_splits=problem,
        others=tuple(others),
        rows_read=chosen.rows_read,
        counts=counts,
        min_images_per_class=minimum,
        sizes=candidates,
        undecodable=undecodable,
    )


def suggested_minimum(sizes: Sequence[int]) -> int:
    """Suggest `min_images_per_class`: the largest that keeps 9 of 10 images, and two classes."""
    for minimum in (100, 50, 20, 10, 5):
        remaining = [size for size in sizes if size >= minimum]
        if (
            len(remaining) >= 2
            and sum(remaining) >= 0.9 * sum(sizes)
            and len(remaining) <= MAX_CLASSES
        ):
            return minimum
    # Below 5 images, a class has none for one of the splits.
    large = sorted(sizes, reverse=True)
    return max(5, large[MAX_CLASSES] + 1) if len(large) > MAX_CLASSES else 5


def _split_problem(rows: pd.DataFrame, path: Path) -> str:
    """Why the given splits cannot be kept; empty if they can. Raises DataError if none can be."""
    if rows["label"].nunique() < 2:
        raise DataError(
            f"{path}: has fewer than 2 classes with at least 5 images each; add images, so that "
            "each class has some for training, validation and test"
        )
    settings = SplitSettings()
    try:
        assign_splits(rows["label"], rows["id"], settings, rows["split"])
    except DataError as error:
        assign_splits(rows["label"], rows["id"], settings)
        return str(error)
    return ""


def _sample_sizes(
    source: Source, ids: Sequence[str], path: Path
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Sizes of a seeded sample of images, and the number of those that do not decode."""
    count = min(SIZES_READ, len(ids))
    indices = np.random.default_rng(0).choice(len(ids), count, replace=False)
    sizes, problems = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about unusual files
        for index in sorted(indices.tolist()):
            try:
                with decoding(source.read_bytes(ids[index])) as decoded:
                    sizes.append(decoded.stored_size)
            except DataError as error:
                problems.append(f"{ids[index][:200]}: {error}")
    if not sizes:
        raise DataError(
            f"{path}: none of {count} images read as a sample can be decoded; the first, "
            f"{problems[0]}"
        )
    return tuple(sizes), len(problems)
