"""Settings of the data: source, filters, image size and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from clothclf.settings.base import LATER, Fraction, ImageSizes, Settings


@dataclass(frozen=True)
class BuiltInSource:
    """One source of images that is part of bench, and which settings it accepts."""

    name: str
    """Value of `data.source`."""
    layout: str
    """What its data look like, for the comment of `bench init`."""
    path: str = ""
    """What `data.path` is; empty if it is not required."""
    has_image_column: bool = True
    """Whether `data.image` can name a column with the images or their paths."""
    has_groups: bool = True
    """Whether `data.split.group` can name a column."""


BUILT_IN_SOURCES = {
    source.name: source
    for source in (
        BuiltInSource("demo", "synthetic drawings", has_image_column=False, has_groups=False),
        BuiltInSource(
            "kaggle",
            "styles.csv and images/<id>.jpg, as Kaggle's archive",
            "the downloaded zip or its folder",
            has_image_column=False,
        ),
        BuiltInSource(
            "folder",
            "one folder of images per class",
            "a folder, or a zip of it, with a folder of images for each class",
            has_image_column=False,
            has_groups=False,
        ),
        BuiltInSource(
            "table",
            "a table of image paths and labels",
            "a CSV or parquet file with the images' paths and labels",
        ),
        BuiltInSource("hub", "parquet files that contain the images, as on the Hugging Face hub"),
    )
}
"""Built-in values of `data.source`; any other name is a plug-in."""
CLASS_FOLDER = "class"
"""The only column of `data.source: folder`."""
DEFAULT_LABEL = "articleType"
NATIVE_SHOWN = 224
"""Size in pixels of displayed images where each architecture has its own size."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class SplitSettings(Settings):
    """Fractions for training, validation and test; splits are stratified by class and seeded."""

    former_keys: ClassVar[Mapping[str, str]] = {
        "keep_twins_together": "keep_exact_duplicates_together"
    }

    train: Fraction = 0.64
    """Fraction of training images."""
    valid: Fraction = 0.16
    """Fraction of validation images."""
    test: Fraction = 0.20
    """Fraction of test images."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the split."""
    keep_exact_duplicates_together: bool = True
    """Keep exact duplicates in one split; `false` splits as the published study did."""
    keep_near_duplicates_together: bool = False
    """Keep exact and near-duplicates (one photograph re-encoded, resized, brightened or slightly
    shifted) in one split. Off by default, since it changes the splits and thus the runs of data
    with near-duplicates; `bench data audit` reports how many span splits."""
    given: Literal["keep", "ignore"] = "keep"
    """`keep` uses the source's own split (folders, files or a column); a missing validation or test
    split is drawn from training by the fractions. `ignore` draws all splits."""
    column: Name | None = None
    """Column with each image's split: train, valid or test, or a common synonym."""
    group: Annotated[Name | None, LATER] = None
    """Column whose values (a product, patient, video or photographer) are kept in one split each.
    Reports resample whole groups, and audits keep them in one fold."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitSettings:
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must add up to 1, not {total:g}")
        return self


class AtMostSettings(Settings):
    """Maximum number of images per split, applied after splitting: no image changes its split.

    Classes keep their proportions, with at least one image each. A smaller limit takes a subset
    of the images of a larger one.
    """

    train: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of training images."""
    valid: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of validation images."""
    test: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of test images."""


class DemoSettings(Settings):
    """Options of the synthetic images of `data.source: demo`."""

    images_per_class: Annotated[int, Field(ge=5, le=10_000)] = 100
    """Number of images per class."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the drawings."""


HUB_DATASET = "ashraq/fashion-product-images-small"
HUB_REVISION = "bd09c69e56fc0b1f279743fef89d735f3bdf8a42"
"""Commit of `HUB_DATASET` that added both of its parquet files."""


class HubSettings(Settings):
    """Data set on the Hugging Face hub that `data.source: hub` reads if `data.path` is not set."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")] = (
        HUB_DATASET
    )
    """Repository ID: owner/name."""
    revision: Name | None = None
    """Branch, tag or commit. By default, a fixed commit for the default data set; for any other,
    the commit of `main` at the first download."""

    @property
    def requested_revision(self) -> str:
        """Revision to request from the hub."""
        pinned = HUB_REVISION if self.dataset == HUB_DATASET else "main"
        return self.revision or pinned


class DataSettings(Settings):
    """Data source, filters, image size and splits."""

    former_keys: ClassVar[Mapping[str, str]] = {"picture": "image"}

    source: Name = "demo"
    """demo, kaggle, folder, table, hub, or the name of an installed plug-in."""
    path: Path | None = None
    """Archive, folder or table of the source; relative to the current folder."""
    hub: HubSettings = HubSettings()
    label: Name = DEFAULT_LABEL
    """Column with the class; ignored by `folder`, whose classes are its folder names."""
    image: Name | None = None
    """Column with the images or their paths; by default, common names are tried."""
    where: dict[Name, tuple[str, ...]] = Field(default_factory=dict, max_length=100)
    """Filter: for each column, the value or values of the rows to keep."""
    exclude: Path | None = None
    """Images to exclude: a CSV with a column `id`, or a text file with one ID per line."""
    corrections: Annotated[Path | None, LATER] = None
    """Label corrections, applied after splitting: a CSV with the columns `id`, `label` and
    `decision`, such as that of `bench data audit --csv`. A decision is empty or `keep` (the label
    stays), `suggested` (it becomes that of column `suggested`), `exclude` (drops the image), or the
    right class."""
    options: dict[Name, str | int | float | bool] = Field(default_factory=dict)
    """Options of a plug-in, as it declares them; built-in sources have none."""
    min_images_per_class: Annotated[int, Field(ge=1)] = 1
    """Minimum number of usable images per class; smaller classes are dropped."""
    max_classes: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of classes; the largest are kept."""
    max_images_per_class: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of images per class, sampled with the split's seed before decoding; images
    that fail to decode are not replaced."""
    max_images: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of images, for a quick try; classes keep their proportions. Sampled like
    `max_images_per_class`."""
    at_most: AtMostSettings = AtMostSettings()
    image_size: ImageSizes = 112
    """Side in pixels of the square that every image is resized to; a list runs each size (a sweep),
    `native` uses timm's default size of each architecture."""
    demo: DemoSettings = DemoSettings()
    split: SplitSettings = SplitSettings()

    @property
    def shown_size(self) -> int:
        """Size in pixels at which images are displayed: the smallest of a sweep."""
        if self.image_size == "native":
            return NATIVE_SHOWN
        return self.image_size if isinstance(self.image_size, int) else min(self.image_size)

    @field_validator("where", mode="before")
    @classmethod
    def _values_as_text(cls, where: object) -> object:
        if not isinstance(where, dict):
            return where
        return {column: _values(column, value) for column, value in where.items()}

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> DataSettings:
        source = BUILT_IN_SOURCES.get(self.source)
        if source is not None and source.path and self.path is None:
            raise ValueError(f"source {self.source} requires data.path: {source.path}")
        if self.source == "demo" and self.path is not None:
            raise ValueError("source demo takes no data.path: set data.source: kaggle to use it")
        return self

    @model_validator(mode="after")
    def _source_accepts_its_options(self) -> DataSettings:
        source = BUILT_IN_SOURCES.get(self.source)
        if self.image is not None and source is not None and not source.has_image_column:
            raise ValueError(f"source {self.source} takes no data.image: it has no such column")
        if self.hub != HubSettings() and self.source != "hub":
            raise ValueError(f"source {self.source} takes no data.hub: set data.source: hub")
        if self.options and source is not None:
            raise ValueError(f"source {self.source} takes no data.options: they are for plug-ins")
        if self.source != "folder":
            return self
        if unknown := sorted({self.label, *self.where} - {DEFAULT_LABEL, CLASS_FOLDER}):
            raise ValueError(
                f"source folder has no column {unknown[0]!r}: its classes are the names of its "
                f"folders; remove data.label, and filter by data.where.{CLASS_FOLDER} only"
            )
        if self.split.column is not None:
            raise ValueError("source folder takes no data.split.column: its folders are the split")
        return self

    @model_validator(mode="after")
    def _source_has_groups(self) -> DataSettings:
        source = BUILT_IN_SOURCES.get(self.source)
        if self.split.group is not None and source is not None and not source.has_groups:
            raise ValueError(
                f"source {self.source} takes no data.split.group: it has no column of groups; list "
                "the images in a table that has one, with data.source: table"
            )
        return self


def _values(column: object, given: Any) -> Any:
    """Return one or several values as text, which is how table cells are compared."""
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if not values or any(value is None or isinstance(value, (list, dict)) for value in values):
        raise ValueError(f"{column}: give one value, or a list of values, of the rows to keep")
    return tuple(
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        for value in values
    )
